"""People on board from doors: added, subtracted, and said only where that can be relied on."""

from collections.abc import Iterable

import pytest

from edge_agent.core.boarding import TERMINUS_S, Boarding
from edge_agent.core.counting import Passage
from edge_agent.core.observation import Observation
from edge_agent.wire.declaration import Door, Vehicle

BUS = Vehicle(
    id="on-board",
    doors=(Door(line="front", inward="forward"), Door(line="rear", inward="backward")),
    capacity=80,
)


class Ride:
    """A bus, second by second."""

    def __init__(self) -> None:
        self.boarding = Boarding(BUS)
        self.at_s = 1000.0

    def wait(self, seconds: int, *, seen: bool = True) -> "Ride":
        for _ in range(seconds):
            self.at_s += 1
            self.boarding.update(Observation(self.at_s, 1.0, seen=seen), ())
        return self

    def walk(self, people: int, *, into: bool, door: str = "front") -> "Ride":
        forward = into == (door == "front")
        for _ in range(people):
            self.at_s += 1
            passages: Iterable[Passage] = [Passage(door, forward, self.at_s, 1)]
            self.boarding.update(Observation(self.at_s, 1.0), tuple(passages))
        return self


def a_ride() -> Ride:
    """Return a bus that has stood empty at its terminus."""
    ride = Ride().wait(int(TERMINUS_S) + 1)
    ride.boarding.close()
    return ride


def test_people_on_board_are_those_who_got_in_less_those_who_got_out() -> None:
    ride = a_ride().walk(20, into=True).walk(7, into=True, door="rear").walk(9, into=False)
    assert ride.boarding.believed == 18
    assert ride.boarding.is_sayable


def test_time_weighs_who_is_on_board() -> None:
    ride = a_ride()
    tally = ride.walk(10, into=True).wait(90).walk(10, into=False).boarding.close()
    assert tally is not None
    assert tally.contributors == 10
    assert tally.stayed_s == pytest.approx(10 * 90 + 45 + 55)
    assert tally.longest_s == pytest.approx(110)


def test_who_stays_on_board_counts_as_a_contributor_once() -> None:
    ride = a_ride().walk(12, into=True)
    boarded = ride.boarding.close()
    later = ride.wait(60).boarding.close()
    assert boarded is not None
    assert later is not None
    assert (boarded.contributors, later.contributors) == (12, 0)


def test_after_a_start_nothing_is_said_until_the_bus_stood_empty() -> None:
    ride = Ride().walk(10, into=True).wait(60)
    assert not ride.boarding.is_sayable
    assert ride.boarding.close() is None
    assert a_ride().boarding.is_sayable


def test_a_quiet_ride_with_people_on_board_is_no_terminus() -> None:
    ride = a_ride().walk(15, into=True).wait(2 * int(TERMINUS_S))
    assert ride.boarding.believed == 15


def test_drift_ends_at_an_empty_terminus() -> None:
    ride = a_ride().walk(40, into=True).walk(38, into=False)
    assert ride.boarding.believed == 2
    assert ride.boarding.drift > 2
    ride.wait(int(TERMINUS_S) + 1)
    assert (ride.boarding.believed, ride.boarding.drift) == (0, 0)


def test_too_many_passages_without_a_terminus_are_not_sayable() -> None:
    ride = a_ride()
    for _ in range(20):
        ride.walk(20, into=True).walk(18, into=False)
    assert ride.boarding.drift > 8
    assert not ride.boarding.is_sayable
    ride.boarding.close()
    assert ride.wait(10).boarding.close() is None


def test_more_people_out_than_in_is_not_believed() -> None:
    ride = a_ride().walk(12, into=False)
    assert not ride.boarding.is_sayable


def test_a_miss_or_two_stay_at_nobody() -> None:
    ride = a_ride().walk(10, into=True).walk(11, into=False)
    assert ride.boarding.believed == 0
    assert ride.boarding.is_sayable


def test_a_door_that_was_not_watched_makes_it_unsayable() -> None:
    ride = a_ride().walk(20, into=True).wait(10, seen=False).wait(5)
    assert not ride.boarding.is_sayable
    ride.boarding.close()
    assert ride.wait(5).boarding.close() is None


def test_lines_that_are_no_doors_do_not_matter() -> None:
    ride = a_ride()
    ride.boarding.update(
        Observation(ride.at_s + 1, 1.0), (Passage("street", True, ride.at_s + 1, 1),)
    )
    assert ride.boarding.believed == 0
