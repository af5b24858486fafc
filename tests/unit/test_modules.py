"""A module measures in its declared time, and not a moment longer."""

import threading
from collections.abc import Iterator
from datetime import datetime

import pytest

from edge_agent.core.observation import Box, Detection, Observation
from edge_agent.core.release import Draft, Speaker
from edge_agent.io.light import Light
from edge_agent.vision import Vision
from edge_agent.wire.messages import Record
from tests.unit.test_config import GOOD, MODULE, parse

ZONE = {"id": "hall", "corners": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], "capacity": 9}


class Deaf:
    """An outlet that says nothing."""

    changed = threading.Event()

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


class Scribe:
    """An outlet that keeps what is said."""

    changed = threading.Event()

    def __init__(self) -> None:
        self.records: list[Record] = []

    def say(self, draft: Draft, _not_before_s: float) -> None:
        """Make the record, as if its window had been burnt."""
        self.records.append(draft.record(lambda _: 0, None, within_budget=True))


def ride(begin_s: float) -> Iterator[Observation]:
    """A quarter of an hour empty, then ten people who get in side by side, and ride."""
    for step in range(2 * 1900):
        t = step / 2
        x = 0.3 + 0.02 * (t - 930.0)
        rows = [0.05 + 0.09 * place for place in range(10)] if 0.3 <= x < 0.7 else []
        people = tuple(Detection(Box(x - 0.02, y, x + 0.02, y + 0.08), 0.9) for y in rows)
        yield Observation(begin_s + t, 4 / 3, people)


def test_people_on_board_are_said_of_a_ride_and_not_of_a_start() -> None:
    vehicle = {"id": "on-board", "capacity": 40, "doors": [{"line": "main", "inward": "backward"}]}
    fields = {**GOOD, "vehicle": vehicle, "modules": {"occupancy": MODULE}}
    loaded = parse(fields, signed=True)
    scribe = Scribe()
    vision = Vision(loaded, Speaker("0" * 16, development=False), scribe, Light.none())  # type: ignore[arg-type]
    vision.run(ride(datetime.fromisoformat(MODULE["start"]).timestamp()))
    said = [(r.status, r.occupancy) for r in scribe.records if r.scope == "on-board"]
    assert [status for status, _ in said] == ["low", "ok"]
    assert said[1][1] is not None
    assert (said[1][1].mean, said[1][1].level) == (10, "free")
