"""Release rules R1 to R9, R12 and R14: whatever is counted, this is what gets out."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.release import (
    Release,
    Speaker,
    say_distance,
    say_masks,
    say_occupancy,
    say_passages,
)
from edge_agent.core.tally import FARTHEST_CM, LONGEST_STAY_S, LineTally, ZoneTally
from edge_agent.core.windows import ClosedWindow
from edge_agent.wire import codec
from edge_agent.wire.declaration import (
    Declaration,
    Door,
    Line,
    Module,
    Service,
    Vehicle,
    Zone,
)
from edge_agent.wire.messages import (
    MAX_CARRIED_WINDOWS,
    OBJECTIONS,
    Directed,
    Masks,
    Record,
    Total,
    rounded,
)
from tests.records import NO_SIGNATURE, a_declaration, a_private_declaration

LENGTH_S = 900
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
MONDAY_S = int(MONDAY.timestamp())
QUARTER = timedelta(minutes=15)
COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 30))
SPEAKER = Speaker("0" * 16, development=False)


def module(name: str, start: datetime = MONDAY, end: datetime | None = None) -> Module:
    return Module.model_validate(
        {
            "name": name, "legal_basis": "law", "purpose": "counting", "contact": "dpo@x.example",
            "start": start, "end": end or start + timedelta(days=30),
        }
    )  # fmt: skip


def release(declared: Declaration | None = None) -> Release:
    # All scopes there are: whoever objects is heard.
    heard = (declared or a_declaration()).model_copy(update={"objection": True})
    return Release(heard, SPEAKER)


HALL = Zone(id="hall", corners=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), capacity=50)


def window(
    index: int,
    forward: int = 0,
    backward: int = 0,
    observed_s: float = LENGTH_S,
    late: int = 0,
    **more: object,
) -> ClosedWindow:
    lines = {"main": LineTally(forward, backward)}
    start_s = MONDAY_S + index * LENGTH_S
    return ClosedWindow(start_s, LENGTH_S, observed_s, late, 6300, **{"lines": lines, **more})  # type: ignore[arg-type]


def said(
    deciding: Release, closed: ClosedWindow, scope: str = "main", seed: int | None = None
) -> Record:
    """Return the record that a window leads to, with noise that is repeatable."""
    draw = random.Random(seed).randrange if seed is not None else no_draw
    (draft,) = [d for d in deciding.decide(closed) if d.scope == scope]
    return draft.record(draw, None, within_budget=True)


def no_draw(_below: int) -> int:
    raise AssertionError("the standard profile draws nothing")


def total_of(record: Record) -> int:
    match record.passages:
        case Directed(forward=forward, backward=backward):
            return forward + backward
        case Total(total=total):
            return total
    return 0


# -- R2, R3, R4


@pytest.mark.parametrize("k", [10, 11, 25])
def test_all_pairs_up_to_sixty_say_only_what_k_allows(k: int) -> None:
    for forward in range(61):
        for backward in range(61):
            passages = say_passages(forward, backward, k)
            if forward + backward < k:
                assert passages is None
            elif min(forward, backward) < k:
                assert passages == Total(total=rounded(forward + backward))
            else:
                assert passages == Directed(forward=rounded(forward), backward=rounded(backward))


def test_no_pair_up_to_sixty_can_be_told_exactly_from_what_is_said() -> None:
    told = defaultdict(set)
    for forward in range(61):
        for backward in range(61):
            passages = say_passages(forward, backward, 10)
            if passages is not None:
                told[passages].add((forward, backward))
    # Numbers near 60 have partners above 60, which are not listed here.
    inner = {said: pairs for said, pairs in told.items() if max(max(p) for p in pairs) < 58}
    assert inner
    assert min(map(len, inner.values())) >= 3


def test_k_below_the_floor_is_the_floor() -> None:
    assert say_passages(9, 0, 3) is None
    assert say_masks(9, 0, 0, 3) is None


@given(st.integers(10, 10_000))
def test_rounding_is_to_the_nearest_five_and_never_below_ten(count: int) -> None:
    assert rounded(count) % 5 == 0
    assert rounded(count) >= 10
    assert abs(rounded(count) - count) <= 2


@given(st.lists(COUNTS, max_size=60), st.integers(10, 20))
def test_every_batch_holds_at_least_k_and_every_passage_at_most_once(
    counts: list[tuple[int, int]], k: int
) -> None:
    deciding = release(a_declaration(k=k))
    published = batches = 0
    pending = waiting = 0
    for index, (forward, backward) in enumerate(counts):
        record = said(deciding, window(index, forward, backward))
        pending += forward + backward
        waiting += 1
        if record.status == "ok":
            assert pending >= k
            assert record.covers == waiting
            assert abs(total_of(record) - pending) <= 4
            published += total_of(record)
            batches += 1
            pending = waiting = 0
        else:
            assert record.status == "low"
            assert pending < k
            if waiting == MAX_CARRIED_WINDOWS:
                pending = waiting = 0
    assert published <= sum(f + b for f, b in counts) + 4 * batches


def test_what_is_held_ends_with_the_service_day() -> None:
    deciding = release()
    said(deciding, window(95, 9, 0))
    assert said(deciding, window(96, 9, 0)).status == "low"


def test_after_sixteen_windows_what_is_held_is_destroyed() -> None:
    deciding = release()
    said(deciding, window(0, 9, 0))
    for index in range(1, 16):
        said(deciding, window(index))
    assert said(deciding, window(16, 9, 0)).status == "low"


# -- R1


@given(st.lists(COUNTS, min_size=1, max_size=40))
def test_low_records_are_identical_but_for_their_window(counts: list[tuple[int, int]]) -> None:
    deciding = release()
    low = set()
    for index, (forward, backward) in enumerate(counts):
        record = said(deciding, window(index, forward, backward))
        if record.status == "low":
            low.add(str(record.model_dump(exclude={"window"})))
        assert len(codec.seal(record, lambda _: NO_SIGNATURE)) == codec.SEALED_SIZE
    assert len(low) <= 1


@pytest.mark.parametrize(
    ("index", "status"), [(31, "closed"), (32, "low"), (79, "low"), (80, "closed")]
)
def test_outside_service_hours_a_window_is_closed(index: int, status: str) -> None:
    hours = Service(opens="08:00", closes="20:00", timezone="UTC")
    assert said(release(a_declaration(service=hours)), window(index)).status == status


def test_service_hours_hold_on_the_day_the_clock_changes() -> None:
    hours = Service(opens="08:00", closes="20:00", timezone="Europe/Paris")
    winter_day = datetime(2026, 10, 25, 7, 0, tzinfo=UTC)
    assert hours.includes(winter_day, winter_day + QUARTER)
    assert not hours.includes(winter_day - timedelta(hours=1), winter_day - timedelta(minutes=45))


def test_one_record_for_each_scope_and_window_whatever_its_status() -> None:
    lines = [Line(id=name, start=(x, 0.0), end=(x, 1.0)) for name, x in (("a", 0.3), ("b", 0.6))]
    deciding = release(a_declaration(lines=tuple(lines), zones=(HALL,)))
    for closed in (window(0), window(1, observed_s=0), window(2, 50, 50)):
        assert [d.scope for d in deciding.decide(closed)] == ["a", "b", "hall", OBJECTIONS]


# -- R14


@pytest.mark.parametrize(
    ("observed_s", "late", "status"),
    [(900, 0, "ok"), (895, 0, "ok"), (894, 0, "defect"), (900, 315, "ok"), (900, 316, "defect")],
)
def test_a_window_not_seen_whole_is_a_defect(observed_s: float, late: int, status: str) -> None:
    assert said(release(), window(0, 20, 20, observed_s, late)).status == status


def test_a_defect_destroys_what_was_held() -> None:
    deciding = release()
    said(deciding, window(0, 9, 0))
    said(deciding, window(1, 0, 0, observed_s=0))
    assert said(deciding, window(2, 9, 0)).status == "low"


# -- R5


def test_all_pairs_up_to_sixty_never_tell_a_small_minority() -> None:
    told: dict[tuple[int, Masks], set[int]] = defaultdict(set)
    for masked in range(61):
        for unmasked in range(61):
            masks = say_masks(masked, unmasked, 0, 10)
            if masked + unmasked < 10:
                assert masks is None
                continue
            assert masks is not None
            # The attacker is given more than we publish: the exact number of people judged.
            if masked + unmasked <= 60:
                told[masked + unmasked, masks].add(min(masked, unmasked))
    for (_, masks), minorities in told.items():
        if masks.bound == "between":
            assert min(minorities) >= 3
        else:
            assert minorities >= {0, 1, 2}


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_what_is_said_of_masks_is_true(masked: int, unmasked: int, unjudged: int) -> None:
    masks = say_masks(masked, unmasked, unjudged, 10)
    if masked + unmasked < 10 or unjudged > 0.7 * (masked + unmasked + unjudged):
        assert masks is None
        return
    assert masks is not None
    share = 100 * masked / (masked + unmasked)
    match masks.bound:
        case "between":
            assert masks.percent <= share < masks.percent + 5
        case "at_least":
            assert share >= masks.percent
        case "at_most":
            assert share <= masks.percent
    blind = 100 * unjudged / (masked + unmasked + unjudged)
    assert masks.unjudged <= blind < masks.unjudged + 10 or masks.unjudged == 90


def test_masks_are_said_only_where_the_module_was_on_for_the_whole_batch() -> None:
    on = module("masks", MONDAY + QUARTER, MONDAY + 3 * QUARTER)
    deciding = release(a_declaration(modules=(on,)))
    tally = {"main": LineTally(40, 0, masked=20, unmasked=20)}
    few = {"main": LineTally(5, 0, masked=5)}
    records = [
        said(deciding, window(index, lines=lines))
        for index, lines in enumerate([tally, tally, few, tally, tally])
    ]
    assert [record.masks is not None for record in records] == [False, True, False, False, False]
    assert [record.covers for record in records] == [1, 1, 1, 2, 1]


# -- R6


def stays(seconds: list[float]) -> ZoneTally:
    capped = [min(s, LONGEST_STAY_S) for s in seconds]
    return ZoneTally(len(capped), sum(capped), max(capped, default=0.0))


@given(st.lists(st.floats(0.1, 900), max_size=60), st.integers(1, 200))
def test_occupancy_comes_from_ten_of_whom_nobody_dominates(
    seconds: list[float], capacity: int
) -> None:
    tally = stays(seconds)
    occupancy = say_occupancy(tally, LENGTH_S, capacity, 10)
    if len(seconds) < 10 or tally.longest_s > 0.25 * tally.stayed_s:
        assert occupancy is None
        return
    assert occupancy is not None
    assert occupancy.mean % 5 == 0
    assert abs(occupancy.mean - tally.stayed_s / LENGTH_S) <= 2.5


def test_one_person_s_stay_moves_occupancy_by_a_step_at_most() -> None:
    crowd = [60.0] * 200
    for own in range(0, 901, 10):
        with_them = say_occupancy(stays([*crowd, float(own)]), LENGTH_S, 100, 10)
        without = say_occupancy(stays(crowd), LENGTH_S, 100, 10)
        assert with_them is not None
        assert without is not None
        assert abs(with_them.mean - without.mean) <= 5


def test_a_tally_that_was_not_capped_is_not_said() -> None:
    assert say_occupancy(ZoneTally(20, 8000.0, 301.0), LENGTH_S, 100, 10) is None


# -- R7


def test_all_pairs_up_to_sixty_of_near_and_far_need_ten_on_both_sides() -> None:
    for near in range(61):
        for far in range(61):
            tally = ZoneTally(people=near + far, within_1m=near, within_2m=near, apart_cm=100.0)
            distance = say_distance(tally, 10)
            if near + far < 10:
                assert distance is None
            else:
                assert distance is not None
                assert (distance.under_1m is not None) == (near >= 10 and far >= 10)
                assert distance.under_1m == distance.under_2m


@given(st.lists(st.floats(0, FARTHEST_CM), min_size=10, max_size=200))
def test_the_mean_distance_is_near_the_true_one(apart: list[float]) -> None:
    distance = say_distance(ZoneTally(people=len(apart), apart_cm=sum(apart)), 10)
    assert distance is not None
    assert abs(distance.mean_cm - sum(apart) / len(apart)) <= 12.5 + 1e-6


def test_a_zone_is_said_only_where_its_modules_are_on() -> None:
    tally = {"hall": ZoneTally(30, 9000.0, 300.0, 30, 12, 15, 4000.0)}
    for names in ([], ["occupancy"], ["distance"], ["occupancy", "distance"]):
        declared = a_declaration(modules=tuple(module(name) for name in names), zones=(HALL,))
        record = said(release(declared), window(0, zones=tally), "hall")
        assert record.status == ("ok" if names else "low")
        assert (record.occupancy is not None) == ("occupancy" in names)
        assert (record.distance is not None) == ("distance" in names)


# -- R12


@pytest.mark.parametrize(("objections", "status"), [(9, "low"), (10, "ok"), (13, "ok")])
def test_objections_are_one_cell_a_day(objections: int, status: str) -> None:
    deciding = release()
    records = [
        said(deciding, window(index, objections=objections if index == 40 else 0), OBJECTIONS)
        for index in range(97)
    ]
    assert {record.status for record in records[:95] + records[96:]} == {"low"}
    assert records[95].status == status
    assert records[95].covers == (96 if status == "ok" else 1)
    assert records[95].objections == (rounded(objections) if status == "ok" else None)


# -- the profile dp


@given(st.lists(COUNTS, min_size=1, max_size=20), st.integers(0, 2**32))
@settings(max_examples=50)
def test_dp_merges_nothing_and_says_nothing_below_k(
    counts: list[tuple[int, int]], seed: int
) -> None:
    deciding = release(a_private_declaration())
    for index, (forward, backward) in enumerate(counts):
        record = said(deciding, window(index, forward, backward), seed=seed)
        assert record.covers == 1
        assert (record.profile, record.epsilon_milli) == ("dp", 1000)
        assert record.status == "low" or forward + backward >= 10


def test_dp_says_nothing_and_draws_nothing_once_its_budget_is_spent() -> None:
    (draft, _) = release(a_private_declaration()).decide(window(0, 500, 500))
    assert draft.record(no_draw, None, within_budget=False).status == "closed"


def test_dp_says_neither_zones_nor_objections() -> None:
    modules = (module("occupancy"), module("distance"))
    declared = a_private_declaration(modules=modules, zones=(HALL,))
    tally = {"hall": ZoneTally(300, 9000.0, 300.0, 300, 120, 150, 40000.0)}
    deciding = release(declared)
    assert said(deciding, window(0, zones=tally), "hall").status == "low"
    assert said(deciding, window(95, objections=50), OBJECTIONS).status == "low"


@given(st.integers(60, 2000), st.integers(0, 2000), st.integers(0, 2**32))
@settings(max_examples=50)
def test_dp_is_near_the_truth_and_unbiased_enough(masked: int, unmasked: int, seed: int) -> None:
    declared = a_private_declaration(modules=(module("masks"),))
    tally = {"main": LineTally(masked, unmasked, masked=masked, unmasked=unmasked)}
    record = said(release(declared), window(0, lines=tally), seed=seed)
    assert record.status == "ok"
    assert abs(total_of(record) - masked - unmasked) <= 60
    assert record.masks is not None


# -- on board (R6)


BUS = Vehicle(id="on-board", doors=(Door(line="main", inward="forward"),), capacity=80)


def on_board(contributors: int, mean: float, windows: int = 1) -> ZoneTally:
    length_s = windows * LENGTH_S
    return ZoneTally(contributors, mean * length_s, float(length_s))


@pytest.mark.parametrize(
    ("contributors", "mean", "expected"),
    [(9, 40.0, None), (10, 3.9, None), (10, 12.4, (10, "free")), (10, 63.0, (65, "crowded"))],
)
def test_people_on_board_are_said_of_ten_who_boarded_and_when_nobody_outweighs_the_rest(
    contributors: int, mean: float, expected: tuple[int, str] | None
) -> None:
    deciding = release(a_declaration(vehicle=BUS, modules=(module("occupancy"),)))
    zones = {"on-board": on_board(contributors, mean)}
    record = said(deciding, window(0, zones=zones), "on-board")
    found = record.occupancy
    assert (record.status == "ok") == (expected is not None)
    assert (None if found is None else (found.mean, found.level)) == expected


def test_quiet_windows_on_board_are_carried_until_ten_have_boarded() -> None:
    deciding = release(a_declaration(vehicle=BUS, modules=(module("occupancy"),)))
    first = said(deciding, window(0, zones={"on-board": on_board(4, 20)}), "on-board")
    second = said(deciding, window(1, zones={"on-board": on_board(6, 30)}), "on-board")
    assert (first.status, second.status, second.covers) == ("low", "ok", 2)
    assert second.occupancy is not None
    assert second.occupancy.mean == 25


# -- masks that cannot be judged (R5)


@pytest.mark.parametrize(
    ("unjudged", "is_said"), [(0, True), (46, True), (47, False), (400, False)]
)
def test_masks_are_not_said_where_most_could_not_be_judged(unjudged: int, is_said: bool) -> None:
    assert (say_masks(12, 8, unjudged, 10) is not None) == is_said


def test_a_day_on_which_masks_could_not_be_judged_is_known_the_day_after() -> None:
    deciding = release(a_declaration(modules=(module("masks"),)))
    for index in range(96):
        deciding.decide(window(index, 50, 50))
    assert not deciding.is_blind_for_masks
    deciding.decide(window(96))
    assert deciding.is_blind_for_masks
    judged = LineTally(50, 50, masked=60, unmasked=30)
    for index in range(97, 193):
        deciding.decide(window(index, lines={"main": judged}))
    assert not deciding.is_blind_for_masks


def test_a_window_without_people_on_board_known_ends_the_batch_and_looks_like_any_low() -> None:
    deciding = release(a_declaration(vehicle=BUS, modules=(module("occupancy"),)))
    first = said(deciding, window(0, zones={"on-board": on_board(8, 20)}), "on-board")
    unknown = said(deciding, window(1), "on-board")
    third = said(deciding, window(2, zones={"on-board": on_board(8, 30)}), "on-board")
    assert [r.status for r in (first, unknown, third)] == ["low"] * 3
    assert first.model_copy(update={"window": unknown.window}) == unknown
    fourth = said(deciding, window(3, zones={"on-board": on_board(8, 30)}), "on-board")
    assert (fourth.status, fourth.covers) == ("ok", 2)
