"""What a technician drew: whether it can count, and what it would measure. Pure."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

from pydantic import ValidationError

from edge_agent.core.ground import GroundError, square
from edge_agent.wire.declaration import Line, Zone

Point = tuple[float, float]
Trouble = Literal["warn_none", "warn_short", "warn_edge", "warn_cross", "warn_floor"]
SHORTEST = 0.1
EDGE = 0.06
"""Nearer to the edge of the picture, people are gone before they are followed."""


def read(drawn: dict[str, Any]) -> tuple[tuple[Line, ...], tuple[Zone, ...], tuple[Point, ...]]:
    """Return lines, zones and floor points of what a page sent.

    Raises:
        ValueError: it is not what a page of ours sends.
    """
    try:
        lines = tuple(
            Line.model_validate({"id": f"line-{n}", **_ends(one)}, strict=False)
            for n, one in enumerate(drawn["lines"][:8], 1)
        )
        zones = tuple(
            Zone.model_validate(
                {"id": f"zone-{n}", "corners": tuple(map(_point, one)), "capacity": 20},
                strict=False,
            )
            for n, one in enumerate(drawn["zones"][:4], 1)
        )
        floor = tuple(_point(one) for one in drawn["floor"][:4])
    except (KeyError, TypeError, IndexError, ValidationError) as error:
        raise ValueError(str(error)) from None
    return lines, zones, floor


def _ends(one: Sequence[Any]) -> dict[str, Point]:
    return {"start": _point(one[0]), "end": _point(one[1])}


def _point(one: Sequence[Any]) -> Point:
    x, y = (min(1.0, max(0.0, float(value))) for value in one)
    return x, y


def warnings(drawn: dict[str, Any]) -> list[Trouble]:
    """Return why what was drawn cannot count, if it cannot."""
    found: list[Trouble] = []
    segments = [(_point(one[0]), _point(one[1])) for one in drawn["lines"]]
    if not segments:
        found.append("warn_none")
    if any(max(abs(a[0] - b[0]), abs(a[1] - b[1])) < SHORTEST for a, b in segments):
        found.append("warn_short")
    if any(_at_edge(a, b) for a, b in segments):
        found.append("warn_edge")
    if any(_cross(one, other) for one, other in combinations(segments, 2)):
        found.append("warn_cross")
    floor = [_point(one) for one in drawn["floor"]]
    if floor:
        try:
            square(tuple(floor), 1.0)
        except (GroundError, ValueError, IndexError):
            found.append("warn_floor")
    return found


def _at_edge(a: Point, b: Point) -> bool:
    """Return whether a line runs along an edge of the picture."""
    return any(
        (a[axis] < EDGE and b[axis] < EDGE) or (a[axis] > 1 - EDGE and b[axis] > 1 - EDGE)
        for axis in (0, 1)
    )


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return (
        side(*one, other[0]) * side(*one, other[1]) < 0
        and side(*other, one[0]) * side(*other, one[1]) < 0
    )
