"""The floating-point networks say what the 8-bit ones say: in drawn pictures, and in real ones."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent import config
from edge_agent.core.geometry import overlap
from edge_agent.pixels import runtime, weights
from edge_agent.pixels.networks import Networks
from models.data import frames
from tests.contract.test_runtimes import picture

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="no onnxruntime")
MODELS: list[tuple[str, type[weights.Model]]] = [
    ("person-ssdlite-coco", weights.PersonModel),
    ("person-ssdlite-pedestrian", weights.PersonModel),
    ("face-centerface", weights.FaceModel),
    ("mask-centerface", weights.MaskModel),
]


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take ONNX Runtime's CPU for the accelerator that is not here."""
    monkeypatch.setattr(runtime, "probe", lambda _: runtime.Probe(works=True, what="a test's CPU"))


def both(name: str, kind: type[weights.Model]) -> tuple[runtime.Network, runtime.Network]:
    model = weights.load(name, kind)
    return runtime.load(model, "litert", 1), runtime.load(model, "onnx", 1)


@pytest.mark.parametrize(("name", "kind"), MODELS)
def test_inputs_and_outputs_are_alike(name: str, kind: type[weights.Model]) -> None:
    eight_bit, floating = both(name, kind)
    assert eight_bit.input_shape == floating.input_shape
    assert sorted(eight_bit.output_shapes) == sorted(floating.output_shapes)


@pytest.mark.parametrize(("name", "kind"), MODELS)
def test_outputs_for_a_drawn_person_are_near_each_other(
    name: str, kind: type[weights.Model]
) -> None:
    eight_bit, floating = both(name, kind)
    height, width = eight_bit.input_shape[1:3]
    given: Any = cv2.resize(picture()[0], (width, height))[None]
    found: list[dict[tuple[int, ...], Any]] = []
    for network in (eight_bit, floating):
        network.run(given)
        told: dict[tuple[int, ...], Any] = {}
        for index, shape in enumerate(network.output_shapes):
            told.setdefault(shape, []).append(network.output(index))
        # Two outputs of one shape come in the order of their means.
        found.append({s: sorted(v, key=lambda x: float(x.mean())) for s, v in told.items()})
    for shape, values in found[0].items():
        for mine, theirs in zip(values, found[1][shape], strict=True):
            span = float(theirs.max() - theirs.min())
            assert float(np.abs(mine - theirs).mean()) <= 0.15 * span, (name, shape)


def people(name: runtime.Name, pictures: list[Any]) -> list[list[Any]]:
    detector = Networks(config.Detector(runtime=name, threads=1)).people(np.zeros)
    return [[d for d in detector.detect(p) if d.score >= 0.5] for p in pictures]


@pytest.mark.data
def test_the_same_people_are_found_in_real_pictures(data: Path) -> None:
    pictures = [
        frame
        for index, frame in enumerate(frames(data / "pets09_s2l1" / "vtest.avi"))
        if index % 40 == 0
    ]
    eight_bit, floating = people("litert", pictures), people("onnx", pictures)
    found = sum(len(mine) for mine in eight_bit)
    same = sum(
        any(overlap(one.box, other.box)[0] >= 0.7 for other in theirs)
        for mine, theirs in zip(eight_bit, floating, strict=True)
        for one in mine
    )
    assert found >= 60
    assert same >= 0.9 * found


@pytest.mark.data
def test_the_same_faces_and_masks_are_seen_in_real_pictures(data: Path) -> None:
    folder = data / "face_boxes" / "public_eval"
    pictures: list[Any] = [cv2.imread(str(path)) for path in sorted(folder.iterdir())[:40]]
    seen = []
    for name in ("litert", "onnx"):
        settings = config.Detector.model_validate({"runtime": name, "threads": 1})
        watcher = Networks(settings).faces(np.zeros, masks=True)
        seen.append([[f for f in watcher.watch(p) if f.score >= 0.4] for p in pictures])
    pairs = [
        (one, next((o for o in theirs if overlap(one.box, o.box)[0] >= 0.6), None))
        for mine, theirs in zip(*seen, strict=True)
        for one in mine
    ]
    assert len(pairs) >= 60
    assert sum(other is not None for _, other in pairs) >= 0.93 * len(pairs)
    judged = [(a, b) for a, b in pairs if b and "unknown" not in (a.mask, b.mask)]
    assert sum(a.mask == b.mask for a, b in judged) >= 0.95 * len(judged)
