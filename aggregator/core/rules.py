"""Alert rules: who is told what, when and how. One model for the YAML file and for the page.

This module reads no file, knows no clock and sends nothing.
"""

import hashlib
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from aggregator.core.language import Language
from aggregator.core.measures import LEVELS
from aggregator.core.mistakes import MistakeError
from edge_agent.wire.declaration import ClockTime, TimeZone

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")]
"""1 to 40 of a-z, 0-9 and inner hyphens."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]
Severity = Literal["info", "warning", "critical"]
Channel = Literal["email", "sms"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Subject = Literal[
    "passages", "mask_share", "occupancy", "occupancy_level", "mean_distance_m", "share_under_1m",
    "device_silent", "device_unhealthy",
]  # fmt: skip
OF_DEVICES: frozenset[str] = frozenset({"device_silent", "device_unhealthy"})
"""What is asked of a device, and says nothing of people."""
MOST_BATCHES = 96


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)


class Person(_Part):
    """Somebody who can be told."""

    name: Name
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None = None
    sms: Annotated[str, StringConstraints(pattern=r"^\+[1-9]\d{6,14}$")] | None = None
    language: Language = "fr"

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.email is None and self.sms is None:
            raise MistakeError("person_unreachable", name=self.name)
        return self


class Rota(_Part):
    """People on call in turn."""

    name: Name
    members: Annotated[tuple[Name, ...], Field(min_length=1)]
    starts: date
    changes_at: ClockTime = "08:00"
    every_days: Annotated[int, Field(ge=1, le=92)] = 7

    def on_call(self, at: datetime, zone: ZoneInfo) -> str:
        """Return who is on call at an instant."""
        hours, minutes = (int(part) for part in self.changes_at.split(":"))
        shifted = at.astimezone(zone).replace(tzinfo=None) - timedelta(hours=hours, minutes=minutes)
        turn = (shifted.date() - self.starts).days // self.every_days
        return self.members[turn % len(self.members)]


class Where(_Part):
    """What a rule looks at: all that is named must hold; nothing named is everything."""

    site: Text | None = None
    device: Name | None = None
    scope: Name | None = Field(None, description="A line, a zone or a vehicle, by its id.")
    vehicle_line: Text | None = None
    tag: Name | None = None


class Hours(_Part):
    """When a rule may fire, in the city's time; a span over midnight is given as two rules."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    opens: ClockTime = "00:00"
    closes: ClockTime = "24:00"

    @model_validator(mode="after")
    def _opens_before_it_closes(self) -> Self:
        if self.opens >= self.closes:
            raise MistakeError("hours_turned", opens=self.opens, closes=self.closes)
        return self

    def include(self, at: datetime, zone: ZoneInfo) -> bool:
        """Return whether an instant lies within them."""
        local = at.astimezone(zone)
        clock = local.strftime("%H:%M")
        return DAYS[local.weekday()] in self.days and self.opens <= clock < self.closes


class Escalation(_Part):
    """Who is told when nobody takes an alert."""

    after_min: Annotated[int, Field(ge=1, le=1440)]
    notify: Annotated[tuple[Name, ...], Field(min_length=1)]
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("sms", "email")


Level = Literal["free", "busy", "crowded", "full"]
Value = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | Level


