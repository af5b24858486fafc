"""What an operator declares in public: the part of a configuration that decides what may be said.

A record names it by fingerprint, so that a stranger can hold one to the other.

This module reads no file and knows no camera, key or address: nothing here is secret.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import combinations
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from edge_agent.wire.messages import (
    K_FLOOR,
    OBJECTIONS,
    DeviceId,
    EpsilonMilli,
    Message,
    Profile,
    ScopeId,
    WindowMinutes,
)

ModuleName = Literal[
    "masks", "occupancy", "distance", "alerts", "scene-events", "installation-picture"
]
ClockTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
"""A time of day, `HH:MM`, up to `24:00`."""
Reason = Annotated[str, StringConstraints(min_length=3, max_length=500, strip_whitespace=True)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A coordinate as a fraction of the picture's width or height."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"expected a time zone such as Europe/Paris, got {name}") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


class Line(Message):
    """A counting line from `start` to `end`, as fractions of the picture.

    Walking along it from start to end, `forward` passages go from its left hand to its right::

              end
               │
      left ─── │ ──► right: forward      (here start is below: y grows downwards)
               │
             start
    """

    id: ScopeId
    start: tuple[Fraction, Fraction]
    end: tuple[Fraction, Fraction]

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        length = max(abs(a - b) for a, b in zip(self.start, self.end, strict=True))
        if length < 0.02:
            raise ValueError(
                f"line {self.id} cannot count: expected a length of at least 2 % of the picture,"
                f" got {100 * length:.1f} %; move its ends apart"
            )
        return self


class Zone(Message):
    """A part of the picture, and how many people it holds when it is full.

    Attributes:
        corners: in order, three to twelve, as fractions of the picture.
    """

    id: ScopeId
    corners: Annotated[tuple[tuple[Fraction, Fraction], ...], Field(min_length=3, max_length=12)]
    capacity: Annotated[int, Field(ge=1, le=10_000)]


class Door(Message):
    """A line across a door, and which way over it is into the vehicle."""

    line: ScopeId
    inward: Literal["forward", "backward"]


class Vehicle(Message):
    """A vehicle whose doors are all watched, and how many people it holds when it is full.

    People on board are those who got in less those who got out.
    """

    id: ScopeId
    doors: Annotated[tuple[Door, ...], Field(min_length=1, max_length=8)]
    capacity: Annotated[int, Field(ge=1, le=10_000)]


class Service(Message):
    """The declared service hours; outside them a record says `closed` (release rule R1)."""

    opens: ClockTime = "00:00"
    closes: ClockTime = "24:00"
    timezone: TimeZone = "Europe/Paris"

    @model_validator(mode="after")
    def _opens_before_it_closes(self) -> Self:
        if self.opens >= self.closes:
            raise ValueError(f"expected opens before closes, got {self.opens} and {self.closes}")
        return self

    def includes(self, start: datetime, end: datetime) -> bool:
        """Return whether a whole window lies within the hours of its local day."""
        zone = ZoneInfo(self.timezone)
        midnight = datetime.combine(start.astimezone(zone).date(), time(), zone)
        opens, closes = (self._instant(midnight, text) for text in (self.opens, self.closes))
        return opens <= start and end <= closes

    def day_of(self, start: datetime) -> int:
        """Return the number of the local day that an instant belongs to."""
        return start.astimezone(ZoneInfo(self.timezone)).toordinal()

    def ends_with(self, start: datetime, end: datetime) -> bool:
        """Return whether a window is the last one of its service day."""
        return self.includes(start, end) and not (
            self.includes(end, end + (end - start)) and self.day_of(end) == self.day_of(start)
        )

    @staticmethod
    def _instant(midnight: datetime, text: str) -> datetime:
        """Return a local time of day as an instant; wall-clock arithmetic, so DST days hold."""
        hours, minutes = (int(part) for part in text.split(":"))
        return (midnight + timedelta(hours=hours, minutes=minutes)).astimezone(UTC)


class Module(Message):
    """One thing beyond counting passages that the device may do, why, and until when."""

    name: ModuleName
    legal_basis: Reason
    purpose: Reason
    contact: Reason
    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"module {self.name}: expected an end after its start")
        return self

    def covers(self, start: datetime, end: datetime) -> bool:
        """Return whether a whole stretch of time lies within the declared time."""
        return self.start <= start and end <= self.end


class DpBudget(Message):
    """What the profile dp may spend: epsilon a release and a local day, in thousandths."""

    epsilon_milli: EpsilonMilli
    day_budget_milli: Annotated[int, Field(ge=1, le=10_000_000)]


class Declaration(Message):
    """All that decides what a device may say.

    Attributes:
        number: goes up with each configuration that the operator signs; never down (anti-rollback).
        signed: the operator has signed the configuration that this is part of.
        vehicle: whose doors the lines are, where people on board are to be known.
        objection: whether a head shake takes a person out of every count (R12).
        detector: the model that finds people.
    """

    v: Literal[1] = 1
    device: DeviceId
    number: Annotated[int, Field(ge=0, le=1_000_000_000)]
    signed: bool
    k: Annotated[int, Field(ge=K_FLOOR, le=1000)]
    window_min: WindowMinutes
    delay_s: Annotated[float, Field(ge=0, le=300)]
    service: Service
    profile: Profile
    dp: DpBudget | None
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=8)]
    zones: Annotated[tuple[Zone, ...], Field(max_length=4)] = ()
    vehicle: Vehicle | None = None
    objection: bool = False
    modules: tuple[Module, ...]
    detector: Annotated[str, StringConstraints(max_length=64)]

    @model_validator(mode="after")
    def _scopes_are_apart(self) -> Self:
        """R8: the difference of two scopes must say nothing of a few people.

        1. A scope has one name; `objections` is taken.
        2. Lines neither meet nor come near each other.
        3. Zones do not overlap.
        4. A vehicle's doors are lines, each once.
        """
        # 1.
        names = [*(line.id for line in self.lines), *(zone.id for zone in self.zones)]
        names += [self.vehicle.id] if self.vehicle else []
        if len(set(names)) != len(names):
            raise ValueError(f"expected line ids that differ, got {', '.join(names)}")
        if OBJECTIONS in names:
            raise ValueError(f"line {OBJECTIONS}: that name is taken; choose another")
        # 2.
        for one, other in combinations(self.lines, 2):
            if gap(one, other) < NEAREST_LINES:
                raise ValueError(
                    f"lines {one.id} and {other.id} count the same people: expected at least"
                    f" {100 * NEAREST_LINES:.0f} % of the picture between them; move them apart"
                )
        # 3.
        for zone, near in combinations(self.zones, 2):
            if meet(zone.corners, near.corners):
                raise ValueError(
                    f"zones {zone.id} and {near.id} overlap: their difference would speak of"
                    " few people; move them apart"
                )
        # 4.
        doors = [door.line for door in self.vehicle.doors] if self.vehicle else []
        if len(set(doors)) != len(doors) or not {line.id for line in self.lines}.issuperset(doors):
            raise ValueError(
                f"vehicle.doors: expected ids of lines, each once, got {', '.join(doors)}"
            )
        return self

    @model_validator(mode="after")
    def _budget_and_modules(self) -> Self:
        """R8 and the modules' rules.

        1. The profile dp has a budget, and it lasts for a service day.
        2. A module is named once, and only a signed configuration may name one.
        """
        # 1.
        if (self.dp is not None) != (self.profile == "dp"):
            raise ValueError("expected release.dp with the profile dp and with no other")
        if self.dp is not None:
            most = self.windows_a_day * len(self.lines) * self.dp.epsilon_milli
            if most > self.dp.day_budget_milli:
                raise ValueError(
                    f"release.dp: expected day_budget of at least {most / 1000:g} for"
                    f" {self.windows_a_day} windows a day, got {self.dp.day_budget_milli / 1000:g};"
                    " lengthen the windows, shorten the service, or raise it"
                )
        # 2.
        modules = [module.name for module in self.modules]
        if len(set(modules)) != len(modules):
            raise ValueError(f"expected each module once, got {', '.join(modules)}")
        if modules and not self.signed:
            raise ValueError(
                f"modules.{modules[0]}: off until the operator signs this configuration;"
                " sign it with: dizaine-agent sign"
            )
        return self

    @property
    def scopes(self) -> tuple[str, ...]:
        """All that records may speak of, in the order in which they are decided."""
        places = (*self.lines, *self.zones, *((self.vehicle,) if self.vehicle else ()))
        own = (OBJECTIONS,) if self.objection else ()
        return (*(place.id for place in places), *own)

    @property
    def windows_a_day(self) -> int:
        """The most windows that a service day has, but for the day a clock is put back."""
        opens, closes = (
            60 * int(text[:2]) + int(text[3:]) for text in (self.service.opens, self.service.closes)
        )
        return (closes - opens) // self.window_min

    def allows(self, name: ModuleName, start: datetime, end: datetime) -> bool:
        """Return whether a module is on for a whole stretch of time."""
        return any(m.name == name and m.covers(start, end) for m in self.modules)

    def canonical(self) -> bytes:
        """Return the one JSON encoding that the fingerprint is taken of."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    def fingerprint(self) -> str:
        """Return what a record says of the configuration in force: 16 hexadecimal digits."""
        return hashlib.sha256(self.canonical()).hexdigest()[:16]


