"""Counting, as a table of scenes. Distances are in picture heights; people are 0.2 tall."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.counting import Counter, Line
from edge_agent.core.observation import Box, Detection, Observation

TALL = 0.2
WIDE = 0.08
DOWN = Line("l", (0.5, 0.0), (0.5, 1.0))
"""A vertical line drawn downwards: forward is leftward."""
Path = Callable[[float], tuple[float, float] | None]
"""Time in s to the foot's place, or None where nobody is detected."""


def person(x: float, y: float, score: float = 0.9) -> Detection:
    return Detection(Box(x - WIDE / 2, y - TALL, x + WIDE / 2, y), score)


def scene(paths: list[Path], seconds: float = 10.0, fps: float = 7.0) -> Iterator[Observation]:
    for i in range(int(seconds * fps)):
        at = i / fps
        places = (path(at) for path in paths)
        yield Observation(1000 + at, 1.0, tuple(person(*place) for place in places if place))


def count(
    paths: list[Path], line: Line = DOWN, seconds: float = 10.0, fps: float = 7.0
) -> tuple[int, int]:
    counter = Counter([line])
    forward = backward = 0
    for observation in scene(paths, seconds, fps):
        for passage in counter.update(observation):
            forward += passage.forward
            backward += not passage.forward
    return forward, backward


def walk(x0: float, x1: float, y: float = 0.6, start: float = 0.0, seconds: float = 6.0) -> Path:
    def at(t: float) -> tuple[float, float] | None:
        share = (t - start) / seconds
        return (x0 + share * (x1 - x0), y) if 0 <= share <= 1 else None

    return at


def hidden(path: Path, begin: float, end: float) -> Path:
    return lambda t: None if begin <= t < end else path(t)


def there_and_back(turn: float) -> Path:
    return lambda t: (0.2 + (turn - 0.2) * (1 - abs(t - 5) / 5), 0.6)


def flicker(t: float) -> tuple[float, float]:
    return (0.5 + (0.012 if int(t * 7) % 2 else -0.012), 0.6)


def linger(t: float) -> tuple[float, float]:
    return (min(0.2 + 0.1 * t, 0.505), 0.6)


def twice(t: float) -> tuple[float, float] | None:
    return walk(0.8, 0.2, seconds=4)(t) or walk(0.8, 0.2, start=6, seconds=4)(t)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param([walk(0.8, 0.2)], (1, 0), id="leftward over a line drawn down is forward"),
        pytest.param([walk(0.2, 0.8)], (0, 1), id="rightward is backward"),
        pytest.param([walk(0.1, 0.45)], (0, 0), id="stopping short is no passage"),
        pytest.param([there_and_back(0.8)], (1, 1), id="over and back is two passages"),
        pytest.param([there_and_back(0.5)], (0, 0), id="turning back on the line is none"),
        pytest.param([flicker], (0, 0), id="flicker on the line is none"),
        pytest.param([linger], (0, 0), id="coming to stand on the line is none"),
        pytest.param([twice], (2, 0), id="pass twice, counted twice"),
        pytest.param([], (0, 0), id="nobody is nobody"),
        pytest.param(
            [walk(0.8, 0.2, 0.6), walk(0.8, 0.2, 0.75)], (2, 0), id="a pair side by side is two"
        ),
        pytest.param(
            [walk(0.8, 0.2, 0.6), walk(0.2, 0.8, 0.63)], (1, 1), id="two who meet keep their ways"
        ),
        pytest.param(
            [hidden(walk(0.8, 0.2), 2.5, 3.5)], (1, 0), id="hidden for a second over the line"
        ),
        pytest.param([walk(0.8, 0.2, start=0, seconds=1.5)], (1, 0), id="running"),
    ],
)
def test_scene(paths: list[Path], expected: tuple[int, int]) -> None:
    assert count(paths) == expected


@pytest.mark.parametrize("fps", [4.0, 7.0, 15.0, 30.0])
def test_the_frame_rate_does_not_change_the_count(fps: float) -> None:
    assert count([walk(0.8, 0.2), walk(0.2, 0.8, 0.9)], fps=fps) == (1, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (Line("l", (0.5, 1.0), (0.5, 0.0)), (0, 1)),
        (Line("l", (0.3, 0.0), (0.7, 1.0)), (1, 0)),
        (Line("l", (0.5, 0.7), (0.5, 1.0)), (0, 0)),
        (Line("l", (0.5, 0.5), (0.5, 0.7)), (1, 0)),
        (Line("l", (0.0, 0.3), (1.0, 0.3)), (0, 0)),
        (Line("l", (0.0, 0.595), (1.0, 0.6)), (0, 0)),
    ],
)
def test_a_leftward_walk_over_lines_of_any_angle(line: Line, expected: tuple[int, int]) -> None:
    assert count([walk(0.8, 0.2)], line) == expected


def test_a_walk_down_over_a_horizontal_line_drawn_rightward_is_forward() -> None:
    line = Line("l", (0.0, 0.5), (1.0, 0.5))
    assert count([lambda t: (0.5, 0.3 + 0.05 * t)], line) == (1, 0)


@given(
    y=st.floats(0.3, 0.95),
    seconds=st.floats(2.0, 8.0),
    margin=st.floats(0.1, 0.3),
)
def test_a_mirrored_scene_swaps_the_directions(y: float, seconds: float, margin: float) -> None:
    one = count([walk(margin, 1 - margin, y, seconds=seconds)])
    other = count([walk(1 - margin, margin, y, seconds=seconds)])
    assert one == other[::-1] == (0, 1)


def test_a_tracks_state_is_gone_when_the_track_is() -> None:
    counter = Counter([DOWN])
    for observation in scene([walk(0.8, 0.2, seconds=3)], seconds=4):
        counter.update(observation)
    for i in range(30):
        counter.update(Observation(1004 + i / 7, 1.0))
    assert list(counter.tracks) == []
    assert counter._sure == {}


def test_frames_that_nobody_saw_neither_count_nor_lose_anybody() -> None:
    counter = Counter([DOWN])
    found = []
    for i, observation in enumerate(scene([walk(0.8, 0.2)])):
        unseen = Observation(observation.at_s, 1.0, seen=False)
        found += counter.update(unseen if i % 4 == 3 else observation)
    assert [passage.forward for passage in found] == [True]
