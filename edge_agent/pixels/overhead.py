"""Finds people from straight above, where person detectors are blind: by motion and shape.

A small picture of the empty floor is compared with each frame; what differs are bodies, cut where
they touch. There is no setting for size: a body's half width, the largest circle that fits into its
outline, is learned from what passes, and two people side by side have the same as one::

    differs from the floor      largest circles that fit        bodies
      ▒▒▒▒▒    ▒▒▒▒▒▒▒▒▒▒▒          (•)      (•)   (•)           one · two
       ▒▒▒      ▒▒▒▒  ▒▒▒

The floor's picture is 160 pixels wide and learns from what is floor: where somebody is, it stands
still, so that nobody's look goes into it (docs/privacy-proof.md).
"""

import ctypes
import time
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.core.observation import Box, Detection
from edge_agent.pixels.looker import Allocate

WIDTH = 160
"""Pixels that a frame is reduced to before it is looked at."""
BEGIN_LOOKS = 12
"""Frames from which the floor is first learned."""
LARGEST_SHARE = 0.75
"""Of the picture that may differ; when more does, the floor is learned anew."""


@dataclass(frozen=True, slots=True)
class OverheadSettings:
    """What telling a body from the floor depends on.

    Attributes:
        least_change: grey levels that a pixel must differ from the floor.
        noise_factor: and how many times its own noise.
        shadow: brightness, as a share of the floor's, from which an even darkening is a shadow.
        shadow_tint: grey levels that colours may shift in a shadow.
        learn: share by which the floor's picture follows a pixel that is floor, per frame.
        forget: the same where something stands, so that what is moved for good becomes floor.
        narrowest, widest: half width of a body, as a share of the picture's width.
        neck: two circles belong to one body unless the way between them is narrower than this
            share of the smaller one.
        slight: a circle smaller than this share of the usual is a leg, a bag or a shadow.
    """

    least_change: float = 14.0
    noise_factor: float = 4.5
    shadow: float = 0.62
    shadow_tint: float = 9.0
    learn: float = 0.02
    forget: float = 0.0005
    narrowest: float = 0.012
    widest: float = 0.2
    neck: float = 0.8
    slight: float = 0.6


