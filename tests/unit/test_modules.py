"""A module measures in its declared time, and not a moment longer."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from edge_agent.core.observation import Box, Detection, Observation
from edge_agent.core.release import Draft, Speaker
from edge_agent.io.light import Light
from edge_agent.vision import Vision
from tests.unit.test_config import GOOD, MODULE, parse

ZONE = {"id": "hall", "corners": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], "capacity": 9}


class Deaf:
    """An outlet that says nothing."""

    def say(self, _draft: Draft, _not_before_s: float) -> None:
        """Hear a draft, and forget it."""


def people(begin_s: float) -> Iterator[Observation]:
    for step in range(100):
        standing = tuple(Detection(Box(x, 0.3, x + 0.05, 0.6), 0.9) for x in (0.2, 0.6))
        yield Observation(begin_s + step / 10, 4 / 3, standing)


@pytest.mark.parametrize(("offset_s", "stayed"), [(-20, False), (0, True), (-5, True), (20, True)])
def test_nothing_is_measured_before_a_module_begins(offset_s: float, stayed: bool) -> None:
    loaded = parse({**GOOD, "zones": [ZONE], "modules": {"occupancy": MODULE}}, signed=True)
    vision = Vision(loaded, Speaker("0" * 16, development=False), Deaf(), Light.none())  # type: ignore[arg-type]
    vision.run(people(datetime.fromisoformat(MODULE["start"]).timestamp() + offset_s))
    tally = vision._zones.close()["hall"]
    assert (tally.stayed_s > 0) == stayed


def test_nothing_is_measured_once_it_has_ended() -> None:
    loaded = parse({**GOOD, "zones": [ZONE], "modules": {"occupancy": MODULE}}, signed=True)
    vision = Vision(loaded, Speaker("0" * 16, development=False), Deaf(), Light.none())  # type: ignore[arg-type]
    vision.run(people(datetime.fromisoformat(MODULE["end"]).timestamp() + 1))
    assert vision._zones.close()["hall"].stayed_s == 0
    assert vision._zones._people["hall"] == {}
