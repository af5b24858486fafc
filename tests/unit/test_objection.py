"""Whoever shakes the head is in no count, also not in those of the open window (R12)."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.core.observation import Box, Detection, Face, Observation
from edge_agent.core.release import Draft, Speaker
from edge_agent.io.light import Light
from edge_agent.vision import Vision
from tests.unit.test_config import GOOD, MODULE, parse

START_S = 1_800_000_000
FPS = 15
ZONE = {"id": "hall", "corners": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], "capacity": 9}


class Deaf:
    """An outlet that says nothing."""

    changed = threading.Event()

    def say(self, _draft: Draft, _not_before_s: float) -> None:
        """Hear a draft, and forget it."""


def someone(x: float, turn: float) -> tuple[Detection, Face]:
    body = Detection(Box(x - 0.06, 0.2, x + 0.06, 0.9), 0.9)
    return body, Face(Box(x - 0.02, 0.22, x + 0.02, 0.32), 0.9, turn, 0.5, "no_mask")


def crossing(shakes_at_s: float | None, seconds: float = 12.0) -> Iterator[Observation]:
    """Two people cross the line; the first may shake the head at some time after that."""
    for index in range(round(seconds * FPS)):
        t = index / FPS
        x = min(0.2 + 0.15 * t, 0.8)
        shaking = shakes_at_s is not None and shakes_at_s <= t < shakes_at_s + 2
        turn = 0.3 * math.sin(2 * math.pi * 1.5 * t) if shaking else 0.0
        one, other = someone(x, turn), someone(1.0 - x, 0.0)
        seen = [part for part in (one, other) if part]
        yield Observation(
            START_S + t, 4 / 3, tuple(body for body, _ in seen), tuple(face for _, face in seen)
        )


def watch(path: Path, shakes_at_s: float | None, **changes: object) -> Vision:
    light = path / "light"
    light.touch()
    fields = {**GOOD, "objection": {"enabled": True}, "zones": [ZONE], **changes}
    loaded = parse({**fields, "modules": {"occupancy": MODULE}}, signed=True)
    speaker = Speaker("0" * 16, development=False)
    vision = Vision(loaded, speaker, Deaf(), Light(light, 2.0))  # type: ignore[arg-type]
    vision.run(crossing(shakes_at_s))
    return vision


def counted(vision: Vision) -> int:
    window = vision._windows._open
    assert window is not None
    held = sum(len(passages) for passages in window.in_view.values())
    return held + sum(tally.total for tally in window.lines.values())


def objections(vision: Vision) -> int:
    window = vision._windows._open
    assert window is not None
    return window.objections


def test_two_people_who_cross_are_counted(tmp_path: Path) -> None:
    vision = watch(tmp_path, None)
    assert (counted(vision), objections(vision)) == (2, 0)
    assert (tmp_path / "light").read_text() == "0"


def test_a_head_shake_takes_back_what_was_counted_and_lights_up(tmp_path: Path) -> None:
    vision = watch(tmp_path, 8.0)
    assert (counted(vision), objections(vision)) == (1, 1)
    assert (tmp_path / "light").read_text() == "1"


def test_a_head_shake_before_the_line_keeps_the_passage_out(tmp_path: Path) -> None:
    vision = watch(tmp_path, 0.1)
    assert (counted(vision), objections(vision)) == (1, 1)


def test_an_objector_leaves_zones_too(tmp_path: Path) -> None:
    for shakes_at_s, expected in ((None, 2), (8.0, 1)):
        zones = watch(tmp_path, shakes_at_s)._zones
        assert zones.close()["hall"].contributors == expected


def test_without_the_declared_courtesy_nobody_is_watched_for_it(tmp_path: Path) -> None:
    vision = watch(tmp_path, 8.0, objection={"enabled": False})
    assert (counted(vision), objections(vision)) == (2, 0)


def test_objectors_are_forgotten_when_they_leave(tmp_path: Path) -> None:
    vision = watch(tmp_path, 8.0)
    assert len(vision._objectors) == 1
    vision.run([Observation(START_S + 20.0 + t, 4 / 3) for t in range(5)])
    assert vision._objectors == set()


@pytest.mark.parametrize("what", ["masks", "objection"])
def test_no_face_is_looked_for_from_above(what: str) -> None:
    camera = {**GOOD["camera"], "view": "overhead"}
    fields = {**GOOD, "camera": camera}
    if what == "masks":
        fields["modules"] = {"masks": MODULE}
    else:
        fields["objection"] = {"enabled": True}
    with pytest.raises(Exception, match=r"no face is seen from straight above"):
        parse(fields, signed=True)