class Rule(_Part):
    """One thing to watch.

    Attributes:
        at_least, at_most: it fires there; one of them.
        clear: it is over once the value is below (`at_least`) or above (`at_most`) this.
        batches: so many published batches in a row must meet it.
        sure: only where the whole interval meets it, and not the best guess alone.
    """

    name: Name
    measure: Subject
    where: Where = Where()
    at_least: Value | None = None
    at_most: Value | None = None
    clear: Value | None = None
    batches: Annotated[int, Field(ge=1, le=MOST_BATCHES, alias="for")] = 1
    sure: bool = False
    cool_down_min: Annotated[int, Field(ge=0, le=10_080)] = 30
    hours: Hours = Hours()
    severity: Severity = "warning"
    notify: Annotated[tuple[Name, ...], Field(min_length=1)]
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = ("email",)
    group_by: Literal["site", "rule", "none"] = "site"
    tell_resolved: bool = True
    remind_min: Annotated[int, Field(ge=15, le=1440)] | None = None
    escalate: Escalation | None = None
    enabled: bool = True

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        """Say in one line what a rule lacks.

        1. Exactly one side is compared, but for `device_unhealthy`, which needs none.
        2. Levels are for `occupancy_level`, numbers for the rest.
        3. The clear level lies on the other side of the threshold.
        """
        # 1.
        given = [v for v in (self.at_least, self.at_most) if v is not None]
        wanted = 0 if self.measure == "device_unhealthy" else 1
        if len(given) != wanted:
            kind = "sides" if wanted else "no_sides"
            raise MistakeError(kind, rule=self.name, measure=self.measure)
        if self.measure == "device_silent" and self.at_least is None:
            raise MistakeError("silent_minutes", rule=self.name)
        if self.measure in OF_DEVICES and (
            self.where.scope is not None or self.batches > 1 or self.clear is not None
        ):
            raise MistakeError("of_a_device", rule=self.name, measure=self.measure)
        # 2.
        for value in (*given, *([self.clear] if self.clear is not None else [])):
            if isinstance(value, str) != (self.measure == "occupancy_level"):
                kind = "number_wanted" if isinstance(value, str) else "level_wanted"
                raise MistakeError(kind, rule=self.name, value=value)
        # 3.
        if self.clear is not None and given:
            value, clear = self.threshold, _number(self.clear)
            if (clear > value) if self.at_least is not None else (clear < value):
                kind = "clear_above" if self.at_least is not None else "clear_below"
                raise MistakeError(kind, rule=self.name, clear=self.clear)
        return self

    @property
    def threshold(self) -> float:
        """The value it fires at; levels by their order."""
        value = self.at_least if self.at_least is not None else self.at_most
        return 0.0 if value is None else _number(value)

    @property
    def clear_at(self) -> float:
        """The value beyond which it is over."""
        return self.threshold if self.clear is None else _number(self.clear)

    def fingerprint(self) -> str:
        """Return a name of what it says; another says something else."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def _number(value: float | str) -> float:
    return float(LEVELS.index(value)) if isinstance(value, str) else value


class Book(_Part):
    """All rules, and everybody they name."""

    timezone: TimeZone = "Europe/Paris"
    people: tuple[Person, ...] = ()
    rotas: tuple[Rota, ...] = ()
    rules: Annotated[tuple[Rule, ...], Field(max_length=500)] = ()

    @model_validator(mode="after")
    def _names_hold_together(self) -> Self:
        """Say in one line which name is wrong.

        1. A name means one thing: people and rotas share theirs, rules have their own.
        2. Whoever is named is there.
        3. Whoever is told by a channel can be reached by it.
        """
        # 1.
        for given in (
            sorted([p.name for p in self.people] + [r.name for r in self.rotas]),
            sorted(rule.name for rule in self.rules),
        ):
            twice = next((a for a, b in pairwise(given) if a == b), None)
            if twice is not None:
                raise MistakeError("named_twice", name=twice)
        # 2.
        people = {person.name: person for person in self.people}
        rotas = {rota.name: rota for rota in self.rotas}
        for rota in self.rotas:
            for name in rota.members:
                if name not in people:
                    raise MistakeError("rota_unknown", rota=rota.name, name=name)
        for rule in self.rules:
            told = [(rule.notify, rule.channels)]
            told += [(rule.escalate.notify, rule.escalate.channels)] if rule.escalate else []
            for names, channels in told:
                for name in names:
                    if name not in people and name not in rotas:
                        raise MistakeError("told_unknown", rule=rule.name, name=name)
                    # 3.
                    for member in rotas[name].members if name in rotas else (name,):
                        person = people[member]
                        if all(getattr(person, channel) is None for channel in channels):
                            raise MistakeError(
                                "told_unreachable", rule=rule.name, name=member,
                                channels=", ".join(channels),
                            )  # fmt: skip
        return self

    def tell(
        self, names: tuple[str, ...], channels: tuple[Channel, ...], at: datetime
    ) -> list[tuple[Person, Channel, str]]:
        """Return who is told how: each person, channel and address once."""
        people = {person.name: person for person in self.people}
        rotas = {rota.name: rota for rota in self.rotas}
        zone = ZoneInfo(self.timezone)
        found: dict[tuple[str, Channel], tuple[Person, Channel, str]] = {}
        for name in names:
            person = people[rotas[name].on_call(at, zone) if name in rotas else name]
            for channel in channels:
                address = person.email if channel == "email" else person.sms
                if address is not None:
                    found[person.name, channel] = (person, channel, address)
        return list(found.values())

    def plain(self) -> dict[str, Any]:
        """Return it as plain lists and tables, without what is as it is anyway."""
        fields: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"timezone": self.timezone, **fields}
