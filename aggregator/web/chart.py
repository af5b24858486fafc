"""A line's day as shapes: what the template draws as SVG. Nothing here knows HTML or a database."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.core.day import Block

WIDTH, HEIGHT = 960, 220
LEFT, TOP, BOTTOM = 44, 12, 26
_PLOT_WIDTH = WIDTH - LEFT - 8
_PLOT_HEIGHT = HEIGHT - TOP - BOTTOM


@dataclass(frozen=True, slots=True)
class Shape:
    """One rectangle: where it is, what it shows, and what it is called."""

    x: float
    y: float
    width: float
    height: float
    look: str
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn. `zero` is the height of the line between the directions."""

    shapes: tuple[Shape, ...]
    hours: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    zero: float


def _nice(value: float) -> int:
    """Return a round number not below a value."""
    for step in (10, 20, 25, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000):
        if value <= step:
            return step
    return int(-(-value // 1000) * 1000)


def draw(
    blocks: Sequence[Block],
    titles: Sequence[str],
    hours: Sequence[tuple[int, str]],
    bounds_s: tuple[int, int],
) -> Chart:
    """Lay a day out.

    Args:
        blocks: the day, without gaps.
        titles: what each block is called.
        hours: instants to mark on the axis, with their texts.
        bounds_s: first and last instant of the day.
    """
    start_s, end_s = bounds_s
    up, down = 1.0, 0.0
    for block in blocks:
        if block.record:
            record, n = block.record, block.record.covers
            up = max(up, (record.forward or record.total or 0) / n)
            down = max(down, (record.backward or 0) / n)
    up, down = _nice(up), _nice(down) if down else 0
    unit = _PLOT_HEIGHT / (up + down)
    zero = TOP + up * unit

    def x(at_s: float) -> float:
        return LEFT + _PLOT_WIDTH * (at_s - start_s) / (end_s - start_s)

    shapes: list[Shape] = []
    for block, title in zip(blocks, titles, strict=True):
        left, right = x(max(block.start_s, start_s)), x(min(block.end_s, end_s))
        width = max(right - left - 0.8, 0.8)
        if block.look != "ok" or block.record is None:
            if block.look != "missing":
                shapes.append(Shape(left, zero - 9, width, 18, block.look, title))
            continue
        record, n = block.record, block.record.covers
        if record.total is not None:
            tall = record.total / n * unit
            shapes.append(Shape(left, zero - tall, width, tall, "both", title))
        else:
            tall, deep = (record.forward or 0) / n * unit, (record.backward or 0) / n * unit
            shapes.append(Shape(left, zero - tall, width, tall, "forward", title))
            shapes.append(Shape(left, zero, width, deep, "backward", title))
    levels = [Tick(zero - up * unit, str(up)), Tick(zero, "0")]
    if down:
        levels.append(Tick(zero + down * unit, str(down)))
    return Chart(tuple(shapes), tuple(Tick(x(at), text) for at, text in hours), tuple(levels), zero)
