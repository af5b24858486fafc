"""LiteRT and tflite-runtime behind one interface: the same people in the same picture."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from edge_agent.pixels import runtime, weights

INSTALLED: list[Any] = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"no {package}"))
    for name, package in (("litert", "ai_edge_litert"), ("tflite", "tflite_runtime"))
]
MODEL = "person-ssdlite-coco"
SUMS = {"boxes": 9178.9, "scores": 24362.7}
"""Sums of the absolute outputs for the picture below, taken once from LiteRT."""


def picture() -> Any:
    """A person-like figure, drawn: nobody's likeness, the same on every machine."""
    canvas = np.full((1, 300, 300, 3), 180, np.uint8)
    cv2.rectangle(canvas[0], (130, 90), (170, 200), (60, 40, 30), -1)
    cv2.circle(canvas[0], (150, 70), 18, (140, 160, 200), -1)
    cv2.rectangle(canvas[0], (133, 200), (147, 270), (30, 30, 30), -1)
    cv2.rectangle(canvas[0], (153, 200), (167, 270), (30, 30, 30), -1)
    return canvas


def network(name: Literal["litert", "tflite"]) -> runtime.Network:
    return runtime.load(weights.load(MODEL, weights.PersonModel), name, threads=1)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_runtime_gives_the_outputs_of_the_contract(name: Literal["litert", "tflite"]) -> None:
    loaded = network(name)
    loaded.run(picture())
    boxes = next(i for i, shape in enumerate(loaded.output_shapes) if shape[-1] == 4)
    assert loaded.input_shape == (1, 300, 300, 3)
    got = {
        "boxes": float(np.abs(loaded.output(boxes)).sum()),
        "scores": float(np.abs(loaded.output(1 - boxes)).sum()),
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
def test_bytes_that_are_no_network_are_refused(
    name: Literal["litert", "tflite"], tmp_path: Path
) -> None:
    content = b"not a network"
    (tmp_path / "model.tflite").write_bytes(content)
    manifest = weights.load(MODEL, weights.PersonModel).manifest.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest()}
    )
    with pytest.raises(ValueError, match=r".+"):
        runtime.load(weights.Weights(manifest, tmp_path), name, threads=1)
