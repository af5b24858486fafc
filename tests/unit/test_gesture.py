"""A head shake is a no; a nod, a look to the side and walking past are not."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_agent.core.gesture import Gestures, Sample, ShakeSettings, is_shake, swings
from edge_agent.core.observation import Box, Face, Observation
from models.data import DATA

Motion = Callable[[float], tuple[float, float]]
"""From seconds to turn and tilt."""
LANDMARKS = DATA / "head_gesture" / "landmarks.npz"


def a_shake(t: float, rate_hz: float = 1.5, wide: float = 0.3) -> tuple[float, float]:
    return (wide * math.sin(2 * math.pi * rate_hz * (t - 1)) if 1 < t < 3 else 0.0), 0.5


def a_look(t: float) -> tuple[float, float]:
    return 0.4 * min(max((t - 1) / 0.4, 0), 1) * min(max((3 - t) / 0.4, 0), 1), 0.5


def a_look_both_ways(t: float) -> tuple[float, float]:
    way = min(max((t - 1) / 0.3, 0), 1) - 2 * min(max((t - 1.8) / 0.5, 0), 1)
    return 0.4 * (way + min(max((t - 2.9) / 0.3, 0), 1)), 0.5


def a_nod(t: float) -> tuple[float, float]:
    return 0.05 * math.sin(9 * t), 0.5 + 0.2 * math.sin(2 * math.pi * 1.5 * t)


def a_slanted_nod(t: float) -> tuple[float, float]:
    swing = math.sin(2 * math.pi * 1.5 * t)
    return 0.16 * swing, 0.5 + 0.25 * swing


def standing(_t: float) -> tuple[float, float]:
    return 0.0, 0.5


def slow(t: float) -> tuple[float, float]:
    return a_shake(t, rate_hz=0.4)


MOTIONS: list[tuple[Motion, int]] = [
    (a_shake, 1), (a_look, 0), (a_look_both_ways, 0), (a_nod, 0), (a_slanted_nod, 0),
    (standing, 0), (slow, 0),
]  # fmt: skip


def heads(
    motion: Motion, fps: float, *, walks: float = 0.0, trembles: float = 0.02
) -> Iterator[Observation]:
    rng = np.random.default_rng(7)
    for index in range(round(5 * fps)):
        t = index / fps
        turn, tilt = motion(t)
        x = 0.3 + walks * t
        yield Observation(
            1000 + t, 4 / 3, (),
            (Face(Box(x, 0.2, x + 0.15, 0.45), 0.9, turn + trembles * rng.standard_normal(),
                  tilt + trembles * rng.standard_normal(), "unknown"),),
        )  # fmt: skip


def objections(observations: Iterator[Observation]) -> int:
    gestures = Gestures()
    return sum(len(gestures.update(observation)) for observation in observations)


@pytest.mark.parametrize("fps", [7.5, 10, 15, 30])
@pytest.mark.parametrize(("motion", "expected"), MOTIONS)
def test_only_a_head_shake_is_an_objection(motion: Motion, expected: int, fps: float) -> None:
    assert objections(heads(motion, fps)) == expected


@pytest.mark.parametrize(("motion", "expected"), MOTIONS)
def test_walking_changes_nothing(motion: Motion, expected: int) -> None:
    assert objections(heads(motion, 15, walks=0.08)) == expected


def test_a_head_that_goes_on_shaking_objects_once() -> None:
    def for_long(t: float) -> tuple[float, float]:
        return 0.3 * math.sin(9 * t), 0.5

    assert objections(heads(for_long, 15)) == 1


def test_two_heads_are_two_people() -> None:
    gestures = Gestures()
    found = 0
    for one, other in zip(heads(a_shake, 15), heads(standing, 15), strict=True):
        (moved,), (still,) = one.faces, other.faces
        beside = Face(Box(0.7, 0.2, 0.85, 0.45), 0.9, still.turn, still.tilt, "unknown")
        shaken = gestures.update(Observation(one.at_s, 4 / 3, (), (beside, moved)))
        found += len(shaken)
        assert beside not in shaken
    assert found == 1


def test_what_is_known_of_a_head_goes_when_it_is_out_of_view() -> None:
    gestures = Gestures()
    for observation in heads(a_shake, 15):
        gestures.update(observation)
    assert len(gestures._heads) == 1
    assert all(len(head.samples) <= 4 * 15 + 1 for head in gestures._heads)
    gestures.update(Observation(1006.0, 4 / 3))
    assert gestures._heads == []


def test_trembling_is_no_swing() -> None:
    samples = [Sample(i / 10, 0.03 * (-1) ** i, 0.5) for i in range(30)]
    assert all(abs(swing.turn) < 0.14 for swing in swings(samples, 0.14))
    assert not is_shake(samples, ShakeSettings())


def landmarks(part: str) -> list[Sample]:
    """Return published landmarks of one person, 30 a second, as our own points would be."""
    if not LANDMARKS.exists():
        pytest.skip(f"no {LANDMARKS}: the recorded heads are never committed")
    with np.load(LANDMARKS) as stored:
        names = [str(name) for name in stored["feature_names"]]
        columns: dict[str, Any] = dict(zip(names, stored[part].T, strict=True))
    aspect = 4 / 3  # face boxes are square
    eyes_x = aspect * (columns["RIGHT_EYE_X"] + columns["LEFT_EYE_X"]) / 2
    eyes_y = (columns["RIGHT_EYE_Y"] + columns["LEFT_EYE_Y"]) / 2
    down = np.stack([aspect * columns["MOUTH_X"] - eyes_x, columns["MOUTH_Y"] - eyes_y])
    nose = np.stack([aspect * columns["NOSE_X"] - eyes_x, columns["NOSE_Y"] - eyes_y])
    square = (down**2).sum(0)
    turns = (nose[0] * down[1] - nose[1] * down[0]) / square
    tilts = (nose * down).sum(0) / square
    return [Sample(i / 30, float(turn), float(tilts[i])) for i, turn in enumerate(turns)]


def heard(samples: list[Sample], length_s: float, step: int) -> tuple[int, int]:
    """Return in how many stretches of so many seconds there is a shake, and of how many."""
    samples = samples[::step]
    size = round(30 * length_s / step)
    starts = range(0, len(samples) - size + 1, max(1, size // 6))
    hits = sum(
        any(is_shake(samples[start : start + seen], ShakeSettings()) for seen in range(6, size + 1))
        for start in starts
    )
    return hits, len(starts)


@pytest.mark.data
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_recorded_shakes_are_found_and_nothing_else(step: int) -> None:
    """The second half in time; settings were chosen on the first."""
    later = {part: landmarks(part)[400:] for part in ("turning", "nodding", "stationary")}
    hits, stretches = heard(later["turning"], 3.0, step)
    assert hits >= 0.95 * stretches
    assert [heard(later[part], 3.0, step)[0] for part in ("nodding", "stationary")] == [0, 0]
