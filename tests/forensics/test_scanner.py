"""The scanner finds every piece wherever it lies, also across what is read at once."""

import random
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.forensics.scanner import LENGTH, Fingerprints, pieces


def naive(own: dict[bytes, str], data: bytes) -> Counter[bytes]:
    """Look at every place for every piece."""
    places = range(len(data) - LENGTH + 1)
    return Counter(p for p in (data[at : at + LENGTH] for at in places) if p in own)


@given(st.integers(0, 2**32), st.integers(2, 256), st.lists(st.integers(0, 300), max_size=8))
def test_it_finds_what_looking_everywhere_finds(seed: int, values: int, cuts: list[int]) -> None:
    noise = random.Random(seed)
    frame = bytes(noise.randrange(values) for _ in range(200))
    own = dict.fromkeys((frame[at : at + LENGTH] for at in range(0, 160, 20)), "frame")
    data = b"".join(
        noise.choice([bytes(noise.randrange(40)), frame[noise.randrange(200) :], frame])
        for _ in range(4)
    )
    edges = [0, *sorted(cuts), len(data)]
    blocks = [data[a:b] for a, b in pairwise(edges)]
    assert Counter(Fingerprints(own).hits(blocks)) == naive(own, data)


def test_what_is_not_rich_enough_is_no_piece() -> None:
    assert pieces(bytes(4096), "picture") == {}
