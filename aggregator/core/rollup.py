"""Sums of published cells, kept as records arrive (R10): a day of a scope, and a month's hours.

This module knows no database. A day's sum says exactly what `day.total` says of the same records,
in whatever order they come: a record that follows the newest one is added in; any other has the
day added up again from its records.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import add
from typing import NamedTuple
from zoneinfo import ZoneInfo

from aggregator.core.day import Stored
from aggregator.core.measures import Measure, read
from edge_agent.wire.messages import K_FLOOR, MAX_CARRIED_WINDOWS


class Sums(NamedTuple):
    """What can simply be added up; a tuple, since a server adds thousands a second.

    Attributes:
        said: passages published.
        batches: how many batches that speak of passages were published.
        minutes: that those batches cover.
        low, defect, closed: records of that status.
        covered: of the `low`, those that a later batch has taken in.
        masks_low … near_n: sums of the lower and upper ends of what was said, and how often.
    """

    said: int = 0
    forward: int = 0
    backward: int = 0
    directed: int = 0
    batches: int = 0
    minutes: int = 0
    low: int = 0
    covered: int = 0
    defect: int = 0
    closed: int = 0
    masks_low: int = 0
    masks_high: int = 0
    masks_n: int = 0
    people: int = 0
    people_n: int = 0
    distance_cm: int = 0
    distance_n: int = 0
    near_low: int = 0
    near_high: int = 0
    near_n: int = 0

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums._make(map(add, self, other))

    @property
    def withheld(self) -> int:
        """Windows that were withheld and never said."""
        return self.low - self.covered


NAMES = Sums._fields
NOTHING = Sums()


def sums_of(record: Stored) -> Sums:
    """Return what one record adds to the hour and day of its last window."""
    if record.status != "ok":
        return Sums(**{record.status: 1})
    found = {}
    if read(record, "passages") is not None:
        minutes = record.covers * record.window_min
        found = {"batches": 1, "minutes": minutes, "said": record.passages}
    if record.forward is not None and record.backward is not None:
        found |= {"forward": record.forward, "backward": record.backward, "directed": 1}
    for measure, low, high, n in (
        ("mask_share", "masks_low", "masks_high", "masks_n"),
        ("share_under_1m", "near_low", "near_high", "near_n"),
    ):
        value = read(record, _named(measure))
        if value is not None:
            found |= {low: int(value.low), high: int(value.high), n: 1}
    if record.occupancy_mean is not None:
        found |= {"people": record.occupancy_mean, "people_n": 1}
    if record.mean_cm is not None:
        found |= {"distance_cm": record.mean_cm, "distance_n": 1}
    return Sums(**found)


def _named(name: str) -> Measure:
    return name  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Day:
    """A scope's local day.

    Attributes:
        sums: of its records.
        runs: stretches of withheld windows; each can hide at most k - 1 passages.
        run: withheld windows in a row up to now.
        newest_s: start of the newest window, or -1.
    """

    sums: Sums = NOTHING
    runs: int = 0
    run: int = 0
    newest_s: int = -1

    @property
    def most(self) -> int:
        """What was said, and the most that was withheld."""
        return self.sums.said + self.runs * (K_FLOOR - 1)

    def then(self, record: Stored) -> "Day | None":
        """Return the day with one more record; None where that is not the next one."""
        length_s = 60 * record.window_min
        follows = self.newest_s < 0 or record.window_s == self.newest_s + length_s
        if self.newest_s < 0 and record.covers > 1:
            follows = False
        if not follows:
            return None
        sums = self.sums + sums_of(record)
        runs, run = self.runs, 0
        if record.status == "low":
            runs += self.run % MAX_CARRIED_WINDOWS == 0
            run = self.run + 1
        elif record.status == "ok":
            taken = record.covers - 1
            if taken > self.run:
                return None
            sums = sums._replace(covered=sums.covered + taken)
            # What is left of the run; it has fewer stretches, by those that were taken in whole.
            runs -= _stretches(self.run) - _stretches(self.run - taken)
        return Day(sums, runs, run, record.window_s)


def _stretches(windows: int) -> int:
    return -(-windows // MAX_CARRIED_WINDOWS)


def day_of(records: Sequence[Stored]) -> Day:
    """Return a day's sum from all its records, by window.

    A low window that a batch covers is taken in by it wherever it stands.
    """
    sums = Sums()
    by_window = {record.window_s: record for record in records}
    taken: set[int] = set()
    for record in records:
        sums += sums_of(record)
        if record.status == "ok":
            length_s = 60 * record.window_min
            lows = [
                at
                for at in range(record.begin_s, record.window_s, length_s)
                if at in by_window and by_window[at].status == "low" and at not in taken
            ]
            taken.update(lows)
    runs = run = 0
    expected_s = None
    for at_s in sorted(by_window):
        record = by_window[at_s]
        if record.status == "low" and at_s not in taken:
            run = run if at_s == expected_s else 0
            runs += run % MAX_CARRIED_WINDOWS == 0
            run += 1
        else:
            run = 0
        expected_s = at_s + 60 * record.window_min
    newest_s = max(by_window, default=-1)
    return Day(sums._replace(covered=len(taken)), runs, run, newest_s)


@dataclass(frozen=True, slots=True)
class Clock:
    """Where an instant falls in the city's calendar."""

    zone: ZoneInfo

    def day(self, at_s: int) -> int:
        """Return its local day, as a proleptic ordinal."""
        return datetime.fromtimestamp(at_s, UTC).astimezone(self.zone).toordinal()

    def cell(self, at_s: int) -> tuple[int, int]:
        """Return its month as YYYYMM, and its hour of the week, 0 to 167, Monday first."""
        local = datetime.fromtimestamp(at_s, UTC).astimezone(self.zone)
        return 100 * local.year + local.month, 24 * local.weekday() + local.hour

    def bounds(self, day: int) -> tuple[int, int]:
        """Return the first instant of a local day and of the next, seconds since 1970 UTC."""
        start = datetime.fromordinal(day)
        return tuple(  # type: ignore[return-value]
            int((start + timedelta(days=n)).replace(tzinfo=self.zone).timestamp()) for n in (0, 1)
        )


def hours_of(records: Iterable[Stored], clock: Clock) -> dict[tuple[int, int], Sums]:
    """Return what records add to the hours of their months; a low window that is taken in, too."""
    found: dict[tuple[int, int], Sums] = {}
    for record in records:
        cell = clock.cell(record.window_s)
        found[cell] = found.get(cell, Sums()) + sums_of(record)
        for at_s in range(record.begin_s, record.window_s, 60 * record.window_min):
            cell = clock.cell(at_s)
            found[cell] = found.get(cell, Sums()) + Sums(covered=1)
    return found
