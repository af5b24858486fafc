"""Exact noise for the profile dp: the discrete Laplace distribution, in integers alone.

This module draws no randomness itself: a function that returns an integer below a bound comes in,
in production the operating system's `secrets.randbelow`. No float takes part in drawing, so no
rounding can betray a count (Mironov, 2012).

The sampler is that of Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy"
(NeurIPS 2020), algorithms 1 and 2: P(x) is proportional to exp(-|x| * epsilon).
"""

import math
from collections.abc import Callable
from functools import cache

RandBelow = Callable[[int], int]
DELTA = 1e-5
"""Most probable that a cell of exactly k is said because of its noise alone."""
MILLI = 1000


def _coin_exp_below_one(numerator: int, denominator: int, randbelow: RandBelow) -> bool:
    """Return True with probability exp(-numerator / denominator), that ratio from 0 to 1."""
    k = 1
    while randbelow(denominator * k) < numerator:
        k += 1
    return k % 2 == 1


def _coin_exp(numerator: int, denominator: int, randbelow: RandBelow) -> bool:
    """Return True with probability exp(-numerator / denominator)."""
    while numerator > denominator:
        if not _coin_exp_below_one(1, 1, randbelow):
            return False
        numerator -= denominator
    return _coin_exp_below_one(numerator, denominator, randbelow)


def discrete_laplace(epsilon_milli: int, randbelow: RandBelow) -> int:
    """Draw from the discrete Laplace distribution of scale 1 / epsilon.

    1. A remainder below the scale's denominator, thinned to exp(-u / 1000).
    2. A geometric number of whole ones.
    3. Together in units of the numerator, with a sign; minus nought is drawn again.
    """
    while True:
        # 1.
        remainder = randbelow(MILLI)
        if not _coin_exp(remainder, MILLI, randbelow):
            continue
        # 2.
        whole = 0
        while _coin_exp_below_one(1, 1, randbelow):
            whole += 1
        # 3.
        size = (remainder + MILLI * whole) // epsilon_milli
        negative = randbelow(2) == 1
        if negative and size == 0:
            continue
        return -size if negative else size


@cache
def threshold(epsilon_milli: int, k: int, cells: int) -> int:
    """Return tau: a noisy sum below it is not said.

    It is the smallest number that k plus the noise of all cells reaches with a probability of at
    most `DELTA`. So whether there were k passages or one fewer shows with that probability at most.

    Args:
        epsilon_milli: thousandths of epsilon.
        k: passages without which nothing is said at all.
        cells: independent noises in the sum.
    """
    decay = math.exp(-epsilon_milli / MILLI)
    reach = math.ceil(60 * MILLI / epsilon_milli) + 5
    one = [(1 - decay) / (1 + decay) * decay ** abs(x) for x in range(-reach, reach + 1)]
    total = one
    for _ in range(cells - 1):
        total = _convolved(total, one)
    tail = 0.0
    at = len(total) - 1
    while tail + total[at] <= DELTA:
        tail += total[at]
        at -= 1
    return k + at + 1 - len(total) // 2


def _convolved(a: list[float], b: list[float]) -> list[float]:
    out = [0.0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return out
