"""What a released record says of one measure, as the interval that it leaves open.

This module knows no rule and no page. A published number is rounded or coded (release rules R3 to
R7), so that it stands for an interval; what is not said has none, and is never zero (R10).
"""

from dataclasses import dataclass
from typing import Literal

from aggregator.core.day import Stored
from edge_agent.wire.messages import MASK_BAND, MEAN_STEP_CM, ROUND_TO

Measure = Literal[
    "passages", "mask_share", "occupancy", "occupancy_level", "mean_distance_m", "share_under_1m"
]
"""Passages a window, percent, people, level, metres, percent."""

LEVELS = ("free", "busy", "crowded", "full")
CLASSES = {"under_10": (0, 10), "under_25": (10, 25), "under_50": (25, 50), "from_50": (50, 100)}
"""Percent, of the classes of release rule R7."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From the least to the most that a true value can be, given what was published."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The best single guess."""
        return (self.low + self.high) / 2


def read(record: Stored, measure: Measure) -> Interval | None:  # noqa: PLR0911 - one a measure
    """Return what a record says of a measure; None where it says nothing of it."""
    if record.status != "ok":
        return None
    match measure:
        case "passages":
            if record.forward is record.backward is record.total is None:
                return None
            half = ROUND_TO / 2 * (1 if record.total is not None else 2)
            n = record.covers
            return Interval((record.passages - half) / n, (record.passages + half) / n)
        case "mask_share":
            return masks(record)
        case "occupancy":
            mean = record.occupancy_mean
            return None if mean is None else Interval(max(0, mean - ROUND_TO / 2), mean + 2.5)
        case "occupancy_level":
            if record.occupancy_level is None:
                return None
            level = LEVELS.index(record.occupancy_level)
            return Interval(level, level)
        case "mean_distance_m":
            cm, half_cm = record.mean_cm, MEAN_STEP_CM / 2
            return None if cm is None else Interval((cm - half_cm) / 100, (cm + half_cm) / 100)
        case "share_under_1m":
            return None if record.under_1m is None else Interval(*CLASSES[record.under_1m])


def masks(record: Stored) -> Interval | None:
    """Return the share of masks among judged passages, percent."""
    percent = record.masks_percent
    if percent is None:
        return None
    match record.masks_bound:
        case "at_least":
            return Interval(percent, 100)
        case "at_most":
            return Interval(0, percent)
        case _:
            return Interval(percent, percent + MASK_BAND)
