"""The promise of 2020, taken at its word: what every attack is measured against.

Tests alone use it.

"Batches of at least 15 minutes, sent once ten people have passed": exact counts and shares, the
smallest and the largest value, a window that stretches until the tenth person, alerts at once.
"""

import json
from dataclasses import dataclass, field

from tests.attacks.crowd import Crowd

K = 10


@dataclass(frozen=True)
class Batch:
    """What the naive rule publishes."""

    count: int
    share: float
    smallest_m: float
    largest: int
    text: str = field(repr=False)


def publish(crowd: Crowd) -> Batch | None:
    """Say a window exactly, or nothing below ten."""
    if crowd.count < K:
        return None
    share = round(100 * crowd.masked / crowd.count, 1)
    smallest = round(min(crowd.distances_m), 2)
    largest = max(crowd.in_view)
    said = {"n": crowd.count, "share": share, "d_min": smallest, "occ_max": largest}
    return Batch(crowd.count, share, smallest, largest, json.dumps(said))
