"""Crowds to attack: Poisson flows, as in a bus or at a market's gate."""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Crowd:
    """One window's people.

    Attributes:
        masked, unmasked: passages.
        distances_m: to the nearest other, one a person.
        in_view: how many people were in view, minute by minute.
    """

    masked: int
    unmasked: int
    distances_m: tuple[float, ...]
    in_view: tuple[int, ...]

    @property
    def count(self) -> int:
        return self.masked + self.unmasked


def poisson(mean: float, chance: random.Random) -> int:
    """Return a Poisson number, by inversion; by its normal limit for large means."""
    if mean > 60:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    number, weight, left = 0, math.exp(-mean), chance.random()
    while left > weight:
        left -= weight
        number += 1
        weight *= mean / number
    return number


def crowd(mean: float, masked: float, chance: random.Random) -> Crowd:
    """Return a window with that many passages on average and that share of masks."""
    count = poisson(mean, chance)
    wearing = sum(chance.random() < masked for _ in range(count))
    distances = tuple(abs(chance.gauss(1.6, 0.8)) + 0.2 for _ in range(count))
    in_view = tuple(poisson(mean / 20, chance) for _ in range(15))
    return Crowd(wearing, count - wearing, distances, in_view)
