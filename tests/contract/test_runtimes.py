"""LiteRT and tflite-runtime behind one interface: the same people in the same picture."""

from importlib.util import find_spec
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from edge_agent.pixels import runtime, weights

INSTALLED: list[Any] = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"no {package}"))
    for name, package in (("litert", "ai_edge_litert"), ("tflite", "tflite_runtime"))
]
SUMS = {"boxes": 1370825, "scores": 588205}
"""Sums of the quantised outputs for the picture below, taken once from LiteRT."""


def picture() -> Any:
    """A person-like figure, drawn: nobody's likeness, the same on every machine."""
    canvas = np.full((1, 300, 300, 3), 180, np.uint8)
    cv2.rectangle(canvas[0], (130, 90), (170, 200), (60, 40, 30), -1)
    cv2.circle(canvas[0], (150, 70), 18, (140, 160, 200), -1)
    cv2.rectangle(canvas[0], (133, 200), (147, 270), (30, 30, 30), -1)
    cv2.rectangle(canvas[0], (153, 200), (167, 270), (30, 30, 30), -1)
    return canvas


def network(name: Literal["litert", "tflite"]) -> runtime.Network:
    _, content = weights.load("person-ssdlite-coco")
    return runtime.load(content, name, threads=1)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_runtime_gives_the_outputs_of_the_contract(name: Literal["litert", "tflite"]) -> None:
    loaded = network(name)
    loaded.run(picture())
    boxes = next(i for i, shape in enumerate(loaded.output_shapes) if shape[-1] == 4)
    assert loaded.input_shape == (1, 300, 300, 3)
    got = {
        "boxes": int(loaded.output(boxes).astype(np.int64).sum()),
        "scores": int(loaded.output(1 - boxes).astype(np.int64).sum()),
    }
    for part, expected in SUMS.items():
        assert abs(got[part] - expected) <= 0.005 * expected, got


@pytest.mark.parametrize("name", INSTALLED)
def test_scrubbing_makes_the_outputs_those_of_darkness(name: Literal["litert", "tflite"]) -> None:
    loaded = network(name)
    loaded.run(np.zeros((1, 300, 300, 3), np.uint8))
    dark = loaded.output(0)
    loaded.run(picture())
    assert not np.array_equal(loaded.output(0), dark)
    loaded.scrub()
    assert np.array_equal(loaded.output(0), dark)


@pytest.mark.parametrize("name", INSTALLED)
def test_bytes_that_are_no_network_are_refused(name: Literal["litert", "tflite"]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        runtime.load(b"not a network", name, threads=1)
