"""Arena, lease, latency, boxes: the small parts behind the pixel wall."""

import os

import numpy as np
import pytest

from edge_agent import config
from edge_agent.pixels import weights
from edge_agent.pixels.detector import PersonDetector, decode, ssd_anchors
from edge_agent.pixels.frames import Arena, LeaseError, Ring
from edge_agent.pixels.latency import Histogram
from edge_agent.pixels.looker import suppress
from edge_agent.pixels.networks import Networks
from edge_agent.pixels.runtime import RuntimeMissingError


def test_arena_arrays_are_aligned_apart_and_zeroised() -> None:
    arena = Arena(10_000)
    one, other = arena.array((3, 5), np.uint8), arena.array((7,), np.float32)
    one.fill(7)
    other.fill(1.5)
    assert one.ctypes.data % 64 == other.ctypes.data % 64 == 0
    assert not np.shares_memory(one, other)
    assert not arena.is_zero()
    arena.zeroise()
    assert arena.is_zero()
    assert not one.any()


def test_an_arena_does_not_grow() -> None:
    with pytest.raises(MemoryError, match="at most"):
        Arena(4096).array((5000,), np.uint8)


@pytest.fixture
def ring() -> Ring:
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 2 * 4 * 6 * 3)
    return Ring(descriptor, 2, 4, 6)


def test_leaving_a_lease_zeroises_its_frame_even_after_an_error(ring: Ring) -> None:
    ring.slot(1).fill(200)
    with pytest.raises(ZeroDivisionError), ring.lease(1):
        _ = 1 // int(ring.slot(0).max())
    assert ring.is_zero()


def test_a_lease_is_used_once(ring: Ring) -> None:
    lease = ring.lease(0)
    with lease:
        pass
    with pytest.raises(LeaseError):
        lease.release()
    with pytest.raises(LeaseError):
        lease.__enter__()


def test_quantiles_are_upper_bounds_within_a_bin() -> None:
    histogram = Histogram()
    for time_ms in range(1, 101):
        histogram.add(time_ms)
    assert 50 <= histogram.quantile(0.5) <= 50.25
    assert 99 <= histogram.quantile(0.99) <= 99.25
    assert histogram.max_ms == 100


SPEC = weights.Anchors(grids=(19, 10, 5, 3, 2, 1), smallest=0.2, largest=0.95, first_layer=0.1)


def test_ssd_anchors_are_those_of_the_published_detector() -> None:
    anchors = ssd_anchors(SPEC)
    assert anchors.shape == (1917, 4)
    corners = np.concatenate(
        [anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], 1
    )
    assert np.allclose(corners[0], [-0.02368421, -0.02368421, 0.07631579, 0.07631579], atol=1e-4)
    assert np.allclose(corners[1], [-0.04439489, -0.11510557, 0.09702647, 0.16773716], atol=1e-4)
    assert np.allclose(corners[-1], [0.01266029, 0.01266029, 0.98733974, 0.98733974], atol=1e-4)


def test_a_box_without_offsets_is_its_anchor() -> None:
    anchors = np.array([[0.5, 0.4, 0.2, 0.1]], np.float32)
    box = decode(np.zeros((1, 4), np.float32), anchors)
    assert np.allclose(box, [[0.35, 0.4, 0.45, 0.6]])


def test_of_two_boxes_on_one_person_the_surer_stays() -> None:
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [30, 0, 40, 20]], np.float32)
    kept = suppress(boxes, np.array([0.6, 0.9, 0.5], np.float32), 0.5)
    assert kept.tolist() == [1, 2]


def make(**changes: object) -> PersonDetector:
    settings = config.Detector.model_validate({"threads": 1, **changes})
    return Networks(settings).people(np.zeros)


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (576, 768), (1080, 608), (64, 4000)])
@pytest.mark.parametrize("model", ["person-ssdlite-coco", "person-ssdlite-pedestrian"])
def test_an_empty_picture_of_any_size_shows_nobody_sure(model: str, size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 127, np.uint8)
    assert [found for found in make(model=model).detect(frame) if found.score > 0.5] == []


def test_an_unknown_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(weights.WeightsError, match=r"no model nope.*person-ssdlite-coco"):
        make(model="nope")


def test_changed_weights_are_refused(tmp_path: os.PathLike[str]) -> None:
    from pathlib import Path
    from shutil import copytree

    source = Path(weights.__file__).parents[2] / "models/weights/person-ssdlite-coco"
    copy = Path(tmp_path) / "m"
    copytree(source, copy)
    content = bytearray((copy / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.tflite").write_bytes(content)
    with pytest.raises(weights.WeightsError, match="expected SHA-256"):
        make(model="m", models_dir=Path(tmp_path))


def test_a_runtime_that_is_not_installed_is_named() -> None:
    from importlib.util import find_spec

    absent = "tflite" if find_spec("tflite_runtime") is None else None
    if absent is None:
        pytest.skip("both runtimes are installed")
    with pytest.raises(RuntimeMissingError, match="tflite_runtime"):
        make(runtime="tflite")
