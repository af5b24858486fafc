"""Writes the floating-point network that an int8 file was made of, for ONNX Runtime on a Jetson.

Input and outputs are those of the int8 file: a (1, H, W, 3) uint8 BGR picture, real values. Weights
are stored in half precision and computed with in single: TensorRT and CUDA choose their own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import helper, numpy_helper

OPSET = 17
SMALL = 256
"""Weights with fewer numbers stay in single precision."""


def export(network: Callable[[Any], Any], shape: tuple[int, ...]) -> bytes:
    """Return a network as an ONNX file.

    Args:
        network: from a float32 picture to one output, or several.
        shape: of the picture.
    """

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec(shape, tf.uint8, name="picture")]
    )
    def whole(picture: Any) -> Any:
        return network(tf.cast(picture, tf.float32))

    model, _ = tf2onnx.convert.from_function(whole, whole.input_signature, opset=OPSET)
    _halve(model.graph)
    model.producer_name, model.producer_version = "dizaine", ""
    model.doc_string = model.graph.doc_string = ""
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _halve(graph: Any) -> None:
    """Store large weights in half precision, each with a cast behind it, in place."""
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALL:
            continue
        name = weight.name
        half = numpy_helper.from_array(values.astype(np.float16), f"{name}/half")
        weight.CopyFrom(half)
        to = onnx.TensorProto.FLOAT
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/cast", to=to))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
