"""Stays and distances: each person once, capped, and gone with the track."""

import gc
import math

import pytest

from edge_agent.core.counting import counter
from edge_agent.core.ground import Ground
from edge_agent.core.observation import Box, Detection, Observation
from edge_agent.core.tally import FARTHEST_CM, LONGEST_STAY_S, ZoneTally
from edge_agent.core.zones import Histogram, Zones, _Person, nearest
from edge_agent.wire.declaration import Zone

FLOOR = Ground(((10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (0.0, 0.0, 1.0)))
"""Straight from above: the picture is ten metres wide and high."""
LEFT = Zone(id="left", corners=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), capacity=20)
RIGHT = Zone(id="right", corners=((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)), capacity=20)


class Scene:
    """People who stand or walk, looked at ten times a second."""

    def __init__(self) -> None:
        self.counter = counter([], "side")
        self.zones = Zones([LEFT, RIGHT], FLOOR)
        self.at_s = 0.0

    def look(self, *feet: tuple[float, float]) -> None:
        people = tuple(Detection(Box(x - 0.02, y - 0.1, x + 0.02, y), 0.9) for x, y in feet)
        observation = Observation(self.at_s, 1.0, people)
        self.counter.update(observation)
        self.zones.update(observation, self.counter.tracks)
        self.at_s = round(self.at_s + 0.1, 1)

    def stand(self, seconds: float, *feet: tuple[float, float]) -> None:
        for _ in range(round(10 * seconds)):
            self.look(*feet)


def test_people_who_stay_are_counted_by_their_time() -> None:
    scene = Scene()
    scene.stand(60, (0.1, 0.5), (0.3, 0.5), (0.8, 0.5))
    tally = scene.zones.close()
    assert tally["left"].stayed_s == pytest.approx(120, abs=1)
    assert (tally["left"].contributors, tally["right"].contributors) == (2, 1)
    assert tally["right"].stayed_s == pytest.approx(60, abs=1)


def test_who_walks_from_one_zone_to_the_other_stays_in_each_for_its_time() -> None:
    scene = Scene()
    for step in range(200):
        scene.look((0.1 + 0.004 * step, 0.5))
    tally = scene.zones.close()
    assert tally["left"].stayed_s == pytest.approx(10, abs=0.7)
    assert tally["right"].stayed_s == pytest.approx(10, abs=0.7)


def test_a_stay_over_two_windows_is_one_contributor_of_the_first() -> None:
    scene = Scene()
    scene.stand(30, (0.1, 0.5))
    first = scene.zones.close()["left"]
    scene.stand(30, (0.1, 0.5))
    second = scene.zones.close()["left"]
    assert (first.contributors, second.contributors) == (1, 0)
    both = first.then(second)
    assert both.stayed_s == pytest.approx(60, abs=1)
    assert both.longest_s == pytest.approx(60, abs=1)


def test_a_stay_counts_for_five_minutes_of_a_window_at_most() -> None:
    scene = Scene()
    scene.stand(400, (0.1, 0.5))
    assert scene.zones.close()["left"].stayed_s == LONGEST_STAY_S


def test_each_person_leaves_one_median_behind() -> None:
    scene = Scene()
    scene.stand(20, (0.10, 0.5), (0.19, 0.5), (0.40, 0.5))
    scene.stand(5)
    tally = scene.zones.close()["left"]
    assert (tally.people, tally.within_1m, tally.within_2m) == (3, 2, 2)
    assert tally.apart_cm == pytest.approx(90 + 90 + 210, abs=20)
    assert scene.zones.close()["left"] == ZoneTally()


def test_nothing_is_kept_of_who_has_left() -> None:
    scene = Scene()
    scene.stand(5, (0.1, 0.5), (0.3, 0.5))
    scene.stand(3)
    gc.collect()
    kinds = (_Person, Histogram)
    assert [found for found in gc.get_objects() if isinstance(found, kinds)] == []


def test_alone_is_as_far_as_can_be_said() -> None:
    assert nearest({1: (0.0, 0.0)}) == {1: FARTHEST_CM}
    told = nearest({1: (0.0, 0.0), 2: (3.0, 4.0), 3: (0.5, 0.0)})
    assert told == pytest.approx({1: 50.0, 2: 100 * math.hypot(2.5, 4), 3: 50.0})


def test_half_of_the_time_decides() -> None:
    histogram = Histogram()
    histogram.add(60, 10)
    histogram.add(300, 11)
    assert histogram.median_cm() == pytest.approx(300, abs=5)
    histogram.add(60, 2)
    assert histogram.median_cm() == pytest.approx(60, abs=5)


def test_without_distances_only_stays_are_measured() -> None:
    zones, counting = Zones([LEFT, RIGHT], FLOOR), counter([], "side")
    people = tuple(Detection(Box(x - 0.02, 0.4, x + 0.02, 0.5), 0.9) for x in (0.1, 0.2))
    for step in range(100):
        observation = Observation(step / 10, 1.0, people if step < 70 else ())
        counting.update(observation)
        zones.update(observation, counting.tracks, distances=False)
    tally = zones.close()["left"]
    assert (tally.contributors, tally.people, tally.apart_cm) == (2, 0, 0.0)
