"""Decides what may be said of a closed window. The only place that makes a record.

This module does not count, seal, send or keep anything on disk, and reads no clock. It holds, for
each line, the sums of the windows since the last `ok` record, in memory alone; a restart loses
them, and what is lost is never said. Rule numbers are those of the release rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from edge_agent.core.windows import ClosedWindow
from edge_agent.wire.messages import (
    K_FLOOR,
    MAX_CARRIED_WINDOWS,
    ROUND_TO,
    Directed,
    Record,
    Status,
    Total,
    WindowMinutes,
)

UNOBSERVED_LIMIT_S = 5.0
"""R14: a window may miss this much and still have been observed whole."""
LATE_LIMIT = 0.05
"""R1: with a larger share of frames dropped the measurement cannot be trusted."""


@dataclass(frozen=True, slots=True)
class ServiceHours:
    """When the device is declared to count, in local time; `closes` 24:00 is midnight."""

    opens: str
    closes: str
    timezone: str

    def includes(self, start: datetime, end: datetime) -> bool:
        """Return whether a whole window lies within the hours of its local day."""
        zone = ZoneInfo(self.timezone)
        local = start.astimezone(zone)
        midnight = datetime.combine(local.date(), time(), zone)
        opens, closes = (self._instant(midnight, text) for text in (self.opens, self.closes))
        return opens <= start and end <= closes

    def day_of(self, start: datetime) -> int:
        """Return the number of the local day that an instant belongs to."""
        return start.astimezone(ZoneInfo(self.timezone)).toordinal()

    @staticmethod
    def _instant(midnight: datetime, text: str) -> datetime:
        """Return a local time of day as an instant; wall-clock arithmetic, so DST days hold."""
        hours, minutes = (int(part) for part in text.split(":"))
        return (midnight + timedelta(hours=hours, minutes=minutes)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class ReleaseSettings:
    """Who speaks, and what the operator may decide about it."""

    device: str
    config: str
    window_min: WindowMinutes
    k: int
    service: ServiceHours


@dataclass(slots=True)
class _Carried:
    """Whole windows held back since the last `ok` record of a scope (R2)."""

    windows: int = 0
    forward: int = 0
    backward: int = 0


def rounded(count: int) -> int:
    """Return a count rounded to the nearest multiple of 5, halves up, never below 10 (R3)."""
    return max(K_FLOOR, ROUND_TO * ((2 * count + ROUND_TO) // (2 * ROUND_TO)))


def say(forward: int, backward: int, k: int) -> Directed | Total | None:
    """Return what may be said of two directions, or None where nothing may be.

    1. R2: fewer than k passages are not said.
    2. R4: both directions only where each has at least k.
    3. R4: otherwise the total alone.
    """
    k = max(k, K_FLOOR)
    # 1.
    if forward + backward < k:
        return None
    # 2.
    if forward >= k and backward >= k:
        return Directed(forward=rounded(forward), backward=rounded(backward))
    # 3.
    return Total(total=rounded(forward + backward))


class Release:
    """Decides, window after window, for all scopes of one device."""

    def __init__(self, settings: ReleaseSettings, scopes: Sequence[str]) -> None:
        self._settings = settings
        self._held = {scope: _Carried() for scope in scopes}
        self._day: int | None = None

    def decide(self, window: ClosedWindow) -> tuple[Record, ...]:
        """Return one record per scope for a closed window (R1).

        1. R2: what is held ends with the service day.
        2. R1: outside service hours the window is closed; nothing is held over it.
        3. R14: a window not observed whole, or with too many late frames, is a defect, and so
           would be any batch with it: what is held is destroyed.
        4. R2, R4: otherwise held sums and this window's are said together, or held on.
        """
        settings = self._settings
        start = window.start
        end = start + timedelta(seconds=window.length_s)
        # 1.
        day = settings.service.day_of(start)
        if day != self._day:
            self._forget()
        self._day = day
        # 2.
        if not settings.service.includes(start, end):
            self._forget()
            return tuple(self._record(window, scope, "closed") for scope in self._held)
        # 3.
        whole = window.observed_s >= window.length_s - UNOBSERVED_LIMIT_S
        if not whole or window.late > LATE_LIMIT * window.looks:
            self._forget()
            return tuple(self._record(window, scope, "defect") for scope in self._held)
        # 4.
        return tuple(self._decide_scope(window, scope) for scope in self._held)

    def discard(self) -> None:
        """Destroy what is held: the device could not burn the window's number (R9)."""
        self._forget()

    def _forget(self) -> None:
        self._held = {scope: _Carried() for scope in self._held}

    def _decide_scope(self, window: ClosedWindow, scope: str) -> Record:
        held = self._held[scope]
        held.windows += 1
        held.forward += window.passages.get((scope, True), 0)
        held.backward += window.passages.get((scope, False), 0)
        passages = say(held.forward, held.backward, self._settings.k)
        if passages is not None:
            self._held[scope] = _Carried()
            return self._record(window, scope, "ok", covers=held.windows, passages=passages)
        if held.windows == MAX_CARRIED_WINDOWS:
            self._held[scope] = _Carried()
        return self._record(window, scope, "low")

    def _record(
        self,
        window: ClosedWindow,
        scope: str,
        status: Status,
        covers: int = 1,
        passages: Directed | Total | None = None,
    ) -> Record:
        return Record(
            device=self._settings.device,
            scope=scope,
            window=window.start,
            window_min=self._settings.window_min,
            status=status,
            covers=covers,
            passages=passages,
            config=self._settings.config,
        )
