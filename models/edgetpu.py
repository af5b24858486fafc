"""Checks, without a compiler, that an Edge TPU could run a model: `python -m models.edgetpu`.

Every operator must be in Coral's published table, with 8-bit tensors in and out. It is no compiler:
what it passes has not been compiled until somebody with `edgetpu_compiler` says `--compile`.

Source: coral.ai, "TensorFlow models on the Edge TPU", table of supported operations.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from models.manifest import FILES, WEIGHTS, keep

COMPILER = "edgetpu_compiler"
OPERATORS = frozenset({
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS",
    "FULLY_CONNECTED", "L2_NORMALIZATION", "LOGISTIC", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PACK", "PAD", "PRELU", "QUANTIZE",
    "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT",
    "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "SQUARED_DIFFERENCE", "TANH", "TRANSPOSE",
    "TRANSPOSE_CONV",
})  # fmt: skip


class EdgeTpuError(RuntimeError):
    """A model cannot be compiled; the message is one line that says what to do."""


def unsuited(model: Path) -> Counter[str]:
    """Return the operators that would not run on an Edge TPU, with why, and how often."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415

    network = Interpreter(
        model_content=model.read_bytes(),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    network.allocate_tensors()
    types = {tensor["index"]: tensor["dtype"] for tensor in network.get_tensor_details()}
    found: Counter[str] = Counter()
    for operator in network._get_ops_details():
        name = operator["op_name"]
        # The data input: of a transposed convolution, the third.
        given = (
            list(operator["inputs"])[2:3] if name == "TRANSPOSE_CONV" else operator["inputs"][:1]
        )
        wide = {
            types[i].__name__
            for i in [*given, *operator["outputs"]]
            if i >= 0 and types[i] not in (np.int8, np.uint8)
        }
        if name not in OPERATORS:
            found[f"{name}: not in the table"] += 1
        elif wide:
            found[f"{name}: {', '.join(sorted(wide))}"] += 1
    return found


def compiled(model: Path) -> bytes:
    """Return a model compiled for an Edge TPU.

    Raises:
        EdgeTpuError: Coral's compiler is not installed, or refuses the model.
    """
    if shutil.which(COMPILER) is None:
        raise EdgeTpuError(
            f"expected {COMPILER}, which Coral publishes for Debian on x86-64; install it"
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [COMPILER, "--show_operations", "--out_dir", folder, model],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise EdgeTpuError(f"{model}: {COMPILER} refused it: {''.join(last)}")
        print(done.stdout)
        (made,) = Path(folder).glob("*_edgetpu.tflite")
        return made.read_bytes()


def main() -> int:
    """Check all committed models; return 1 where one would not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true", help="compile them, and pin the result")
    given = parser.parse_args()
    status = 0
    for path in sorted(WEIGHTS.glob(f"*/{FILES['file']}")):
        bad = unsuited(path)
        told = ", ".join(f"{why} ({count})" for why, count in bad.items())
        print(f"{path.parent.name:<32}{told or 'every operator could run (not compiled)'}")
        status = status or int(bool(bad))
        if given.compile:
            try:
                print(f"{keep(path.parent, 'edgetpu', compiled(path))}")
            except EdgeTpuError as error:
                print(error, file=sys.stderr)
                return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
