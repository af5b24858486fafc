"""Metres from marks on the floor: right where they can be, refused where they cannot."""

import contextlib
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.ground import Ground, GroundError, Mark, fit, square

TRUE = Ground(((4.0, 0.5, -1.0), (0.3, 6.0, -2.0), (0.05, 0.6, 1.0)))
"""A camera that looks down a hall: what is higher in the picture is farther away."""
CORNERS = [(0.2, 0.4), (0.8, 0.45), (0.9, 0.9), (0.1, 0.95)]


def mark(picture: tuple[float, float]) -> Mark:
    place = TRUE.place(picture)
    assert place is not None
    return Mark(picture, place)


@given(st.floats(0.1, 0.9), st.floats(0.4, 0.95))
def test_four_exact_marks_give_every_place(x: float, y: float) -> None:
    ground = fit([mark(corner) for corner in CORNERS])
    got, true = ground.place((x, y)), TRUE.place((x, y))
    assert got is not None
    assert true is not None
    assert math.dist(got, true) < 1e-6


def test_more_marks_average_clicks_out_and_the_error_is_honest() -> None:
    chance = random.Random(1)
    grid = [(x / 10, y / 10) for x in range(1, 10, 2) for y in range(4, 10)]
    errors, told = [], []
    for _ in range(30):
        clicked = [
            Mark((m.picture[0] + chance.gauss(0, 0.004), m.picture[1] + chance.gauss(0, 0.004)),
                 m.floor_m)
            for m in map(mark, CORNERS)
        ]  # fmt: skip
        ground = fit(clicked)
        told.append(ground.expected_error_m)
        off = [math.dist(ground.place(m.picture) or (9, 9), m.floor_m) for m in map(mark, grid)]
        errors.append(math.sqrt(sum(e * e for e in off) / len(off)))
    typical = sum(errors) / len(errors)
    assert 0.4 * typical < sum(told) / len(told) < 2.5 * typical


def test_a_square_is_a_square() -> None:
    ground = square([(0.3, 0.5), (0.6, 0.5), (0.7, 0.8), (0.2, 0.8)], 2.0)
    corners = [ground.place(c) for c in [(0.3, 0.5), (0.6, 0.5), (0.7, 0.8), (0.2, 0.8)]]
    assert [tuple(round(v, 6) + 0.0 for v in c or ()) for c in corners] == [
        (0, 0), (2, 0), (2, 2), (0, 2),
    ]  # fmt: skip


def test_above_the_horizon_there_is_no_floor() -> None:
    ground = square([(0.4, 0.5), (0.6, 0.5), (0.9, 0.9), (0.1, 0.9)], 2.0)
    assert ground.place((0.5, 0.05)) is None
    assert ground.place((0.5, 0.7)) is not None


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([mark(c) for c in CORNERS[:3]], "four marks of the floor or more, got 3"),
        ([mark((x, 0.5)) for x in (0.1, 0.3, 0.5, 0.9)], "in a line in the picture"),
        ([Mark(c, (i, 2.0 * i)) for i, c in enumerate(CORNERS)], "in a line on the floor"),
        ([Mark(c, (1.0, 1.0)) for c in CORNERS], "in a line on the floor"),
        (
            [Mark((0.5 + 0.01 * a, 0.5 + 0.01 * b), (5.0 * a, 5.0 * b))
             for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))],
            "expected an error of at most 0.5 m",
        ),
        (
            [Mark(c, f) for c, f in zip(CORNERS, [(0, 0), (1, 1), (1, 0), (0, 1)], strict=True)],
            "horizon",
        ),
    ],
)  # fmt: skip
def test_a_calibration_that_cannot_be_trusted_is_refused_with_a_reason(
    marks: list[Mark], said: str
) -> None:
    with pytest.raises(GroundError, match=said) as refused:
        fit(marks)
    assert "\n" not in str(refused.value)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(-50, 50)] * 2), max_size=7))
@settings(max_examples=200)
def test_whatever_is_marked_gives_a_ground_that_can_be_trusted_or_none(
    marks: list[tuple[float, float, float, float]],
) -> None:
    with contextlib.suppress(GroundError):
        assert fit([Mark((x, y), (u, v)) for x, y, u, v in marks]).expected_error_m <= 0.5
