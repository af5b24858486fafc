"""Capture-to-zeroised times in constant memory. Nothing here knows what a frame showed."""

import math
from dataclasses import dataclass

BUDGET_MS = 100.0
"""No pixel outlives its capture by more."""
_BINS_PER_MS = 4
_BINS = 4096


@dataclass(frozen=True, slots=True)
class Health:
    """How well frames were dealt with, since the source was opened.

    Attributes:
        frames: processed.
        late: dropped unprocessed, because they would have passed the budget.
        overruns: processed, and passed it.
        reconnects: how often a lost source was opened again.
        p50_ms, p99_ms, max_ms: capture to zeroised, over all frames.
        outside_network: share of the processing time not spent in the network, 0..1.
    """

    frames: int
    late: int
    overruns: int
    reconnects: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    outside_network: float


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
