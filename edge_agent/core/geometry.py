"""Boxes and lines in isotropic coordinates. This module knows no track, time or picture.

Observations are normalised to 0..1 on both axes, which squeezes a wide picture. Here lengths must
mean the same in every direction, so x is stretched by the picture's aspect::

    x: 0 … aspect        one unit is the picture's height, on both axes
    y: 0 … 1
"""

import math
from dataclasses import dataclass

from edge_agent.core.observation import Box

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Segment:
    """A directed line segment; `side` tells which side of it a point is on.

    Forward is along ``(-dy, dx)`` of the direction ``(dx, dy)``: to the right hand of somebody who
    walks from start to end, y growing downwards::

          end
           │
     -     │     +   side; forward goes from - to +
           │
         start
    """

    start: Point
    end: Point

    @property
    def length(self) -> float:
        """Length in picture heights."""
        return math.dist(self.start, self.end)

    def side(self, point: Point) -> float:
        """Return the signed distance of a point from the infinite line, positive forward."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        px, py = point[0] - self.start[0], point[1] - self.start[1]
        return (dx * py - dy * px) / math.hypot(dx, dy)

    def along(self, point: Point) -> float:
        """Return the point's projection on the line: 0 at the start, 1 at the end."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        px, py = point[0] - self.start[0], point[1] - self.start[1]
        return (px * dx + py * dy) / (dx * dx + dy * dy)


def stretch(point: Point, aspect: float) -> Point:
    """Return a normalised point in isotropic coordinates."""
    return point[0] * aspect, point[1]


def overlap(a: Box, b: Box) -> tuple[float, float]:
    """Return (intersection over union, intersection over the smaller box) of two boxes."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0, 0.0
    shared = width * height
    area_a, area_b = a.width * a.height, b.width * b.height
    return shared / (area_a + area_b - shared), shared / min(area_a, area_b)


def crossing_point(a: Point, b: Point, side_a: float, side_b: float) -> Point:
    """Return where the way from a to b meets the line whose signed distances are given."""
    share = side_a / (side_a - side_b)
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
