"""Faces to learn masks from: square crops of real pictures, and masks drawn onto bare faces.

A crop is a square around a face box, `CONTEXT` times its longer side wide, 128 pixels large. Masks
are drawn over nose and chin, or too low, in any colour: few pictures show dark or badly worn ones.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.pixels import faces

CONTEXT = 1.3
SIDE = 128
SMALLEST_PX = 14
CLASSES = ("mask", "no_mask", "incorrect_mask")


@dataclass(frozen=True, slots=True)
class Crop:
    """One face.

    Attributes:
        picture: (128, 128, 3) uint8 BGR.
        label: index into `CLASSES`.
        px: the shorter side of its box, in pixels of the picture it comes from.
        held_out: whether it is kept for choosing settings, and never learned from.
        in_crowd: whether it was cut from a picture of a scene, rather than published alone.
    """

    picture: Any
    label: int
    px: float
    held_out: bool
    in_crowd: bool


def square(picture: Any, box: tuple[float, float, float, float], side: int) -> Any:
    """Return the square around a face as the device cuts it: (side, side, 3) uint8.

    Args:
        picture: (H, W, 3) uint8 BGR.
        box: left, top, right, bottom in pixels.
        side: of what is returned, in pixels.
    """
    seen = np.empty((side, side, 3), np.uint8)
    faces.square(picture, np.array(box, np.float32), CONTEXT, seen)
    return seen


def _held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] < 32  # an eighth, by picture


def boxed(data: Path, part: str) -> Iterator[Crop]:
    """Yield the faces of `face_boxes/<part>`."""
    folder = data / "face_boxes"
    pictures: dict[str, Any] = {}
    with (folder / f"{part}.csv").open() as rows:
        for row in csv.DictReader(rows):
            name = row["image"]
            if name not in pictures:
                pictures[name] = cv2.imread(str(folder / part / name))
            left, top, right, bottom = (float(row[k]) for k in ("xmin", "ymin", "xmax", "ymax"))
            px = min(right - left, bottom - top)
            if px < SMALLEST_PX:
                continue
            crop = square(pictures[name], (left, top, right, bottom), SIDE)
            yield Crop(crop, CLASSES.index(row["label"]), px, _held_out(name), in_crowd=True)


def loose(data: Path) -> Iterator[Crop]:
    """Yield the faces of `face_crops`, which are cropped already, more or less tightly."""
    for label in CLASSES[:2]:
        for path in sorted((data / "face_crops" / label).iterdir()):
            picture = cv2.imread(str(path))
            if picture is None or min(picture.shape[:2]) < SMALLEST_PX:
                continue
            height, width = picture.shape[:2]
            inner = (1 - 1 / CONTEXT) / 2
            box = (inner * width, inner * height, (1 - inner) * width, (1 - inner) * height)
            crop = square(picture, box, SIDE)
            px = min(height, width) / CONTEXT
            yield Crop(crop, CLASSES.index(label), px, _held_out(path.name), in_crowd=False)


def draw_mask(picture: Any, points: Any, rng: np.random.Generator, *, low: bool) -> Any:
    """Return a bare face with a mask drawn onto it.

    Args:
        picture: (S, S, 3) uint8.
        points: (5, 2) float, pixels: two eyes, nose, two corners of the mouth.
        rng: where shape, colour and shading come from.
        low: worn under the nose, or under the mouth, rather than over both.
    """
    eyes, nose, mouth = points[:2].mean(0), points[2], points[3:].mean(0)
    down, across = mouth - eyes, points[1] - points[0]
    wide = max(float(np.linalg.norm(across)), 0.55 * float(np.linalg.norm(down)))
    across = across / (np.linalg.norm(across) + 1e-6) * wide
    chin = mouth + down * rng.uniform(0.55, 0.8)
    if low:
        middle = nose + (mouth - nose) * rng.uniform(0.35, 1.3)
        cheeks = middle + down * rng.uniform(-0.05, 0.1)
    else:
        middle = eyes + (nose - eyes) * rng.uniform(0.2, 0.75)
        cheeks = eyes + (nose - eyes) * rng.uniform(0.5, 1.0)
    reach, jaw = rng.uniform(0.8, 1.15), rng.uniform(0.45, 0.75)
    outline = np.array([
        middle, cheeks + reach * across, mouth + 0.95 * reach * across,
        chin + jaw * across, chin + 0.08 * down, chin - jaw * across,
        mouth - 0.95 * reach * across, cheeks - reach * across,
    ])  # fmt: skip
    cover = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(cover, [outline.round().astype(np.int32)], 255)
    cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.6, 1.6))
    cloth = np.empty(picture.shape, np.float32)
    cloth[:] = _colour(rng)
    rows = np.linspace(-1, 1, picture.shape[0], dtype=np.float32)
    cloth *= (
        1
        + rng.uniform(-0.2, 0.2) * rows[:, None, None]
        + rng.uniform(-0.2, 0.2) * (rows[None, :, None])
    )
    if rng.random() < 0.6:
        folds = np.sin(rows * rng.uniform(8, 30) + rng.uniform(0, 6)) * rng.uniform(2, 14)
        cloth += folds[:, None, None]
    if rng.random() < 0.2:
        cloth += rng.normal(0, 25, (8, 8, 3)).astype(np.float32).repeat(16, 0).repeat(16, 1)
    # The face's own light falls on the cloth too.
    light = cv2.GaussianBlur(picture, (0, 0), 6).mean(2, keepdims=True).astype(np.float32)
    cloth *= (light / (light.mean() + 1)) ** rng.uniform(0.2, 0.8)
    share = cover[..., None].astype(np.float32) / 255
    return np.clip(picture * (1 - share) + cloth * share, 0, 255).astype(np.uint8)


def hide_mouth(picture: Any, points: Any, other: Any, rng: np.random.Generator) -> Any:
    """Return a bare face whose mouth is hidden behind somebody's head, as in a crowd.

    Args:
        picture: (S, S, 3) uint8.
        points: (5, 2) float, pixels: two eyes, nose, two corners of the mouth.
        other: (S, S, 3) uint8, another face; the upper part of its crop is hair and forehead.
        rng: where place and size come from.
    """
    size = picture.shape[0]
    nose, mouth = points[2], points[3:].mean(0)
    top = nose + (mouth - nose) * rng.uniform(-0.3, 0.8)
    wide = size * rng.uniform(0.3, 0.6)
    middle = np.array([top[0] + size * rng.normal(0, 0.18), top[1] + 1.2 * wide])
    cover = np.zeros(picture.shape[:2], np.uint8)
    axes = (round(wide), round(1.2 * wide))
    cv2.ellipse(cover, (round(middle[0]), round(middle[1])), axes, 0, 0, 360, 255, -1)
    cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.8, 2.0))
    # Hair: the upper third of a face's crop, stretched over the whole, often darker.
    hair = cv2.resize(other[: size // 3, size // 5 : -size // 5], (size, size))
    hair = hair.astype(np.float32) * rng.uniform(0.2, 1.1)
    share = cover[..., None].astype(np.float32) / 255
    return np.clip(picture * (1 - share) + hair * share, 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> Any:
    kind = rng.random()
    if kind < 0.35:  # dark
        return rng.uniform(5, 70) + rng.uniform(-8, 8, 3)
    if kind < 0.6:  # white
        return rng.uniform(170, 250) + rng.uniform(-10, 10, 3)
    if kind < 0.8:  # surgical blue or green
        return np.array([rng.uniform(150, 230), rng.uniform(140, 215), rng.uniform(70, 180)])
    return rng.uniform(10, 245, 3)


def varied(picture: Any, side: int, rng: np.random.Generator) -> Any:
    """Return a crop as another camera might have seen it: (side, side, 3) uint8.

    Turned, moved, nearer or farther, mirrored, smaller, softer, darker, tinted, compressed.
    """
    size = picture.shape[0]
    way = cv2.getRotationMatrix2D(
        (size / 2, size / 2), rng.normal(0, 10), rng.uniform(0.82, 1.25) * side / size
    )
    way[:, 2] += side / 2 - size / 2 + rng.uniform(-0.09, 0.09, 2) * side
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    if rng.random() < 0.6:
        few = int(rng.uniform(18, 64))
        picture = cv2.resize(picture, (few, few), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    elif size > side:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * size / side)
    seen = cv2.warpAffine(picture, way, (side, side), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.15:
        length = int(rng.integers(2, 5))
        seen = cv2.blur(seen, (length, 1) if rng.random() < 0.7 else (1, length))
    seen = lit(seen, rng)
    if rng.random() < 0.1:
        x, y = rng.integers(0, side, 2)
        far = rng.integers(side // 8, side // 3, 2)
        seen[y : y + far[1], x : x + far[0]] = rng.integers(0, 255, 3)
    return seen


def lit(picture: Any, rng: np.random.Generator) -> Any:
    """Return a picture in another light, from another camera: (H, W, 3) uint8."""
    values = picture.astype(np.float32) / 255
    values = values ** np.exp(rng.normal(0, 0.3))
    values = (values - 0.5) * rng.uniform(0.6, 1.3) + 0.5 + rng.normal(0, 0.08)
    values *= np.exp(rng.normal(0, 0.07, 3))
    if rng.random() < 0.1:
        values[:] = values.mean(2, keepdims=True)
    if rng.random() < 0.3:
        values += rng.normal(0, rng.uniform(0.005, 0.05), values.shape)
    seen = (np.clip(values, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        back = cv2.imdecode(cv2.imencode(".jpg", seen, quality)[1], cv2.IMREAD_COLOR)
        seen = np.asarray(back, np.uint8)
    return seen
