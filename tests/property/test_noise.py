"""The noise of the profile dp: the right distribution, drawn in integers, and its threshold."""

import math
import random
import secrets
from collections import Counter

import pytest

from edge_agent.core.noise import DELTA, discrete_laplace, threshold


@pytest.mark.parametrize("epsilon_milli", [250, 500, 1000, 2000])
def test_the_noise_has_the_distribution_that_the_proof_needs(epsilon_milli: int) -> None:
    draws = 40_000
    randbelow = random.Random(epsilon_milli).randrange
    seen = Counter(discrete_laplace(epsilon_milli, randbelow) for _ in range(draws))
    decay = math.exp(-epsilon_milli / 1000)
    chi = degrees = 0.0
    for value in range(-20, 21):
        expected = draws * (1 - decay) / (1 + decay) * decay ** abs(value)
        if expected >= 10:
            chi += (seen[value] - expected) ** 2 / expected
            degrees += 1
    # Five standard deviations above the mean of chi squared.
    assert chi < degrees + 5 * math.sqrt(2 * degrees)


def test_the_system_s_generator_will_do() -> None:
    assert {discrete_laplace(1000, secrets.randbelow) for _ in range(200)} > {-1, 0, 1}


@pytest.mark.parametrize(("epsilon_milli", "tau"), [(1000, 25), (500, 38), (250, 63)])
def test_tau_is_what_was_computed_independently(epsilon_milli: int, tau: int) -> None:
    assert threshold(epsilon_milli, 11, 2) == tau


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_k_passages_reach_tau_as_rarely_as_promised(cells: int) -> None:
    decay = math.exp(-1)
    tau = threshold(1000, 10, cells)
    one = {x: (1 - decay) / (1 + decay) * decay ** abs(x) for x in range(-80, 81)}
    total = {0: 1.0}
    for _ in range(cells):
        wider: dict[int, float] = {}
        for a, p in total.items():
            for b, q in one.items():
                wider[a + b] = wider.get(a + b, 0.0) + p * q
        total = wider
    assert sum(p for x, p in total.items() if 10 + x >= tau) <= DELTA
    assert sum(p for x, p in total.items() if 10 + x >= tau - 1) > DELTA
