"""What a window holds of people: sums, nothing else. Nobody can be taken out of one again.

This module does not decide what may be said of them: `release` does.
"""

from dataclasses import dataclass, replace
from typing import Self

LONGEST_STAY_S = 300.0
"""R6: of each window, a person's stay counts for this long at most."""
FARTHEST_CM = 500.0
"""R7: a distance counts as this at most; so does having nobody near."""


@dataclass(frozen=True, slots=True)
class LineTally:
    """Passages over a line.

    Attributes:
        forward, backward: by direction.
        masked, unmasked: of all of them, those that were judged.
    """

    forward: int = 0
    backward: int = 0
    masked: int = 0
    unmasked: int = 0

    @property
    def total(self) -> int:
        """Passages in both directions."""
        return self.forward + self.backward

    @property
    def unjudged(self) -> int:
        """Passages of which nobody can say whether a mask was worn."""
        return self.total - self.masked - self.unmasked

    def __add__(self, other: Self) -> "LineTally":
        return LineTally(
            self.forward + other.forward,
            self.backward + other.backward,
            self.masked + other.masked,
            self.unmasked + other.unmasked,
        )


@dataclass(frozen=True, slots=True)
class ZoneTally:
    """Stays in a zone, and how near people were to each other.

    Attributes:
        contributors: people who stayed, each once, however long.
        stayed_s: sum of their stays, each capped at `LONGEST_STAY_S` a window.
        longest_s: no single person's is longer; of several windows an upper bound.
        people: those with a distance to the nearest other, one median each.
        within_1m, within_2m: those of them whose distance is under that.
        apart_cm: sum of the distances, each capped at `FARTHEST_CM`.
    """

    contributors: int = 0
    stayed_s: float = 0.0
    longest_s: float = 0.0
    people: int = 0
    within_1m: int = 0
    within_2m: int = 0
    apart_cm: float = 0.0

    def __add__(self, other: Self) -> "ZoneTally":
        """Return the sums of different people in one window."""
        return ZoneTally(
            self.contributors + other.contributors,
            self.stayed_s + other.stayed_s,
            max(self.longest_s, other.longest_s),
            self.people + other.people,
            self.within_1m + other.within_1m,
            self.within_2m + other.within_2m,
            self.apart_cm + other.apart_cm,
        )

    def then(self, later: Self) -> "ZoneTally":
        """Return the sums of this window and a later one: somebody may have been in both."""
        return replace(self + later, longest_s=self.longest_s + later.longest_s)
