"""Days, weeks and hours as shapes: what templates draw as SVG.

Nothing here knows HTML or a database.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aggregator.core.day import Block, Stored

WIDTH, HEIGHT = 960, 220
LEFT, TOP, BOTTOM = 58, 12, 26
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


def nice(value: float) -> int:
    """Return a round number not below a value."""
    for step in (10, 20, 25, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000):
        if value <= step:
            return step
    return int(-(-value // 1000) * 1000)


def _frame(
    blocks: Sequence[Block], titles: Sequence[str], bounds_s: tuple[int, int], zero: float
) -> tuple[Callable[[float], float], list[Shape], list[tuple[Stored, str, float, float]]]:
    """Return where an instant lies, the shapes of what was not said, and the batches' places."""
    start_s, end_s = bounds_s

    def x(at_s: float) -> float:
        return LEFT + _PLOT_WIDTH * (at_s - start_s) / (end_s - start_s)

    shapes: list[Shape] = []
    batches: list[tuple[Stored, str, float, float]] = []
    for block, title in zip(blocks, titles, strict=True):
        left, right = x(max(block.start_s, start_s)), x(min(block.end_s, end_s))
        width = max(right - left - 0.8, 0.8)
        if block.look == "ok" and block.record is not None:
            batches.append((block.record, title, left, width))
        elif block.look != "missing":
            shapes.append(Shape(left, zero - 9, width, 18, block.look, title))
    return x, shapes, batches


def draw(
    blocks: Sequence[Block],
    titles: Sequence[str],
    hours: Sequence[tuple[int, str]],
    bounds_s: tuple[int, int],
) -> Chart:
    """Lay a line's day out: forward above, backward below.

    Args:
        blocks: the day, without gaps.
        titles: what each block is called.
        hours: instants to mark on the axis, with their texts.
        bounds_s: first and last instant of the day.
    """
    up, down = 1.0, 0.0
    for block in blocks:
        if block.record:
            record, n = block.record, block.record.covers
            up = max(up, (record.forward or record.total or 0) / n)
            down = max(down, (record.backward or 0) / n)
    up, down = nice(up), nice(down) if down else 0
    unit = _PLOT_HEIGHT / (up + down)
    zero = TOP + up * unit
    x, shapes, batches = _frame(blocks, titles, bounds_s, zero)
    for record, title, left, width in batches:
        n = record.covers
        if record.total is not None:
            tall = record.total / n * unit
            shapes.append(Shape(left, zero - tall, width, tall, "both", title))
        else:
            tall, deep = (record.forward or 0) / n * unit, (record.backward or 0) / n * unit
            shapes.append(Shape(left, zero - tall, width, tall, "forward", title))
            shapes.append(Shape(left, zero, width, deep, "backward", title))
    shapes.sort(key=lambda shape: shape.x)
    levels = [Tick(zero - up * unit, str(up)), Tick(zero, "0")]
    if down:
        levels.append(Tick(zero + down * unit, str(down)))
    return Chart(tuple(shapes), tuple(Tick(x(at), text) for at, text in hours), tuple(levels), zero)


def draw_people(
    blocks: Sequence[Block],
    titles: Sequence[str],
    hours: Sequence[tuple[int, str]],
    bounds_s: tuple[int, int],
) -> Chart:
    """Lay a zone's or a vehicle's day out: people on average, coloured by how full it was."""
    up = nice(max([1.0, *(b.record.occupancy_mean or 0.0 for b in blocks if b.record)]))
    unit = _PLOT_HEIGHT / up
    zero = TOP + _PLOT_HEIGHT
    x, shapes, batches = _frame(blocks, titles, bounds_s, zero - 9)
    for record, title, left, width in batches:
        # A batch that tells distances alone has a mark of its own, and no height.
        tall = max(4.0, (record.occupancy_mean or 0) * unit)
        shapes.append(
            Shape(left, zero - tall, width, tall, record.occupancy_level or "both", title)
        )
    shapes.sort(key=lambda shape: shape.x)
    levels = (Tick(TOP, str(up)), Tick(zero, "0"))
    return Chart(tuple(shapes), tuple(Tick(x(at), text) for at, text in hours), levels, zero)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what is known, what it may be at most, what it is called; None: nothing said."""

    name: str
    value: float | None
    most: float | None
    look: str
    title: str


def draw_bars(bars: Sequence[Bar], every: int = 1) -> Chart:
    """Lay bars out side by side; above each, as an outline, what it may be at most.

    Args:
        bars: from left to right.
        every: how many bars there are to one name on the axis.
    """
    up = nice(max([1.0, *(max(b.value or 0, b.most or 0) for b in bars)]))
    unit, zero = _PLOT_HEIGHT / up, float(TOP + _PLOT_HEIGHT)
    wide = _PLOT_WIDTH / max(1, len(bars))
    shapes, names = [], []
    for index, bar in enumerate(bars):
        left = LEFT + index * wide + wide * 0.1
        if index % every == 0:
            names.append(Tick(left, bar.name))
        if bar.value is None:
            continue
        if bar.most is not None and bar.most > bar.value:
            tall = bar.most * unit
            shapes.append(Shape(left, zero - tall, wide * 0.8, tall, "most", bar.title))
        tall = bar.value * unit
        shapes.append(Shape(left, zero - tall, wide * 0.8, tall, bar.look, bar.title))
    levels = (Tick(TOP, f"{up:g}"), Tick(zero, "0"))
    return Chart(tuple(shapes), tuple(names), levels, zero)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a heat map; `step` from 1 to 5, or 0 for nothing said."""

    x: float
    y: float
    width: float
    height: float
    step: int
    title: str


def draw_heat(values: Sequence[float | None], titles: Sequence[str]) -> tuple[Cell, ...]:
    """Lay 168 hours of a week out, a row a day; five steps up to the largest value."""
    most = max((v for v in values if v is not None), default=0.0) or 1.0
    wide, tall = _PLOT_WIDTH / 24, _PLOT_HEIGHT / 7
    return tuple(
        Cell(
            LEFT + index % 24 * wide, TOP + index // 24 * tall, wide - 1.5, tall - 1.5,
            0 if value is None else min(5, 1 + int(5 * value / most)), title,
        )
        for index, (value, title) in enumerate(zip(values, titles, strict=True))
    )  # fmt: skip
