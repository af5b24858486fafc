"""How long people stay in a zone, and how near they are to each other: sums for a window.

This module does not release anything. Of a person it holds, while the track lives, for how long it
was in each zone of this window and a histogram of distances; both go with the track.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.core.geometry import Point
from edge_agent.core.ground import Ground
from edge_agent.core.observation import Observation
from edge_agent.core.tally import FARTHEST_CM, LONGEST_STAY_S, ZoneTally
from edge_agent.core.tracking import Track
from edge_agent.wire.declaration import Zone, within

STEP_CM = 5
LONGEST_STEP_S = 1.0
SHORTEST_LIFE_S = 0.5
"""A track that lived for less was perhaps nobody."""
UNSEEN_S = 0.3
"""Who was not seen for longer is perhaps not there any more."""


def nearest(places_m: Mapping[int, Point]) -> dict[int, float]:
    """Return everybody's distance to the nearest other, in cm; 5 m where nobody else is there."""
    return {
        number: min(
            (100 * math.dist(at, other) for n, other in places_m.items() if n != number),
            default=FARTHEST_CM,
        )
        for number, at in places_m.items()
    }


def seen(
    observation: Observation, tracks: Sequence[Track], unseen_s: float = 0.0
) -> dict[int, Point]:
    """Return where everybody's foot is, in normalised coordinates.

    Args:
        observation: of now.
        tracks: the live ones.
        unseen_s: for how long somebody may not have been detected.
    """
    return {
        track.id: (track.foot[0] / observation.aspect, track.foot[1])
        for track in tracks
        if track.confirmed
        and observation.at_s - track.begun_at_s >= SHORTEST_LIFE_S
        and observation.at_s - track.seen_at_s <= unseen_s
    }


class Histogram:
    """Distances weighted by time, in steps of 5 cm up to 5 m; its median is a person's value."""

    __slots__ = ("_bins", "total_s")

    def __init__(self) -> None:
        self._bins: dict[int, float] = {}
        self.total_s = 0.0

    def add(self, distance_cm: float, for_s: float) -> None:
        """Take a distance in that lasted for a while."""
        step = int(min(distance_cm, FARTHEST_CM)) // STEP_CM
        self._bins[step] = self._bins.get(step, 0.0) + for_s
        self.total_s += for_s

    def median_cm(self) -> float:
        """Return the distance below which the person was for half of the time."""
        left = self.total_s / 2
        for step in sorted(self._bins):
            left -= self._bins[step]
            if left <= 0:
                return min(FARTHEST_CM, (step + 0.5) * STEP_CM)
        return FARTHEST_CM


@dataclass(slots=True)
class _Person:
    """What is known of a live track in a zone."""

    stayed_s: float = 0.0
    is_new: bool = True
    near: Histogram = field(default_factory=Histogram)


class Zones:
    """All zones of one camera. `update` after the counter, once for each observation."""

    def __init__(self, zones: Sequence[Zone], ground: Ground | None = None) -> None:
        self._zones = tuple(zones)
        self._ground = ground
        self._people: dict[str, dict[int, _Person]] = {zone.id: {} for zone in zones}
        self._ended: dict[str, ZoneTally] = {}
        self._at_s: float | None = None

    def update(
        self, observation: Observation, tracks: Sequence[Track], *, distances: bool = True
    ) -> None:
        """Take in where everybody is; without `distances`, only how long they stay.

        1. The time since the last look counts, up to a second.
        2. Who is in a zone stays there; each distance is to the nearest other confirmed person.
        3. Whose track is gone leaves one value behind.
        """
        # 1.
        step_s = 0.0 if self._at_s is None else observation.at_s - self._at_s
        step_s = min(max(0.0, step_s), LONGEST_STEP_S) if observation.seen else 0.0
        self._at_s = observation.at_s
        feet = seen(observation, tracks, UNSEEN_S)
        # A place that is only predicted is no distance.
        apart = self._apart(seen(observation, tracks)) if distances else {}
        alive = {track.id for track in tracks}
        for zone in self._zones:
            inside = self._people[zone.id]
            # 2.
            for number, foot in feet.items():
                if within(foot, zone.corners):
                    person = inside.get(number)
                    if person is None:
                        # The first second of a track counts once it is known to be somebody.
                        person = inside[number] = _Person(SHORTEST_LIFE_S)
                    person.stayed_s += step_s
                    if number in apart:
                        person.near.add(apart[number], step_s)
            # 3.
            for gone in [number for number in inside if number not in alive]:
                self._end(zone.id, inside.pop(gone))

    def _apart(self, feet: Mapping[int, Point]) -> dict[int, float]:
        """Return the distance to the nearest other, in cm, of everybody on the floor."""
        if self._ground is None:
            return {}
        return nearest(
            {n: at for n, foot in feet.items() if (at := self._ground.place(foot)) is not None}
        )

    def _end(self, zone: str, person: _Person) -> None:
        tally = self._stay(person)
        if person.near.total_s > 0:
            median = person.near.median_cm()
            tally += ZoneTally(
                people=1,
                within_1m=int(median < 100),
                within_2m=int(median < 200),
                apart_cm=median,
            )
        self._ended[zone] = self._ended.get(zone, ZoneTally()) + tally

    @staticmethod
    def _stay(person: _Person) -> ZoneTally:
        stayed_s = min(person.stayed_s, LONGEST_STAY_S)
        return ZoneTally(int(person.is_new), stayed_s, stayed_s)

    def withdraw(self, track: int) -> None:
        """Take a person who objects out of the open window; later, leave the track out (R12)."""
        for inside in self._people.values():
            inside.pop(track, None)

    def close(self) -> dict[str, ZoneTally]:
        """Return the sums since the last call, as a window closes.

        Who stays on is a contributor of the window in which the stay began, and of no other.
        """
        sums = {}
        for zone in self._zones:
            tally = self._ended.get(zone.id, ZoneTally())
            for person in self._people[zone.id].values():
                tally += self._stay(person)
                person.stayed_s, person.is_new = 0.0, False
            sums[zone.id] = tally
        self._ended = {}
        return sums
