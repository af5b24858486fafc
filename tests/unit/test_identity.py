"""Nobody is recognised: of a person a place and a speed are known, and go with the track."""

import gc

from edge_agent.core.counting import Counter, Line, Passage
from edge_agent.core.observation import Box, Detection, Observation
from edge_agent.core.tracking import Track, TrackerSettings

LINE = Line("main", (0.5, 0.0), (0.5, 1.0))
ALLOWED = {
    "_x", "_y", "begun_at_s", "confirmed", "height", "hits", "id", "score", "seen_at_s",
    "shadowed_s", "width",
}  # fmt: skip


def walk(counter: Counter, begin_s: float) -> list[Passage]:
    """Let one person walk from left to right in four seconds."""
    passages = []
    for step in range(40):
        x = 0.1 + 0.02 * step
        person = Detection(Box(x - 0.05, 0.3, x + 0.05, 0.7), 0.9)
        passages += counter.update(Observation(begin_s + step / 10, 1.0, (person,)))
    return passages


def test_a_track_is_made_of_numbers_alone() -> None:
    assert set(Track.__slots__) == ALLOWED
    track = Track(1, Box(0.1, 0.1, 0.2, 0.4), 0.0, TrackerSettings())
    plain = [getattr(track, name) for name in ALLOWED - {"_x", "_y"}]
    plain += [getattr(axis, name) for axis in (track._x, track._y) for name in axis.__slots__]
    assert {type(value) for value in plain} <= {int, float, bool}


def test_all_of_a_track_is_gone_once_the_track_is() -> None:
    counter = Counter([LINE])
    assert len(walk(counter, 0.0)) == 1
    assert counter.tracks
    for step in range(30):
        counter.update(Observation(4.0 + step / 10, 1.0))
    gc.collect()
    assert [found for found in gc.get_objects() if isinstance(found, Track)] == []
    assert counter._sure == {}
    assert list(counter.tracks) == []


def test_who_passes_twice_is_counted_twice_and_not_recognised() -> None:
    counter = Counter([LINE])
    first = walk(counter, 0.0)
    second = walk(counter, 60.0)
    assert len(first) == len(second) == 1
    assert first[0].track != second[0].track