NEAREST_LINES = 0.02
"""Release rule R8: lines nearer than this share of the picture are one scope."""

Point = tuple[float, float]


def gap(one: Line, other: Line) -> float:
    """Return the least distance of two lines, as a share of the picture; 0 where they cross."""
    a, b, c, d = one.start, one.end, other.start, other.end
    if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
        return 0.0
    return min(_from(a, c, d), _from(b, c, d), _from(c, a, b), _from(d, a, b))


def meet(one: Sequence[Point], other: Sequence[Point]) -> bool:
    """Return whether two polygons share anything."""
    sides = [list(zip(p, (*p[1:], p[0]), strict=True)) for p in (one, other)]
    for a, b in sides[0]:
        for c, d in sides[1]:
            if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
                return True
    return within(one[0], other) or within(other[0], one)


def within(point: Point, corners: Sequence[Point]) -> bool:
    """Return whether a point lies in a polygon (even-odd rule)."""
    x, y = point
    inside = False
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
    return inside


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _from(point: Point, start: Point, end: Point) -> float:
    """Return the distance of a point from a segment."""
    along = (end[0] - start[0], end[1] - start[1])
    length = along[0] ** 2 + along[1] ** 2
    at = ((point[0] - start[0]) * along[0] + (point[1] - start[1]) * along[1]) / length
    at = min(1.0, max(0.0, at))
    return float(
        ((start[0] + at * along[0] - point[0]) ** 2 + (start[1] + at * along[1] - point[1]) ** 2)
        ** 0.5
    )
