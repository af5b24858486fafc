"""Capture-to-zeroised times in constant memory. Nothing here knows what a frame showed."""

import math
from dataclasses import dataclass

BUDGET_MS = 100.0
"""No pixel outlives its capture by more."""
_BINS_PER_MS = 4
_BINS = 4096


@dataclass(slots=True)
class Stages:
    """Where the time of frames went: sums in seconds.

    Attributes:
        frames: so many.
        waited_s: from capture until a look began: decoding, and queueing.
        people_s, faces_s: looks at them, whole.
        networks_s: of those two, what the networks alone took: the least that a look can take.
        zeroised_s: zeroing the frame.
    """

    frames: int = 0
    waited_s: float = 0.0
    people_s: float = 0.0
    faces_s: float = 0.0
    networks_s: float = 0.0
    zeroised_s: float = 0.0

    def add(
        self,
        *,
        waited_s: float,
        people_s: float,
        faces_s: float,
        networks_s: float,
        zeroised_s: float,
    ) -> None:
        """Take one frame in."""
        self.frames += 1
        self.waited_s += waited_s
        self.people_s += people_s
        self.faces_s += faces_s
        self.networks_s += networks_s
        self.zeroised_s += zeroised_s


@dataclass(frozen=True, slots=True)
class Health:
    """How well frames were dealt with, since the source was opened.

    Attributes:
        frames: processed.
        late: dropped unprocessed, because they would have passed the budget.
        overruns: processed, and passed it.
        reconnects: how often a lost source was opened again.
        p50_ms, p99_ms, max_ms: capture to zeroised, over all frames.
        stages: where that time went.
    """

    frames: int
    late: int
    overruns: int
    reconnects: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    stages: Stages


class Histogram:
    """Times up to a second in bins of a quarter millisecond; quantiles are upper bounds."""

    def __init__(self) -> None:
        self._bins = [0] * _BINS
        self.count = 0
        self.max_ms = 0.0

    def add(self, time_ms: float) -> None:
        """Take one time in."""
        self._bins[min(int(time_ms * _BINS_PER_MS), _BINS - 1)] += 1
        self.count += 1
        self.max_ms = max(self.max_ms, time_ms)

    def quantile(self, share: float) -> float:
        """Return the time in ms that a share of all times does not pass; NaN without any."""
        if not self.count:
            return math.nan
        left = share * self.count
        for index, count in enumerate(self._bins):
            left -= count
            if left <= 0:
                return min((index + 1) / _BINS_PER_MS, self.max_ms)
        return self.max_ms
