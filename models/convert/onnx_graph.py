"""Reads an ONNX network as a Keras model, for the few operators that face detectors are made of.

Pictures are NHWC there, weights are kept, and the sizes may change: nothing here is trained.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from onnx import numpy_helper


def load(
    path: Path, height: int, width: int, outputs: Sequence[str] = (), batch: int | None = 1
) -> Any:
    """Return an ONNX network with one (batch, height, width, 3) input as a Keras model.

    Args:
        path: the `.onnx` file; the picture is its one input that is no weight.
        height: of the pictures that the model takes.
        width: of the same.
        outputs: names of the tensors to return; by default the network's own outputs.
        batch: how many pictures at once; None where that may change.

    Raises:
        ValueError: an operator that is not known here.
    """
    graph = onnx.load(path).graph
    weights = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    (given,) = (value.name for value in graph.input if value.name not in weights)
    tensors = {given: keras.Input((height, width, 3), batch_size=batch)}
    start = tensors[given]
    wanted = list(outputs) or [value.name for value in graph.output]
    for node in graph.node:
        values = [weights[name] for name in node.input if name in weights]
        inputs = [tensors[name] for name in node.input if name in tensors]
        tensors[node.output[0]] = _layer(node, inputs, values)
        if tensors.keys() >= set(wanted):
            break
    found = [tensors[name] for name in wanted]
    return keras.Model(start, found if len(found) > 1 else found[0])


def _layer(node: Any, inputs: list[Any], weights: list[Any]) -> Any:
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    match node.op_type:
        case "Conv":
            return _convolution(inputs[0], weights, given, f"conv_{node.output[0]}")
        case "ConvTranspose":
            return _upward(inputs[0], weights, given, f"up_{node.output[0]}")
        case "BatchNormalization":
            return _scaled(inputs[0], weights, given["epsilon"])
        case "Relu":
            return keras.layers.ReLU()(inputs[0])
        case "Add":
            return keras.layers.Add()(inputs)
        case "Sigmoid":
            return keras.layers.Activation("sigmoid")(inputs[0])
        case other:
            raise ValueError(f"expected an operator of face detectors, got {other}")


def _convolution(x: Any, weights: list[Any], given: dict[str, Any], name: str) -> Any:
    kernel, bias = weights
    stride = given["strides"][0]
    top, left, bottom, right = given["pads"]
    if any((top, left, bottom, right)):
        x = keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(x)
    if given["group"] == 1:
        layer = keras.layers.Conv2D(kernel.shape[0], kernel.shape[2:], stride, name=name)
        values = kernel.transpose(2, 3, 1, 0)
    else:
        layer = keras.layers.DepthwiseConv2D(kernel.shape[2:], stride, name=name)
        values = kernel.transpose(2, 3, 0, 1)
    x = layer(x)
    layer.set_weights([values, bias])
    return x


def _upward(x: Any, weights: list[Any], given: dict[str, Any], name: str) -> Any:
    (kernel,) = weights
    layer = keras.layers.Conv2DTranspose(
        kernel.shape[1], kernel.shape[2:], given["strides"][0], name=name
    )
    x = layer(x)
    layer.set_weights([kernel.transpose(2, 3, 1, 0), np.zeros(kernel.shape[1], np.float32)])
    return x


def _scaled(x: Any, weights: list[Any], epsilon: float) -> Any:
    """Fold what a batch normalisation does into the transposed convolution that feeds it."""
    scale, shift, mean, variance = weights
    factor = scale / np.sqrt(variance + epsilon)
    layer = x._keras_history.operation
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * factor[:, None], (bias - mean) * factor + shift])
    return x
