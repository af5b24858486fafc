"""One line's day, from released records alone (release rule R10).

This module knows no database and no page. A `low` window is never a number: it enters a sum as the
interval from 0 to k - 1, once for each run of windows that was carried and never said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.wire.messages import K_FLOOR, MAX_CARRIED_WINDOWS, Status

Look = Literal["ok", "low", "closed", "defect", "missing"]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store keeps of one record.

    Attributes:
        window_s: start of the window, seconds since 1970 UTC.
        window_min: its length.
        covers: windows that an `ok` record speaks of, this one the last.
        forward, backward: by direction, or None where only `total` was said.
        total: both directions together, or None.
        masks_bound, masks_percent, masks_unjudged: of `wire.messages.Masks`, or None.
        occupancy_mean, occupancy_level: of `wire.messages.Occupancy`, or None.
        under_1m, under_2m, mean_cm: of `wire.messages.Distance`, or None.
        development: the device's surroundings were not safe, and it says so.
    """

    window_s: int
    window_min: int
    status: Status
    covers: int
    forward: int | None
    backward: int | None
    total: int | None
    masks_bound: str | None = None
    masks_percent: int | None = None
    masks_unjudged: int | None = None
    occupancy_mean: int | None = None
    occupancy_level: str | None = None
    under_1m: str | None = None
    under_2m: str | None = None
    mean_cm: int | None = None
    development: bool = False

    @property
    def begin_s(self) -> int:
        """First instant that it speaks of."""
        return self.window_s - (self.covers - 1) * 60 * self.window_min

    @property
    def end_s(self) -> int:
        """First instant after those that it speaks of."""
        return self.window_s + 60 * self.window_min

    @property
    def passages(self) -> int:
        """All passages said."""
        if self.total is not None:
            return self.total
        return (self.forward or 0) + (self.backward or 0)


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the day that looks alike: one batch, one withheld window, or nothing.

    Attributes:
        start_s, end_s: half open, seconds since 1970 UTC.
        look: what it is.
        record: the batch, where there is one.
    """

    start_s: int
    end_s: int
    look: Look
    record: Stored | None = None


def blocks(records: Sequence[Stored], start_s: int, end_s: int) -> list[Block]:
    """Return a stretch of time as blocks without gaps.

    Args:
        records: of one scope, by window.
        start_s: first instant to be covered.
        end_s: first instant after.
    """
    spoken: dict[int, Block] = {}
    for record in records:
        own = Block(record.window_s, record.end_s, record.status, record)
        if record.status == "ok":
            for at_s in [at for at in spoken if record.begin_s <= at < record.window_s]:
                del spoken[at_s]
            own = Block(record.begin_s, own.end_s, "ok", record)
        spoken[own.start_s] = own
    found: list[Block] = []
    at_s = start_s
    for block in sorted(spoken.values(), key=lambda b: b.start_s):
        if block.end_s <= start_s or block.start_s >= end_s:
            continue
        if block.start_s > at_s:
            found.append(Block(at_s, block.start_s, "missing"))
        found.append(block)
        at_s = max(at_s, block.end_s)
    if at_s < end_s:
        found.append(Block(at_s, end_s, "missing"))
    return found


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of released numbers, and how much was withheld.

    Attributes:
        said: sum of what was published.
        most: `said` and the most that the withheld runs can hold.
        batches: how many batches were published.
        withheld: windows that were withheld and never said.
        unknown: windows with a defect or without a record.
    """

    said: int
    most: int
    batches: int
    withheld: int
    unknown: int


def total(day: Iterable[Block], window_min: int) -> Sum:
    """Return a day's sum.

    A run of withheld windows in a row holds at most k - 1 passages, since it was carried; after 16
    windows what was carried is destroyed and another run begins.
    """
    said = batches = withheld = unknown = runs = in_run = 0
    for block in day:
        if block.look == "ok" and block.record:
            said += block.record.passages
            batches += 1
        if block.look == "low":
            withheld += 1
            runs += in_run % MAX_CARRIED_WINDOWS == 0
            in_run += 1
        else:
            in_run = 0
        if block.look in ("defect", "missing"):
            unknown += (block.end_s - block.start_s) // (60 * window_min)
    return Sum(said, said + runs * (K_FLOOR - 1), batches, withheld, unknown)
