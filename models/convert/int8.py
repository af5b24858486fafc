"""Quantises a Keras model: weights, activations, inputs and outputs in 8 bits."""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


def quantise(model: Any, calibration: Callable[[], Iterator[list[Any]]]) -> bytes:
    """Return a Keras model with one input as a TFLite file.

    Args:
        model: the model; its input has a fixed shape.
        calibration: returns inputs, float32, from which ranges of activations are taken.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return bytes(converter.convert())
