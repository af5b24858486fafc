"""From the picture to the floor, in metres: a homography, and how far it can be trusted.

This module knows no camera and no person. A calibration is four or more points of the floor, each
where it is in the picture and on the floor, or the corners of a square of known side. What cannot
be trusted is refused with a reason.

Source: the normalised direct linear transformation (Hartley and Zisserman, Multiple View Geometry,
2nd edition, algorithm 4.2), in plain Python: eight unknowns need no library.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Row = tuple[float, float, float]
Matrix = tuple[Row, Row, Row]

CLICK_ERROR = 0.004
"""Standard error of a point that somebody marked, as a share of the picture."""
LARGEST_ERROR_M = 0.5
"""With a larger expected error distances of a metre or two mean nothing."""
FLATTEST = 0.02
"""Three points must span a triangle of at least this share of what they spread over."""


class GroundError(ValueError):
    """The calibration cannot be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of the floor: in the picture, as fractions, and on the floor, in metres."""

    picture: Point
    floor_m: Point


@dataclass(frozen=True, slots=True)
class Ground:
    """A homography from normalised picture coordinates to metres on the floor.

    Attributes:
        matrix: row by row.
        expected_error_m: standard error of a place on the floor, near the marks.
    """

    matrix: Matrix
    expected_error_m: float = 0.0

    def place(self, point: Point) -> Point | None:
        """Return where a point of the picture lies on the floor; None for one above the horizon."""
        x, y = point
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in self.matrix)
        if w <= 1e-9:
            return None
        return u / w, v / w


def fit(marks: Sequence[Mark]) -> Ground:
    """Return the ground that marks define.

    1. Four marks at least, no three of the first four in a line, spread over an area.
    2. Solve; every mark lies on the same side of the horizon.
    3. The expected error: what each mark does to the others when it is off by a click.

    Raises:
        GroundError: the marks define none, or one too uncertain to measure with.
    """
    # 1.
    if len(marks) < 4:
        raise GroundError(f"expected four marks of the floor or more, got {len(marks)}; add marks")
    for name, points in (
        ("in the picture", [mark.picture for mark in marks]),
        ("on the floor", [mark.floor_m for mark in marks]),
    ):
        if not _spread(points):
            raise GroundError(
                f"the marks lie in a line {name}, or three of four do; expected four corners of an"
                " area: move one away from the line"
            )
    # 2.
    ground = _solve(marks)
    # 3.
    error_m = _expected_error(marks, ground)
    if error_m > LARGEST_ERROR_M:
        raise GroundError(
            f"expected an error of at most {LARGEST_ERROR_M:g} m, got {error_m:.2f} m; spread the"
            " marks wider, nearer to the camera, or measure them again"
        )
    return Ground(ground.matrix, error_m)


def square(corners: Sequence[Point], side_m: float) -> Ground:
    """Return the ground that a square on the floor defines, its corners taken one after the other.

    Raises:
        GroundError: as `fit`.
    """
    if len(corners) != 4:
        raise GroundError(f"expected the four corners of the square, got {len(corners)}")
    floor = ((0.0, 0.0), (side_m, 0.0), (side_m, side_m), (0.0, side_m))
    return fit([Mark(corner, place) for corner, place in zip(corners, floor, strict=True)])


def _spread(points: Sequence[Point]) -> bool:
    """Return whether four of the points have no three in a line."""
    size = max(math.dist(a, b) for a, b in itertools.combinations(points, 2))
    if size <= 0:
        return False
    return any(
        all(
            abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) > FLATTEST * size**2
            for a, b, c in itertools.combinations(four, 3)
        )
        for four in itertools.combinations(points, 4)
    )


def _solve(marks: Sequence[Mark]) -> Ground:
    """Return the homography that fits the marks best.

    Raises:
        GroundError: they contradict each other, or the horizon runs between them.
    """
    into, _ = _normaliser([mark.picture for mark in marks])
    onto, back = _normaliser([mark.floor_m for mark in marks])
    rows: list[list[float]] = []
    for mark in marks:
        x, y = _apply(into, mark.picture)
        u, v = _apply(onto, mark.floor_m)
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, v])
    h = _least_squares(rows)
    inner: Matrix = ((h[0], h[1], h[2]), (h[3], h[4], h[5]), (h[6], h[7], 1.0))
    matrix = _multiply(back, _multiply(inner, into))
    depths = [_depth(matrix, mark.picture) for mark in marks]
    if min(depths) * max(depths) <= 0:
        raise GroundError(
            "the horizon runs between the marks: their order or their metres are wrong;"
            " go round the area once, and check which mark is which"
        )
    if depths[0] < 0:
        matrix = tuple(tuple(-value for value in row) for row in matrix)  # type: ignore[assignment]
    return Ground(matrix)


def _depth(matrix: Matrix, point: Point) -> float:
    return matrix[2][0] * point[0] + matrix[2][1] * point[1] + matrix[2][2]


def _expected_error(marks: Sequence[Mark], ground: Ground) -> float:
    """Return the standard error of a place at the marks, in metres."""
    moved = 0.0
    for index, mark in enumerate(marks):
        for dx, dy in ((CLICK_ERROR, 0.0), (0.0, CLICK_ERROR)):
            shifted = Mark((mark.picture[0] + dx, mark.picture[1] + dy), mark.floor_m)
            other = _solve([*marks[:index], shifted, *marks[index + 1 :]])
            moved += _mean_square(marks, ground, other)
    residual = sum(
        math.dist(ground.place(mark.picture) or (math.inf, 0.0), mark.floor_m) ** 2
        for mark in marks
    ) / max(1, len(marks) - 4)
    return math.sqrt(moved + (residual if len(marks) > 4 else 0.0))


def _mean_square(marks: Sequence[Mark], one: Ground, other: Ground) -> float:
    total = 0.0
    for mark in marks:
        a, b = one.place(mark.picture), other.place(mark.picture)
        if a is None or b is None:
            return math.inf
        total += math.dist(a, b) ** 2
    return total / len(marks)


def _normaliser(points: Sequence[Point]) -> tuple[Matrix, Matrix]:
    """Return the similarity that centres points at unit distance, and its inverse."""
    x = sum(p[0] for p in points) / len(points)
    y = sum(p[1] for p in points) / len(points)
    scale = sum(math.dist(p, (x, y)) for p in points) / len(points) / math.sqrt(2)
    return (
        ((1 / scale, 0.0, -x / scale), (0.0, 1 / scale, -y / scale), (0.0, 0.0, 1.0)),
        ((scale, 0.0, x), (0.0, scale, y), (0.0, 0.0, 1.0)),
    )


def _apply(matrix: Matrix, point: Point) -> Point:
    x, y = point
    return (
        matrix[0][0] * x + matrix[0][1] * y + matrix[0][2],
        matrix[1][0] * x + matrix[1][1] * y + matrix[1][2],
    )


def _multiply(a: Matrix, b: Matrix) -> Matrix:
    return tuple(  # type: ignore[return-value]
        tuple(sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)) for i in range(3)
    )


def _least_squares(rows: Sequence[Sequence[float]]) -> list[float]:
    """Solve rows of eight coefficients and a right side, by the normal equations.

    Raises:
        GroundError: they do not have one solution.
    """
    size = 8
    normal = [[sum(r[i] * r[j] for r in rows) for j in range(size + 1)] for i in range(size)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(normal[k][i]))
        if abs(normal[pivot][i]) < 1e-10:
            raise GroundError("the marks do not define one floor; move them apart, or add marks")
        normal[i], normal[pivot] = normal[pivot], normal[i]
        for k in range(size):
            if k != i:
                factor = normal[k][i] / normal[i][i]
                normal[k] = [a - factor * b for a, b in zip(normal[k], normal[i], strict=True)]
    return [normal[i][size] / normal[i][i] for i in range(size)]
