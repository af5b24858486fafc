"""Cuts event time into windows and says how well each was observed.

This module does not decide what may be said, and reads no clock: time arrives with observations.
Windows are half open, aligned to UTC, and close when the watermark has passed their end. What a
window holds of people is sums (`tally`), but for those who are still in view: their passages stay
apart until they leave or the window closes, so that somebody who objects can be taken out (R12).
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edge_agent.core.counting import Passage
from edge_agent.core.observation import Observation
from edge_agent.core.tally import LineTally, ZoneTally

LONGEST_GAP_S = 1.0
"""Two looks further apart than this leave the time between them unobserved (R14)."""


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """One window that will not change any more.

    Attributes:
        start_s: first instant, seconds since 1970 UTC.
        length_s: length.
        observed_s: how much of it was looked at.
        late: frames dropped because they would have outlived their time, or could not be read.
        looks: observations that fell into it, seen or not.
        lines: of each line with a passage, by id.
        zones: of each zone with a stay, by id; people on board, where they are known.
        objections: people who shook their head; they are in no other number (R12).
    """

    start_s: int
    length_s: int
    observed_s: float
    late: int
    looks: int
    lines: Mapping[str, LineTally] = field(default_factory=dict)
    zones: Mapping[str, ZoneTally] = field(default_factory=dict)
    objections: int = 0

    @property
    def start(self) -> datetime:
        """First instant, UTC."""
        return datetime.fromtimestamp(self.start_s, UTC)


@dataclass(slots=True)
class _Open:
    start_s: int
    observed_s: float = 0.0
    late: int = 0
    looks: int = 0
    lines: dict[str, LineTally] = field(default_factory=dict)
    in_view: dict[int, list[Passage]] = field(default_factory=dict)
    objections: int = 0


class Windows:
    """The window that is open now, and the cut to the next. `observe` once for each observation."""

    def __init__(
        self,
        window_min: int,
        sums: Callable[[], Mapping[str, ZoneTally]] = dict,
        masked: Callable[[int], bool | None] = lambda _track: None,
    ) -> None:
        """Begin without a window.

        Args:
            window_min: length.
            sums: takes the zones' sums as a window closes.
            masked: says whether a live track's person wears a mask, as far as is known by now.
        """
        self._sums = sums
        self._masked = masked
        self._length_s = 60 * window_min
        self._open: _Open | None = None
        self._last_look_s: float | None = None
        self.dropped = 0
        """Passages that came for a window already closed."""

    def observe(
        self,
        observation: Observation,
        passages: Iterable[Passage],
        in_view: Collection[int] = (),
    ) -> tuple[ClosedWindow, ...]:
        """Take an observation and its passages in; return the windows that it closes.

        1. A step back in time observes nothing: the open window goes on until time catches up.
        2. Windows whose end has been reached are closed, those nobody looked at in between too.
        3. The time since the last look counts as observed, in the window it fell into.
        4. Passages of people who are not in view any more become sums.

        Args:
            observation: what was seen.
            passages: that it confirms.
            in_view: ids of the live tracks.
        """
        at_s = observation.at_s
        # 1.
        if self._open is not None and at_s < (self._last_look_s or self._open.start_s):
            self.dropped += sum(1 for _ in passages)
            return ()
        # 2.
        closed = self._close_until(at_s)
        current = self._open
        if current is None:
            current = self._open = _Open(self._start_of(at_s))
        # 3.
        if observation.seen:
            if self._last_look_s is not None and at_s - self._last_look_s <= LONGEST_GAP_S:
                current.observed_s += at_s - max(self._last_look_s, current.start_s)
            self._last_look_s = at_s
        else:
            current.late += 1
        current.looks += 1
        for passage in passages:
            current.in_view.setdefault(passage.track, []).append(passage)
        # 4.
        self._settle(current, in_view)
        return closed

    def withdraw(self, track: int | None) -> None:
        """Take a person who objects out of the open window (R12); None: nobody who was followed.

        Passages that come later are for whoever asks to leave out.
        """
        if self._open is not None:
            self._open.objections += 1
            if track is not None:
                self._open.in_view.pop(track, None)

    def _settle(self, window: _Open, in_view: Collection[int]) -> None:
        """Take over what is known of those in view by now; add up those who are not any more."""
        for track, passages in list(window.in_view.items()):
            if track in in_view:
                known = self._masked(track)
                passages[:] = [replace(passage, masked=known) for passage in passages]
            else:
                del window.in_view[track]
                for passage in passages:
                    one = LineTally(
                        forward=int(passage.forward),
                        backward=int(not passage.forward),
                        masked=int(passage.masked is True),
                        unmasked=int(passage.masked is False),
                    )
                    window.lines[passage.line] = window.lines.get(passage.line, LineTally()) + one

    def _start_of(self, at_s: float) -> int:
        return math.floor(at_s / self._length_s) * self._length_s

    def _close_until(self, at_s: float) -> tuple[ClosedWindow, ...]:
        closed = []
        while self._open is not None and at_s >= self._open.start_s + self._length_s:
            done = self._open
            self._settle(done, ())
            end_s = done.start_s + self._length_s
            last_s = self._last_look_s
            if last_s is not None and at_s - last_s <= LONGEST_GAP_S and last_s < end_s:
                done.observed_s += end_s - max(last_s, done.start_s)
            closed.append(
                ClosedWindow(
                    start_s=done.start_s,
                    length_s=self._length_s,
                    observed_s=done.observed_s,
                    late=done.late,
                    looks=done.looks,
                    lines=dict(done.lines),
                    zones=self._sums(),
                    objections=done.objections,
                )
            )
            self._open = _Open(end_s)
        return tuple(closed)
