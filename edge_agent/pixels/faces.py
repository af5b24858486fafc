"""Finds faces, five points of each, and whether a mask is worn; says numbers, shows nobody.

A face leaves here as a box, two angles of the head and one word about a mask. The points stay:
with them a face could be told from another.

The five points are two eyes, nose and the corners of the mouth. `turn` and `tilt` measure where
the nose is between the middle of the eyes and the middle of the mouth, in units of that way::

      eye ──•── eye           turn: how far the nose is from that way, to the picture's right
            │╲                tilt: how far along it the nose is (0 at the eyes, 1 at the mouth)
            │ nose
          mouth               A leaning head changes neither.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.core.observation import Box, Face, Mask
from edge_agent.pixels import runtime, weights
from edge_agent.pixels.looker import Allocate, Floats, Looker, ious, logit, suppress

STRIDE = 4
"""Pixels of the input for each cell of the output."""
MOST_FACES = 40
"""The surest in one frame; more would not fit into a frame's time."""
BEYOND_DOUBT = 0.95
SAME_FACE = 0.6
"""IoU from which two boxes are of one face."""
CLASSES: tuple[Mask, ...] = ("mask", "no_mask", "incorrect")


@dataclass(frozen=True, slots=True)
class Found:
    """Faces in a frame, in pixels.

    Attributes:
        boxes: (N, 4) float32 left, top, right, bottom.
        scores: (N,) float32 in 0..1, the surest first.
        points: (N, 5, 2) float32 x, y.
    """

    boxes: Floats
    scores: Floats
    points: Floats


class FaceDetector(Looker[weights.FaceModel]):
    """A detector of faces, and of five points of each."""

    def __init__(
        self,
        model: weights.Weights[weights.FaceModel],
        network: runtime.Network,
        allocate: Allocate,
    ) -> None:
        super().__init__(model, network, allocate)
        by_depth = {shape[-1]: index for index, shape in enumerate(network.output_shapes)}
        self._score, self._points = by_depth[1], by_depth[10]
        twos = [index for index, shape in enumerate(network.output_shapes) if shape[-1] == 2]
        # The size's logarithm is never below that of a pixel; the offset is, half of the time.
        self._size, self._offset = self._told_apart(twos)
        self._lowest = logit(model.manifest.score_floor)

    def _told_apart(self, twos: list[int]) -> tuple[int, int]:
        self._network.run(self._tensor)
        means = {float(self._network.output(index).mean()): index for index in twos}
        return means[max(means)], means[min(means)]

    def detect(self, frame: NDArray[np.uint8]) -> Found:
        """Find the faces in a (H, W, 3) uint8 BGR frame.

        The frame is shown in the upper left corner of the input, as large as it fits.
        """
        rows, columns = self._tensor.shape[1:3]
        height, width = frame.shape[:2]
        share = min(columns / width, rows / height)
        shown = max(1, round(share * width)), max(1, round(share * height))
        self._tensor.fill(0)
        part = self._tensor[0, : shown[1], : shown[0]]
        how = cv2.INTER_AREA if share < 0.75 else cv2.INTER_LINEAR
        cv2.resize(frame, shown, dst=part, interpolation=how)
        self.invoke_s = 0.0
        self._run(self._tensor)
        found = self._decode()
        return Found(found.boxes / share, found.scores, found.points / share)

    def _decode(self) -> Found:
        """Return the faces that the outputs speak of, in pixels of the input."""
        logits = self._network.output(self._score)[0, ..., 0]
        ys, xs = np.nonzero(logits >= self._lowest)
        scores = (1 / (1 + np.exp(-logits[ys, xs]))).astype(np.float32)
        surest = np.argsort(-scores, kind="stable")[: 12 * MOST_FACES]
        ys, xs, scores = ys[surest], xs[surest], scores[surest]
        cells = (0, ys, xs)
        size = STRIDE * np.exp(self._network.output(self._size, cells))
        offset = self._network.output(self._offset, cells)
        middle_y = STRIDE * (ys + offset[:, 0] + 0.5)
        middle_x = STRIDE * (xs + offset[:, 1] + 0.5)
        left, top = middle_x - size[:, 1] / 2, middle_y - size[:, 0] / 2
        boxes = np.stack([left, top, left + size[:, 1], top + size[:, 0]], 1).astype(np.float32)
        pairs = self._network.output(self._points, cells).reshape(-1, 5, 2)
        points = np.stack(
            [
                left[:, None] + pairs[..., 1] * size[:, 1:],
                top[:, None] + pairs[..., 0] * size[:, :1],
            ],
            2,
        ).astype(np.float32)
        kept = suppress(boxes, scores, self._manifest.overlap_limit)[:MOST_FACES]
        # Neighbouring cells speak of the same face: their mean trembles less than the surest.
        weights_of = scores * (ious(boxes[kept], boxes) > SAME_FACE)
        weights_of /= weights_of.sum(1, keepdims=True)
        steady = np.einsum("kn,npc->kpc", weights_of, points)
        return Found(weights_of @ boxes, scores[kept], steady)


