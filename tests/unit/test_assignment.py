"""The assignment is the cheapest there is."""

from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.assignment import FORBIDDEN, assign

COSTS = st.one_of(st.floats(0, 1), st.just(FORBIDDEN))
TABLES = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda size: st.lists(
        st.lists(COSTS, min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0]
    )
)


def cheapest(costs: list[list[float]]) -> float:
    rows, columns = len(costs), len(costs[0])
    pairs = min(rows, columns)
    return min(
        sum(costs[r][c] for r, c in zip(some, order, strict=True))
        for some in combinations(range(rows), pairs)
        for order in permutations(range(columns), pairs)
    )


@given(TABLES)
def test_no_other_pairing_costs_less(costs: list[list[float]]) -> None:
    pairs = assign(costs)
    unpaired = min(len(costs), len(costs[0])) - len(pairs)
    cost = sum(costs[r][c] for r, c in pairs) + unpaired * FORBIDDEN
    assert abs(cost - cheapest(costs)) < 1e-3


@given(TABLES)
def test_nobody_is_paired_twice_or_with_what_is_forbidden(costs: list[list[float]]) -> None:
    pairs = assign(costs)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(costs[r][c] < FORBIDDEN for r, c in pairs)


def test_nothing_to_pair_gives_no_pairs() -> None:
    assert assign([]) == assign([[]]) == []
