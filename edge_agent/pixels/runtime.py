"""One small interface to what runs a network: LiteRT by default, tflite-runtime beside it.

On x86 the older tflite-runtime takes 14 to 23 times as long for int8, so it is never chosen
silently. Weights stay in memory; nothing is read from a path after loading.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Quantisation = tuple[float, int]
"""(scale, zero point): real value = scale * (stored - zero point)."""


class RuntimeMissingError(RuntimeError):
    """The chosen runtime is not installed here."""


class Network(Protocol):
    """A loaded network with one input."""

    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_quantisation: tuple[Quantisation, ...]

    def run(self, picture: NDArray[np.uint8]) -> None:
        """Copy a (1, H, W, 3) uint8 input in and run the network."""
        ...

    def output(self, index: int) -> NDArray[np.uint8]:
        """Return a copy of an output of the last run."""
        ...

    def scrub(self) -> None:
        """Run on zeros, so that no activation of the last picture stays in memory."""
        ...


class _Interpreted:
    """A network behind the interpreter class that both runtimes share."""

    def __init__(self, interpreter: Any) -> None:
        interpreter.allocate_tensors()
        (given,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        for tensor in (given, *outputs):
            if tensor["dtype"] is not np.uint8:
                raise ValueError(f"expected uint8 tensors, got {tensor['dtype'].__name__}")
        self._interpreter = interpreter
        self._input = given["index"]
        self._outputs = [tensor["index"] for tensor in outputs]
        self.input_shape = tuple(int(n) for n in given["shape"])
        self.output_shapes = tuple(tuple(int(n) for n in t["shape"]) for t in outputs)
        self.output_quantisation = tuple(
            (float(t["quantization"][0]), int(t["quantization"][1])) for t in outputs
        )
        self._zeros: NDArray[np.uint8] = np.zeros(self.input_shape, np.uint8)

    def run(self, picture: NDArray[np.uint8]) -> None:
        self._interpreter.set_tensor(self._input, picture)
        self._interpreter.invoke()

    def output(self, index: int) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._interpreter.get_tensor(self._outputs[index])
        return found

    def scrub(self) -> None:
        self.run(self._zeros)


def load(weights: bytes, runtime: Literal["litert", "tflite"], threads: int) -> Network:
    """Load a TFLite file's bytes into a runtime.

    Raises:
        RuntimeMissingError: that runtime is not installed.
        ValueError: the bytes are not a network of this kind.
    """
    package = {"litert": "ai_edge_litert", "tflite": "tflite_runtime"}[runtime]
    if importlib.util.find_spec(package) is None:
        raise RuntimeMissingError(
            f"expected the runtime {runtime} ({package}), which is not installed;"
            " install it, or set detector.runtime"
        )
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - one of two is there
    else:
        from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415
    with _quiet_stderr():
        return _Interpreted(Interpreter(model_content=weights, num_threads=threads))


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep the native library's chatter about itself out of what a technician reads."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
