"""What all networks that are shown pictures have in common: an input in the arena, and wiping."""

import time
from collections.abc import Callable
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from edge_agent.pixels import runtime, weights

Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]
Floats = NDArray[np.float32]


class Looker(Generic[weights.Kind]):
    """A network whose every pixel-bearing buffer comes from the caller's arena."""

    def __init__(
        self, model: weights.Weights[weights.Kind], network: runtime.Network, allocate: Allocate
    ) -> None:
        self._manifest = model.manifest
        self._network = network
        self._tensor: NDArray[np.uint8] = allocate(network.input_shape, np.uint8)
        self.invoke_s = 0.0
        """Time that the network alone took for the last frame."""

    def zeroise(self) -> None:
        """Leave no pixel behind: neither in our tensor nor in the network's activations."""
        self._tensor.fill(0)
        self._network.scrub()

    def _run(self, picture: NDArray[np.uint8]) -> None:
        begin = time.perf_counter()
        self._network.run(picture)
        self.invoke_s += time.perf_counter() - begin


def logit(score: float) -> float:
    """Return the network's output that means a score."""
    return float(np.log(score / (1 - score)))


def ious(some: Floats, others: Floats) -> Floats:
    """Return (K, N) float32 intersection over union of (K, 4) and (N, 4) boxes."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (some, others)]
    found: Floats = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
    return found


def suppress(boxes: Floats, scores: Floats, limit: float) -> NDArray[np.intp]:
    """Return the indices of the boxes to keep, the surest first: greedy non-maximum suppression."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(int(first))
        order = rest[ious(boxes[first][None], boxes[rest])[0] <= limit]
    return np.array(kept, np.intp)
