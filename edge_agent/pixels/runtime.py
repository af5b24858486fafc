"""One small interface to whatever runs a network: a CPU, an Edge TPU, a Jetson's GPU.

| runtime | package | runs | weights |
|---|---|---|---|
| `litert` | ai-edge-litert | on the CPU, with XNNPACK; the default | 8 bits |
| `tflite` | tflite-runtime 2.14 | on the CPU; on x86 14 to 23 times slower | 8 bits |
| `coral` | either of them, and libedgetpu | on an Edge TPU | 8 bits, compiled |
| `onnx` | onnxruntime-gpu, or onnxruntime | by TensorRT, CUDA, or on the CPU | floating point |

Weights stay in memory; nothing is read from a path after loading.
"""

import contextlib
import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.pixels.weights import Kind, Weights

Name = Literal["litert", "tflite", "coral", "onnx"]
PACKAGES = {"litert": "ai_edge_litert", "tflite": "tflite_runtime", "onnx": "onnxruntime"}
EDGETPU_LIBRARY = "libedgetpu.so.1"
ACCELERATED = {"TensorrtExecutionProvider": "TensorRT", "CUDAExecutionProvider": "CUDA"}
Floats = NDArray[np.float32]


class RuntimeMissingError(RuntimeError):
    """The chosen runtime, or its accelerator, is not there."""


class Network(Protocol):
    """A loaded network with one picture as its input."""

    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]

    def run(self, picture: NDArray[np.uint8]) -> None:
        """Copy a (1, H, W, 3) uint8 BGR input in and run the network."""
        ...

    def output(self, index: int, at: Any = ...) -> Floats:
        """Return an output of the last run as real values: all of it, or what `at` indexes."""
        ...

    def scrub(self) -> None:
        """Run on zeros, so that no activation of the last picture stays in memory."""
        ...


class _Interpreted:
    """A network in 8 bits, behind the interpreter class that LiteRT and tflite-runtime share."""

    def __init__(self, interpreter: Any) -> None:
        interpreter.allocate_tensors()
        (given,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        for tensor in (given, *outputs):
            if tensor["dtype"] is not np.uint8:
                raise ValueError(f"expected uint8 tensors, got {tensor['dtype'].__name__}")
        self._interpreter = interpreter
        self._input = given["index"]
        self._outputs = [(t["index"], *t["quantization"]) for t in outputs]
        self.input_shape = tuple(int(n) for n in given["shape"])
        self.output_shapes = tuple(tuple(int(n) for n in t["shape"]) for t in outputs)
        self._zeros: NDArray[np.uint8] = np.zeros(self.input_shape, np.uint8)

    def run(self, picture: NDArray[np.uint8]) -> None:
        self._interpreter.set_tensor(self._input, picture)
        self._interpreter.invoke()

    def output(self, index: int, at: Any = ...) -> Floats:
        tensor, scale, zero = self._outputs[index]
        stored = self._interpreter.get_tensor(tensor)[at]
        found: Floats = np.float32(scale) * (stored.astype(np.float32) - np.float32(zero))
        return found

    def scrub(self) -> None:
        self.run(self._zeros)


class _Session:
    """A network in floating point behind ONNX Runtime."""

    def __init__(self, session: Any) -> None:
        (given,) = session.get_inputs()
        self._session = session
        self._input = given.name
        self.input_shape = tuple(int(n) for n in given.shape)
        self.output_shapes = tuple(tuple(int(n) for n in t.shape) for t in session.get_outputs())
        self._zeros: NDArray[np.uint8] = np.zeros(self.input_shape, np.uint8)
        self._found: list[Floats] = []

    def run(self, picture: NDArray[np.uint8]) -> None:
        self._found = self._session.run(None, {self._input: picture})

    def output(self, index: int, at: Any = ...) -> Floats:
        found: Floats = self._found[index][at]
        return found

    def scrub(self) -> None:
        self.run(self._zeros)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a runtime would run on here.

    Attributes:
        works: whether it can be used.
        what: an accelerator's name, or why there is none.
    """

    works: bool
    what: str


def probe(name: Name) -> Probe:
    """Look, without loading a model, what a runtime would run on."""
    packages = [PACKAGES[name]] if name in PACKAGES else [PACKAGES["litert"], PACKAGES["tflite"]]
    if not any(map(importlib.util.find_spec, packages)):
        return Probe(works=False, what=f"{' or '.join(packages)} is not installed")
    if name == "coral":
        try:
            _edge_tpu()
        except RuntimeMissingError as error:
            return Probe(works=False, what=str(error))
        return Probe(works=True, what="Edge TPU")
    if name == "onnx":
        found = [ACCELERATED[p] for p in _providers() if p in ACCELERATED]
        return Probe(works=True, what=", ".join(found)) if found else Probe(
            works=False, what="ONNX Runtime finds neither TensorRT nor CUDA"
        )  # fmt: skip
    return Probe(works=True, what="CPU")


def load(model: Weights[Kind], name: Name, threads: int) -> Network:
    """Load a model into a runtime.

    Raises:
        RuntimeMissingError: that runtime, or its accelerator, is not there.
        WeightsError: the model has no weights for it.
        ValueError: the weights are not a network of this kind.
    """
    if name in {"coral", "onnx"}:
        found = probe(name)
        if not found.works:
            raise RuntimeMissingError(
                f"detector.runtime {name}: {found.what}; put that right, or choose litert"
            )
    elif importlib.util.find_spec(PACKAGES[name]) is None:
        raise RuntimeMissingError(
            f"expected the runtime {name} ({PACKAGES[name]}), which is not installed;"
            " install it, or set detector.runtime"
        )
    with _quiet_stderr():
        if name == "onnx":
            return _session(model.content("onnx"), threads)
        delegates = [_edge_tpu()] if name == "coral" else []
        content = model.content("edgetpu" if name == "coral" else "file")
        return _Interpreted(
            _interpreter(name)(
                model_content=content, num_threads=threads, experimental_delegates=delegates
            )
        )


def _interpreter(name: Name) -> Any:
    if name == "tflite" or importlib.util.find_spec(PACKAGES["litert"]) is None:
        from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415 - one of two is there
    else:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415
    return Interpreter


def _edge_tpu() -> Any:
    """Return the delegate of the first Edge TPU.

    Raises:
        RuntimeMissingError: there is none, or its library is not installed.
    """
    if importlib.util.find_spec(PACKAGES["litert"]) is None:
        from tflite_runtime.interpreter import load_delegate  # noqa: PLC0415
    else:
        from ai_edge_litert.interpreter import load_delegate  # noqa: PLC0415
    try:
        ctypes.CDLL(EDGETPU_LIBRARY)
    except OSError:
        raise RuntimeMissingError(f"{EDGETPU_LIBRARY} is not installed") from None
    try:
        with _quiet_stderr():
            return load_delegate(EDGETPU_LIBRARY)
    except (OSError, ValueError):
        raise RuntimeMissingError("no Edge TPU answers; is one plugged in?") from None


def _providers() -> list[str]:
    from onnxruntime import get_available_providers  # noqa: PLC0415

    found: list[str] = get_available_providers()
    return found


def _session(content: bytes, threads: int) -> _Session:
    from onnxruntime import InferenceSession, SessionOptions  # noqa: PLC0415

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    usable = [p for p in (*ACCELERATED, "CPUExecutionProvider") if p in _providers()]
    try:
        return _Session(InferenceSession(content, options, providers=usable))
    except Exception as error:  # noqa: BLE001 - its own types are not exported
        raise ValueError(f"not a network: {str(error).splitlines()[0]}") from None


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