def square(frame: NDArray[np.uint8], box: Floats, context: float, out: NDArray[np.uint8]) -> None:
    """Write the square around a face into `out`, edges repeated beyond the frame.

    Args:
        frame: (H, W, 3) uint8.
        box: (4,) left, top, right, bottom in pixels.
        context: side of the square, in longer sides of the box.
        out: (S, S, 3) uint8.
    """
    left, top, right, bottom = (float(value) for value in box)
    size = context * max(right - left, bottom - top)
    side, share = out.shape[0], out.shape[0] / size
    x, y = (left + right - size) / 2, (top + bottom - size) / 2
    way = np.array([[share, 0, -share * x], [0, share, -share * y]], np.float32)
    # Reduced by areas, where it must be: no pixel between two others is skipped, and none copied.
    if share >= 0.75:
        cv2.warpAffine(frame, way, (side, side), dst=out, borderMode=cv2.BORDER_REPLICATE)
        return
    height, width = frame.shape[:2]
    inner = frame[max(0, int(y)) : min(height, int(y + size) + 1),
                  max(0, int(x)) : min(width, int(x + size) + 1)]  # fmt: skip
    out.fill(0)
    if not inner.size:
        return
    low = round(share * (max(0, int(x)) - x)), round(share * (max(0, int(y)) - y))
    high = (
        min(side, low[0] + max(1, round(share * inner.shape[1]))),
        min(side, low[1] + max(1, round(share * inner.shape[0]))),
    )
    low = max(0, min(low[0], side - 1)), max(0, min(low[1], side - 1))
    seen = out[low[1] : high[1], low[0] : high[0]]
    cv2.resize(inner, (high[0] - low[0], high[1] - low[1]), dst=seen, interpolation=cv2.INTER_AREA)
    out[: low[1]] = out[low[1]]
    out[high[1] :] = out[high[1] - 1]
    out[:, : low[0]] = out[:, low[0] : low[0] + 1]
    out[:, high[0] :] = out[:, high[0] - 1 : high[0]]


class MaskClassifier(Looker[weights.MaskModel]):
    """Tells whether a face wears a mask."""

    def __init__(
        self,
        model: weights.Weights[weights.MaskModel],
        network: runtime.Network,
        allocate: Allocate,
    ) -> None:
        super().__init__(model, network, allocate)
        self._mirrored = allocate(network.input_shape, np.uint8)

    def judge(self, frame: NDArray[np.uint8], box: Floats) -> Mask:
        """Return what a face in a (H, W, 3) uint8 BGR frame wears; `unknown` if that is unsure."""
        if min(box[2] - box[0], box[3] - box[1]) < self._manifest.smallest_px:
            return "unknown"
        said, sure = self.likeliest(frame, box)
        return said if sure >= self._manifest.sure else "unknown"

    def likeliest(self, frame: NDArray[np.uint8], box: Floats) -> tuple[Mask, float]:
        """Return the likeliest class of a face, and how likely it is.

        What is not beyond doubt at first sight is decided with its mirror image.
        """
        square(frame, box, self._manifest.context, self._tensor[0])
        logits = self._logits(self._tensor)
        if _odds(logits).max() < BEYOND_DOUBT:
            cv2.flip(self._tensor[0], 1, dst=self._mirrored[0])
            logits = np.float32(0.5) * (logits + self._logits(self._mirrored))
        odds = _odds(logits)
        best = int(odds.argmax())
        return CLASSES[best], float(odds[best])

    def _logits(self, picture: NDArray[np.uint8]) -> Floats:
        self._run(picture)
        return self._network.output(0, 0)

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        self._mirrored.fill(0)
        super().zeroise()


def _odds(logits: Floats) -> Floats:
    odds: Floats = np.exp(logits - logits.max())
    odds /= odds.sum()
    return odds


def pose(points: Floats) -> tuple[float, float]:
    """Return turn and tilt of a head from its five points, (5, 2) x, y; drawn above."""
    eyes, nose, mouth = points[:2].mean(0), points[2], points[3:].mean(0)
    down = mouth - eyes
    length = float(np.hypot(*down)) + 1e-6
    along, aside = down / length, np.array([down[1], -down[0]]) / length
    from_eyes = nose - eyes
    return float(from_eyes @ aside) / length, float(from_eyes @ along) / length


class FaceWatcher:
    """Faces of a frame as the core sees them."""

    def __init__(self, detector: FaceDetector, classifier: MaskClassifier | None) -> None:
        self._detector = detector
        self._classifier = classifier
        self.invoke_s = 0.0

    def watch(self, frame: NDArray[np.uint8]) -> tuple[Face, ...]:
        """Return the faces in a (H, W, 3) uint8 BGR frame; `unknown` without a classifier."""
        found = self._detector.detect(frame)
        self.invoke_s = self._detector.invoke_s
        worn: list[Mask] = ["unknown"] * len(found.boxes)
        if self._classifier:
            worn = self._judge(frame, found, self._classifier)
        height, width = frame.shape[:2]
        share = np.array([width, height] * 2, np.float32)
        return tuple(
            Face(Box(*box), score, *pose(points), mask)
            for box, score, points, mask in zip(
                (found.boxes / share).tolist(), found.scores.tolist(), found.points, worn,
                strict=True,
            )
        )  # fmt: skip

    def _judge(
        self, frame: NDArray[np.uint8], found: Found, classifier: MaskClassifier
    ) -> list[Mask]:
        """Return what each face wears, and leave none of them in the network."""
        classifier.invoke_s = 0.0
        worn = [classifier.judge(frame, box) for box in found.boxes]
        self.invoke_s += classifier.invoke_s
        if worn:
            # The next frame may show no face, and so overwrite nothing.
            classifier.zeroise()
        return worn

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        self._detector.zeroise()
        if self._classifier:
            self._classifier.zeroise()
