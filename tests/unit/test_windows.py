"""Windows: aligned, half open, closed by the watermark."""

from edge_agent.core.counting import Passage
from edge_agent.core.observation import Observation
from edge_agent.core.tally import LineTally
from edge_agent.core.windows import ClosedWindow, Windows

START_S = 1_800_000_000


def look(at_s: float, *, seen: bool = True) -> Observation:
    return Observation(START_S + at_s, 1.0, seen=seen)


def feed(windows: Windows, begin_s: int, end_s: int, *, seen: bool = True) -> list[ClosedWindow]:
    closed: list[ClosedWindow] = []
    for at_s in range(begin_s, end_s):
        closed += windows.observe(look(at_s, seen=seen), ())
    return closed


def test_a_window_seen_from_end_to_end_is_observed_whole() -> None:
    (closed,) = feed(Windows(15), 0, 901)
    assert (closed.start_s, closed.length_s, closed.observed_s) == (START_S, 900, 900)


def test_a_passage_at_the_boundary_belongs_to_the_next_window() -> None:
    windows = Windows(15)
    feed(windows, 0, 900)
    (closed,) = windows.observe(look(900), [Passage("l", True, START_S + 900, 1)])
    assert closed.lines == {}
    (following,) = feed(windows, 901, 1801)
    assert following.lines == {"l": LineTally(forward=1)}


def test_unseen_observations_close_windows_but_observe_nothing() -> None:
    closed = feed(Windows(15), 0, 1801, seen=False)
    assert [window.observed_s for window in closed] == [0, 0]


def test_a_gap_is_not_observed_and_closes_every_window_in_it() -> None:
    windows = Windows(15)
    feed(windows, 0, 100)
    closed = windows.observe(look(2750), ())
    assert [window.start_s - START_S for window in closed] == [0, 900, 1800]
    assert [window.observed_s for window in closed] == [99, 0, 0]


def test_a_window_begun_in_the_middle_is_not_whole() -> None:
    (closed,) = feed(Windows(15), 450, 901)
    assert closed.observed_s == 450


def test_a_step_back_of_the_clock_counts_nothing_twice() -> None:
    windows = Windows(15)
    feed(windows, 0, 500)
    assert windows.observe(look(100), [Passage("l", True, START_S + 100, 1)]) == ()
    assert windows.dropped == 1
    (closed,) = feed(windows, 500, 901)
    assert closed.lines == {}
    assert closed.observed_s == 900


def test_who_objects_is_taken_out_of_the_open_window() -> None:
    windows = Windows(15)
    feed(windows, 0, 100)
    passages = [Passage("l", True, START_S + 100, track) for track in (1, 2)]
    windows.observe(look(100), passages, {1, 2})
    windows.withdraw(1)
    (closed,) = feed(windows, 101, 901)
    assert (closed.lines, closed.objections) == ({"l": LineTally(forward=1)}, 1)


def test_an_objection_of_somebody_nobody_followed_counts_as_one() -> None:
    windows = Windows(15)
    feed(windows, 0, 100)
    windows.withdraw(None)
    (closed,) = feed(windows, 101, 901)
    assert closed.objections == 1


def test_masks_are_those_known_when_a_person_leaves() -> None:
    known: dict[int, bool] = {}
    windows = Windows(15, masked=known.get)
    feed(windows, 0, 100)
    passages = [Passage("l", True, START_S + 100, track) for track in (1, 2, 3)]
    windows.observe(look(100), passages, {1, 2, 3})
    known.update({1: True, 2: False})
    windows.observe(look(101), (), {1, 2, 3})
    known.clear()
    (closed,) = feed(windows, 102, 901)
    assert closed.lines == {"l": LineTally(forward=3, masked=1, unmasked=1)}


def test_a_vote_that_becomes_undecided_is_neither() -> None:
    known: dict[int, bool] = {1: True}
    windows = Windows(15, masked=known.get)
    feed(windows, 0, 100)
    windows.observe(look(100), [Passage("l", True, START_S + 100, 1)], {1})
    known.clear()
    windows.observe(look(101), (), {1})
    (closed,) = feed(windows, 102, 901)
    assert closed.lines == {"l": LineTally(forward=1)}


def test_nothing_of_anybody_is_kept_once_they_are_out_of_view() -> None:
    windows = Windows(15)
    feed(windows, 0, 100)
    windows.observe(look(100), [Passage("l", True, START_S + 100, 1)], {1})
    assert windows._open is not None
    assert set(windows._open.in_view) == {1}
    windows.observe(look(101), (), {2})
    assert windows._open.in_view == {}
