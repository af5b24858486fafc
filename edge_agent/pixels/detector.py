"""Finds people in a frame with an SSD network: tiles, network, boxes, no picture left behind.

The network sees 300 x 300 pixels, so a wide picture is cut into overlapping tiles, nearly square::

    ┌────────────┬───────┬────────────┐
    │   tile 1   │ both  │   tile 2   │      a person cut by an inner seam is whole in the other
    │            │       │            │      tile, or is put together from both halves
    └────────────┴───────┴────────────┘
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.core.observation import Box, Detection
from edge_agent.pixels import runtime, weights
from edge_agent.pixels.looker import Allocate, Floats, Looker, logit, suppress

SEAM = 0.008
"""A box that ends this near to an inner seam is cut by it, as a share of the picture."""


def ssd_anchors(spec: weights.Anchors) -> Floats:
    """Return the default boxes of an SSD network.

    Returns:
        (N, 4) float32: centre y, centre x, height, width as shares of the input.
    """
    layers = len(spec.grids)
    step = (spec.largest - spec.smallest) / (layers - 1)
    scales = [spec.smallest + step * i for i in range(layers)] + [1.0]
    rows = []
    for layer, grid in enumerate(spec.grids):
        scale = scales[layer]
        shapes = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
        shapes.append(((scale * scales[layer + 1]) ** 0.5, 1.0))
        if layer == 0:
            shapes = [(spec.first_layer, 1.0), (scale, 2.0), (scale, 0.5)]
        sizes = [(size / ratio**0.5, size * ratio**0.5) for size, ratio in shapes]
        rows += [
            ((y + 0.5) / grid, (x + 0.5) / grid, height, width)
            for y in range(grid)
            for x in range(grid)
            for height, width in sizes
        ]
    return np.array(rows, np.float32)


def decode(raw: Floats, anchors: Floats) -> Floats:
    """Return boxes from an SSD network's box outputs.

    Args:
        raw: (N, 4) float32, offsets y, x, height, width.
        anchors: (N, 4) float32, as `ssd_anchors`.

    Returns:
        (N, 4) float32 left, top, right, bottom as shares of the input.
    """
    y = raw[:, 0] / 10 * anchors[:, 2] + anchors[:, 0]
    x = raw[:, 1] / 10 * anchors[:, 3] + anchors[:, 1]
    half_height = np.exp(raw[:, 2] / 5) * anchors[:, 2] / 2
    half_width = np.exp(raw[:, 3] / 5) * anchors[:, 3] / 2
    return np.stack([x - half_width, y - half_height, x + half_width, y + half_height], 1)


class PersonDetector(Looker[weights.PersonModel]):
    """A detector of people."""

    def __init__(
        self,
        model: weights.Weights[weights.PersonModel],
        network: runtime.Network,
        allocate: Allocate,
    ) -> None:
        super().__init__(model, network, allocate)
        self._boxes = next(i for i, s in enumerate(self._network.output_shapes) if s[-1] == 4)
        self._anchors = ssd_anchors(self._manifest.anchors)
        self._lowest_logit = logit(self._manifest.score_floor)

    def detect(self, frame: NDArray[np.uint8]) -> tuple[Detection, ...]:
        """Find the people in a frame.

        Args:
            frame: (H, W, 3) uint8 BGR.

        Returns:
            Detections from the manifest's `score_floor` up, normalised, the surest first.
        """
        self.invoke_s = 0.0
        height, width = frame.shape[:2]
        found = [self._tile(frame, *tile) for tile in self._tiles(width, height)]
        boxes = np.concatenate([part[0] for part in found])
        scores = np.concatenate([part[1] for part in found])
        cuts = np.concatenate([part[2] for part in found])
        boxes, scores = self._mend(boxes, scores, cuts)
        kept = suppress(boxes, scores, self._manifest.overlap_limit)
        boxes = np.clip(boxes[kept], 0.0, 1.0)
        return tuple(
            Detection(Box(*box), score)
            for box, score in zip(boxes.tolist(), scores[kept].tolist(), strict=True)
            if box[2] > box[0] and box[3] > box[1]
        )

    def _tiles(self, width: int, height: int) -> list[tuple[int, int, int, int]]:
        """Return left, top, right, bottom of each tile in pixels."""
        count, share = self._manifest.tiles, self._manifest.tile_share
        if count == 1 or max(width, height) < 1.2 * min(width, height):
            return [(0, 0, width, height)]
        longer = max(width, height)
        size = round(share * longer)
        starts = [round(i * (longer - size) / (count - 1)) for i in range(count)]
        if width >= height:
            return [(start, 0, start + size, height) for start in starts]
        return [(0, start, width, start + size) for start in starts]

    def _tile(
        self, frame: NDArray[np.uint8], left: int, top: int, right: int, bottom: int
    ) -> tuple[Floats, Floats, NDArray[np.int8]]:
        """Return a tile's boxes (N, 4), scores (N,), and which inner seam cuts each box (N,).

        0 is none, 1 a seam at its left or top, 2 one at its right or bottom.
        """
        size = self._tensor.shape[1:3]
        cv2.resize(frame[top:bottom, left:right], (size[1], size[0]), dst=self._tensor[0])
        self._run(self._tensor)
        logits = self._network.output(1 - self._boxes, (0, slice(None), 1))
        chosen = np.flatnonzero(logits >= self._lowest_logit)
        scores = 1 / (1 + np.exp(-logits[chosen]))
        raw = self._network.output(self._boxes, (0, chosen)).reshape(-1, 4)
        boxes = decode(raw, self._anchors[chosen])
        height, width = frame.shape[:2]
        boxes *= np.array([right - left, bottom - top] * 2, np.float32)
        boxes += np.array([left, top] * 2, np.float32)
        boxes /= np.array([width, height] * 2, np.float32)
        cuts = np.zeros(len(boxes), np.int8)
        for low, high, full, axis in ((left, right, width, 0), (top, bottom, height, 1)):
            if low > 0:
                cuts[boxes[:, axis] < low / full + SEAM] = 1
            if high < full:
                cuts[boxes[:, axis + 2] > high / full - SEAM] = 2
        return boxes.astype(np.float32), scores.astype(np.float32), cuts

    def _mend(self, boxes: Floats, scores: Floats, cuts: NDArray[np.int8]) -> tuple[Floats, Floats]:
        """Drop halves of people that are seen whole, and join halves from both sides of a seam.

        1. A cut box is dropped where a whole box covers most of it.
        2. Cut boxes from both sides that overlap become one; a half alone stays as it is.
        """
        if not cuts.any():
            return boxes, scores
        whole = cuts == 0
        boxes, scores, halves, half_scores, sides = (
            boxes[whole], scores[whole], boxes[~whole], scores[~whole], cuts[~whole],
        )  # fmt: skip
        # 1.
        kept = [i for i in range(len(halves)) if not _covered(halves[i], boxes)]
        # 2.
        joined: list[tuple[Floats, float]] = []
        pending = [i for i in kept if sides[i] == 2]
        for i in (i for i in kept if sides[i] == 1):
            partner = next((j for j in pending if _belong(halves[i], halves[j])), None)
            if partner is None:
                joined.append((halves[i], float(half_scores[i])))
                continue
            low = np.minimum(halves[i, :2], halves[partner, :2])
            high = np.maximum(halves[i, 2:], halves[partner, 2:])
            score = float(max(half_scores[i], half_scores[partner]))
            joined.append((np.concatenate([low, high]), score))
            pending.remove(partner)
        joined += [(halves[j], float(half_scores[j])) for j in pending]
        if not joined:
            return boxes, scores
        return (
            np.concatenate([boxes, np.stack([box for box, _ in joined])]).astype(np.float32),
            np.concatenate([scores, [score for _, score in joined]]).astype(np.float32),
        )


def _shared(box: Floats, others: Floats) -> Floats:
    """Return the areas that a box shares with others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared: Floats = np.prod(np.clip(high - low, 0, None), axis=1)
    return shared


def _covered(box: Floats, others: Floats) -> bool:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return bool((_shared(box, others) > 0.5 * area).any())


def _belong(one: Floats, other: Floats) -> bool:
    """Return whether two halves overlap as halves of one person do: over most of the seam."""
    shared = _shared(one, other[None])[0]
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    longest = np.max(np.maximum(one[2:] - one[:2], other[2:] - other[:2]))
    return bool(shared > 0 and np.max(high - low) > 0.6 * longest)
