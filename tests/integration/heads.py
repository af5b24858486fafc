"""Clips of a head that moves: a picture of a face, turned like a picture on a ball.

The likeness is a real person's, from pictures that are never committed; the clip goes when the
test is over.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.data import DATA

FPS, SECONDS, SIDE = 12.0, 5.0, 400
Motion = Callable[[float], tuple[float, float]]
"""From seconds to turn and nod, in radians."""


def ramp(t: float, begin_s: float, for_s: float) -> float:
    return min(max((t - begin_s) / for_s, 0.0), 1.0)


def shaking(t: float) -> tuple[float, float]:
    return (math.radians(35) * math.sin(2 * math.pi * 1.3 * (t - 1)) if 1 < t < 4 else 0.0), 0.0


def nodding(t: float) -> tuple[float, float]:
    return 0.0, math.radians(22) * math.sin(2 * math.pi * 1.3 * t)


def still(_t: float) -> tuple[float, float]:
    return 0.0, 0.0


def looking_aside(t: float) -> tuple[float, float]:
    return math.radians(35) * (ramp(t, 1, 0.4) - ramp(t, 3, 0.4)), 0.0


MOTIONS: dict[str, tuple[Motion, int]] = {
    "shaking": (shaking, 1), "nodding": (nodding, 0), "still": (still, 0),
    "looking aside": (looking_aside, 0),
}  # fmt: skip


def portrait(number: int) -> tuple[Any, tuple[float, float, float, float]]:
    """Return a (400, 400, 3) uint8 picture and the box of the bare face in its middle."""
    with (DATA / "face_boxes" / "train.csv").open() as rows:
        large = [
            row
            for row in csv.DictReader(rows)
            if row["label"] == "no_mask" and float(row["xmax"]) - float(row["xmin"]) >= 80
        ]
    row = large[number]
    picture: Any = cv2.imread(str(DATA / "face_boxes" / "train" / row["image"]))
    left, top, right, bottom = (float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
    share = 0.4 * SIDE / (bottom - top)
    x, y = share * (left + right) / 2 - SIDE / 2, share * (top + bottom) / 2 - SIDE / 2
    way = np.array([[share, 0, -x], [0, share, -y]], np.float32)
    cut = cv2.warpAffine(picture, way, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    box = (share * left - x, share * top - y, share * right - x, share * bottom - y)
    return cut, box


def turned(picture: Any, box: tuple[float, float, float, float], turn: float, nod: float) -> Any:
    """Return a picture with its face turned like a ball's surface, its surroundings as they are."""
    left, top, right, bottom = box
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    middle = (left + right) / 2, (top + bottom) / 2
    radius = 0.75 * (right - left), 0.9 * (bottom - top)
    u, v = (columns - middle[0]) / radius[0], (rows - middle[1]) / radius[1]
    depth = np.sqrt(np.clip(1 - u**2 - 0.6 * v**2, 0, None))
    inside = np.clip(2.5 * depth, 0, 1)

    def before(place: Any, angle: float) -> Any:
        return np.hypot(place, depth) * np.sin(np.arctan2(place, np.maximum(depth, 1e-3)) - angle)

    from_x = (1 - inside) * columns + inside * (middle[0] + radius[0] * before(u, turn))
    from_y = (1 - inside) * rows + inside * (middle[1] + radius[1] * before(v, nod))
    return cv2.remap(
        picture, from_x.astype(np.float32), from_y.astype(np.float32), cv2.INTER_LINEAR
    )


def film(path: Path, number: int, motion: Motion) -> Path:
    """Write a clip of a head; return its path."""
    picture, box = portrait(number)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (SIDE, SIDE))
    for index in range(round(FPS * SECONDS)):
        writer.write(turned(picture, box, *motion(index / FPS)))
    writer.release()
    return path
