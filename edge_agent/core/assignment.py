"""Who goes with whom at the least total cost. Small problems, plain Python, no arrays.

The shortest augmenting path method for the linear assignment problem (Jonker and Volgenant, 1987),
which is optimal; a street scene has a few dozen rows at most.
"""

from collections.abc import Sequence

FORBIDDEN = 1e6
"""A cost that no pairing may have."""


def assign(costs: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of costs is least.

    Args:
        costs: one row per left element, all of the same length; `FORBIDDEN` or more never pairs.

    Returns:
        (row, column) pairs, by row; rows and columns left over do not appear.
    """
    if not costs or not costs[0]:
        return []
    if len(costs) > len(costs[0]):
        flipped = [list(column) for column in zip(*costs, strict=True)]
        return sorted((row, column) for column, row in assign(flipped))
    owner = _augment(costs)
    pairs = ((row, column) for column, row in enumerate(owner) if row >= 0)
    return sorted((row, column) for row, column in pairs if costs[row][column] < FORBIDDEN)


def _augment(costs: Sequence[Sequence[float]]) -> list[int]:
    """Return the row of each column, -1 for none; there are at least as many columns as rows."""
    rows, columns = len(costs), len(costs[0])
    row_price = [0.0] * rows
    column_price = [0.0] * columns
    owner = [-1] * columns
    for root in range(rows):
        distance = [float("inf")] * columns
        before = [-1] * columns
        done = [False] * columns
        row, last = root, -1
        reach = 0.0
        while True:
            best, chosen = float("inf"), -1
            prices = costs[row]
            for column in range(columns):
                if done[column]:
                    continue
                offer = reach + prices[column] - row_price[row] - column_price[column]
                if offer < distance[column]:
                    distance[column], before[column] = offer, last
                if distance[column] < best:
                    best, chosen = distance[column], column
            done[chosen] = True
            reach, last = best, chosen
            if owner[chosen] < 0:
                break
            row = owner[chosen]
        row_price[root] += reach
        for column in range(columns):
            if done[column] and column != last:
                row_price[owner[column]] += reach - distance[column]
                column_price[column] -= reach - distance[column]
        while last >= 0:
            previous = before[last]
            owner[last] = owner[previous] if previous >= 0 else root
            last = previous
    return owner