class OverheadDetector:
    """A detector for cameras that look straight down. Its boxes end at the body's centre.

    A box's bottom centre is where a person is counted; from above that is the middle of the body.
    """

    def __init__(self, allocate: Allocate, settings: OverheadSettings | None = None) -> None:
        self._settings = settings or OverheadSettings()
        self._allocate = allocate
        self._floor: NDArray[np.float32] | None = None
        self._half_width = 0.0
        self._looks = 0
        self.invoke_s = 0.0
        """Time that comparing and cutting took for the last frame."""

    def _begin(self, height: int, width: int) -> None:
        """Carve what is needed for pictures of this size."""
        rows = max(1, round(height * WIDTH / width))
        self._small: NDArray[np.uint8] = self._allocate((rows, WIDTH, 3), np.uint8)
        self._now: NDArray[np.float32] = self._allocate((rows, WIDTH, 3), np.float32)
        self._noise: NDArray[np.float32] = self._allocate((rows, WIDTH), np.float32)
        self._floor = self._allocate((rows, WIDTH, 3), np.float32)
        self._noise.fill(4.0)

    def detect(self, frame: NDArray[np.uint8]) -> tuple[Detection, ...]:
        """Find the people in a frame.

        1. Reduce it.
        2. Compare it with the floor; learn the floor where nobody is.
        3. Cut what differs into bodies.

        Args:
            frame: (H, W, 3) uint8 BGR.

        Returns:
            A detection a body; its score is 0.9, or less for one that is unusually small.
        """
        begin = time.perf_counter()
        height, width = frame.shape[:2]
        if self._floor is None:
            self._begin(height, width)
        # 1.
        rows = self._small.shape[0]
        cv2.resize(frame, (WIDTH, rows), dst=self._small, interpolation=cv2.INTER_AREA)
        np.copyto(self._now, self._small)
        # 2.
        mask = self._compare()
        # 3.
        found = self._cut(mask)
        self._now.fill(0)
        self.invoke_s = time.perf_counter() - begin
        return found

    def zeroise(self) -> None:
        """Leave no pixel of a frame behind; the floor stays."""
        if self._floor is not None:
            for array in (self._small, self._now):
                ctypes.memset(array.ctypes.data, 0, array.nbytes)

    def _compare(self) -> NDArray[np.uint8]:
        """Return 255 where somebody is, and let the floor follow where nobody is."""
        settings = self._settings
        assert self._floor is not None  # noqa: S101 - for the type checker
        floor, now = self._floor, self._now
        if self._looks < BEGIN_LOOKS:
            # Exposure settles, and who walks through blurs away.
            self._looks += 1
            floor += (now - floor) / max(1, self._looks - 2)
            return np.zeros(now.shape[:2], np.uint8)
        gain = self._gain()
        lit = floor * gain
        change = np.abs(now - lit).max(axis=2)
        differs = change > np.maximum(settings.least_change, settings.noise_factor * self._noise)
        differs &= ~self._shadow(now, lit)
        if differs.mean() > LARGEST_SHARE:
            self._looks = 0  # the light, or the camera, is another
            return np.zeros(now.shape[:2], np.uint8)
        mask: NDArray[np.uint8] = differs.astype(np.uint8) * np.uint8(255)
        cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8), dst=mask)
        cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8), dst=mask)
        self._drop_ghosts(mask)
        near = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0
        rate = np.where(near, settings.forget, settings.learn)[..., None].astype(np.float32)
        floor += rate * (now - floor)
        self._noise += 0.02 * (np.minimum(change, 12.0) - self._noise) * ~near
        return mask

    def _gain(self) -> float:
        """Return by how much all of the picture has become brighter or darker."""
        assert self._floor is not None  # noqa: S101
        ratios = (self._now[::4, ::4].sum(axis=2) + 8) / (self._floor[::4, ::4].sum(axis=2) + 8)
        return float(np.clip(np.median(ratios), 0.6, 1.6))

    def _shadow(self, now: NDArray[np.float32], lit: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return where the floor is only evenly darker."""
        settings = self._settings
        bright, before = now.mean(axis=2), lit.mean(axis=2) + 1
        ratio = bright / before
        tint = np.abs(now - lit * ratio[..., None]).max(axis=2)
        # On a dark floor a shadow is too slight to be told from dark clothes: there is none.
        shaded: NDArray[np.bool_] = (
            (ratio > settings.shadow) & (ratio < 1) & (tint < settings.shadow_tint) & (before > 60)
        )
        return shaded

    def _drop_ghosts(self, mask: NDArray[np.uint8]) -> None:
        """Where the floor's picture has an outline and the frame has none, somebody has left."""
        assert self._floor is not None  # noqa: S101
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        if count == 1:
            return
        edges = []
        for picture in (self._now, self._floor):
            grey = picture.mean(axis=2).astype(np.float32)
            edges.append(cv2.magnitude(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)))
        rim = cv2.dilate(mask, np.ones((3, 3), np.uint8)) - cv2.erode(
            mask, np.ones((3, 3), np.uint8)
        )
        grown = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        for label in range(1, count):
            if stats[label, cv2.CC_STAT_AREA] < 12:
                mask[labels == label] = 0
                continue
            around = (grown == label) & (rim > 0)
            if not around.any():
                continue
            if 1.5 * edges[0][around].mean() < edges[1][around].mean():
                gone = cv2.dilate((labels == label).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                self._floor[gone] = self._now[gone]
                mask[labels == label] = 0

    def _cut(self, mask: NDArray[np.uint8]) -> tuple[Detection, ...]:
        """Return the bodies in a mask."""
        settings = self._settings
        rows = mask.shape[0]
        # What the picture's edge cuts off goes on beyond it.
        inside = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        reach = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        least, most = settings.narrowest * WIDTH, settings.widest * WIDTH
        found = []
        for label in range(1, count):
            left, top, width, height, _ = stats[label]
            part = np.s_[top : top + height, left : left + width]
            own = labels[part] == label
            depth = np.where(own, reach[part], 0.0)
            deepest = float(depth.max())
            if deepest < least:
                continue
            self._learn(min(deepest, most), stats[label], rows)
            usual = self._half_width or deepest
            if deepest < settings.slight * usual:
                continue
            for x, y, size in self._bodies(own, depth, usual):
                found.append(self._detection(left + x, top + y, size, usual, rows))
        return tuple(found)

    def _learn(self, half_width: float, stat: NDArray[np.int32], rows: int) -> None:
        """Follow the usual half width, by bodies that are wholly in view."""
        left, top, width, height, _ = stat
        if left == 0 or top == 0 or left + width == WIDTH or top + height == rows:
            return
        if not self._half_width:
            self._half_width = half_width
        step = 0.02 * self._half_width
        self._half_width += float(np.clip(half_width - self._half_width, -step, step))

    def _bodies(
        self, own: NDArray[np.bool_], depth: NDArray[np.float32], usual: float
    ) -> list[tuple[float, float, float]]:
        """Return the centre and the half width of each body in one blob."""
        settings = self._settings
        smooth = cv2.GaussianBlur(depth, (0, 0), max(0.5, 0.25 * usual))
        span = max(3, int(1.2 * usual) | 1)
        top = cv2.dilate(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (span, span)))
        peaks = [
            (float(depth[y, x]), int(x), int(y))
            for y, x in np.argwhere((smooth >= top - 1e-6) & own)
            if depth[y, x] >= settings.slight * usual
        ]
        kept: list[tuple[float, int, int]] = []
        for size, x, y in sorted(peaks, reverse=True):
            if all(self._apart((size, x, y), other, depth, usual) for other in kept):
                kept.append((size, x, y))
        if not kept:
            return []
        ys, xs = np.nonzero(own)
        distances = [np.hypot(xs - x, ys - y) for _, x, y in kept]
        nearest = np.argmin(distances, axis=0)
        bodies = []
        for index, (size, x, y) in enumerate(kept):
            near = (nearest == index) & (distances[index] <= 2.5 * usual)
            if not near.any():
                bodies.append((float(x), float(y), size))
            else:
                bodies.append((float(xs[near].mean()), float(ys[near].mean()), size))
        return bodies

    def _apart(
        self,
        one: tuple[float, int, int],
        other: tuple[float, int, int],
        depth: NDArray[np.float32],
        usual: float,
    ) -> bool:
        """Return whether two circles are two bodies: far enough apart, with a neck between."""
        (a, ax, ay), (b, bx, by) = one, other
        distance = float(np.hypot(ax - bx, ay - by))
        if distance < 1.4 * usual:
            return False
        steps = max(2, int(distance))
        way = [
            float(depth[round(ay + (by - ay) * t / steps), round(ax + (bx - ax) * t / steps)])
            for t in range(1, steps)
        ]
        return min(way) < self._settings.neck * min(a, b) or distance > 3.0 * usual

    @staticmethod
    def _detection(x: float, y: float, size: float, usual: float, rows: int) -> Detection:
        side = 4 * usual
        box = Box((x - side / 2) / WIDTH, (y - side) / rows, (x + side / 2) / WIDTH, y / rows)
        return Detection(box, 0.9 if size >= 0.75 * usual else 0.6)
