"""The one module that makes a picture somebody may look at, while a device is installed.

People and faces in it are no blur but a handful of cells of one colour each, so coarse that nobody
could be told from another; everything else is reduced to what a technician needs. Wherever the
networks are not sure of what they found, the whole picture is as coarse as that. It is made in the
same locked memory as every frame, within the same 100 ms, and what leaves is a small JPEG.

How often a face stays readable is measured on real pictures: `python -m models.evaluate blur`.
docs/adr/0026-installation-picture.md says why this may exist at all.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge_agent.core.observation import Detection, Face
from edge_agent.pixels.looker import Allocate

WIDTH, HEIGHT = 480, 360
"""The largest picture that leaves; the frame is fitted into it."""
QUALITY = 60
CELLS = 4
"""A person or face is at most so many cells wide and high."""
COARSE = 20
"""The whole picture, where anything is unsure, has at most so many cells along its longer side."""
PERSON_GROWN, FACE_GROWN = 0.15, 0.45
"""Boxes are grown by these shares of their size on each side: hair, hands, a wrong edge."""
UNSURE_PERSON, UNSURE_FACE = 0.2, 0.2
"""What is found with less certainty is a sign that more may be there."""
MOST_PEOPLE = 20
"""In a crowd some are always missed."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a technician is told of the picture, in numbers.

    Attributes:
        focus: sharpness, from 0; below 0.25 the lens is out of focus.
        light: mean brightness, 0 to 1.
        glare: share of the picture that is white.
        covered: share of the picture that is flat, as behind a hand or a sticker.
        tilt_deg: how far what should be upright leans, or None where nothing tells.
    """

    focus: float
    light: float
    glare: float
    covered: float
    tilt_deg: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that may be looked at: JPEG bytes, and whether it is coarse throughout."""

    jpeg: bytes
    coarse: bool


def is_unsure(people: tuple[Detection, ...], faces: tuple[Face, ...]) -> bool:
    """Return whether somebody may have been overlooked."""
    return (
        len(people) > MOST_PEOPLE
        or any(one.score < UNSURE_PERSON for one in people)
        or any(one.score < UNSURE_FACE for one in faces)
    )


class Blurrer:
    """Makes pictures that may be looked at; its buffers lie in the caller's arena."""

    def __init__(self, allocate: Allocate) -> None:
        self._small: NDArray[np.uint8] = allocate((HEIGHT, WIDTH, 3), np.uint8)
        self._cells: NDArray[np.uint8] = allocate((COARSE, COARSE, 3), np.uint8)
        self._grey: NDArray[np.uint8] = allocate((HEIGHT, WIDTH), np.uint8)
        self._edges: NDArray[np.float32] = allocate((HEIGHT, WIDTH), np.float32)

    def picture(
        self,
        frame: NDArray[np.uint8],
        people: tuple[Detection, ...],
        faces: tuple[Face, ...],
        newest: tuple[tuple[Detection, ...], tuple[Face, ...]] | None = None,
    ) -> Picture:
        """Return a frame as it may be looked at.

        Args:
            frame: (H, W, 3) uint8 BGR.
            people: all that was found in it and just before it, however unsure.
            faces: likewise.
            newest: what was found in this frame alone; by default all of the above.
        """
        coarse = is_unsure(*(newest or (people, faces)))
        view = self._fitted(frame)
        if coarse:
            self._coarsen(view, (0, 0, view.shape[1], view.shape[0]), COARSE)
        else:
            for person in people:
                self._coarsen(view, _grown(person.box, PERSON_GROWN, view.shape), CELLS)
            for face in faces:
                self._coarsen(view, _grown(face.box, FACE_GROWN, view.shape), CELLS)
        jpeg: bytes = simplejpeg.encode_jpeg(
            np.ascontiguousarray(view), quality=QUALITY, colorspace="BGR", colorsubsampling="420"
        )
        return Picture(jpeg, coarse)

    def scene(self, frame: NDArray[np.uint8]) -> Scene:
        """Return numbers about a frame: (H, W, 3) uint8 BGR."""
        view = self._fitted(frame)
        height, width = view.shape[:2]
        grey = self._grey[:height, :width]
        cv2.cvtColor(view, cv2.COLOR_BGR2GRAY, dst=grey)
        edges = self._edges[:height, :width]
        cv2.Laplacian(grey, cv2.CV_32F, dst=edges)
        spread = float(grey.std())
        focus = float(np.percentile(np.abs(edges), 99)) / (4 * spread + 1)
        cells = grey[: height // 12 * 12, : width // 12 * 12].reshape(height // 12, 12, -1, 12)
        flat = float((cells.std(axis=(1, 3)) < 2.0).mean())
        return Scene(focus, float(grey.mean()) / 255, float((grey > 250).mean()), flat, _tilt(grey))

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        for buffer in (self._small, self._cells, self._grey, self._edges):
            buffer.fill(0)

    def _fitted(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        height, width = frame.shape[:2]
        share = min(WIDTH / width, HEIGHT / height, 1.0)
        shown = max(1, round(share * width)), max(1, round(share * height))
        view = self._small[: shown[1], : shown[0]]
        cv2.resize(frame, shown, dst=view, interpolation=cv2.INTER_AREA)
        return view

    def _coarsen(self, view: NDArray[np.uint8], box: tuple[int, int, int, int], most: int) -> None:
        """Replace a part by at most `most` cells along its longer side."""
        left, top, right, bottom = box
        part = view[top:bottom, left:right]
        if part.size == 0:
            return
        longer = max(part.shape[:2])
        columns = max(1, round(most * part.shape[1] / longer))
        rows = max(1, round(most * part.shape[0] / longer))
        cells = self._cells[:rows, :columns]
        cv2.resize(part, (columns, rows), dst=cells, interpolation=cv2.INTER_AREA)
        cv2.resize(cells, (part.shape[1], part.shape[0]), dst=part, interpolation=cv2.INTER_NEAREST)


def covered(
    shape: tuple[int, ...], people: tuple[Detection, ...], faces: tuple[Face, ...]
) -> NDArray[np.bool_]:
    """Return which pixels of a picture of some shape become coarse where these were found."""
    mask = np.zeros(shape[:2], np.bool_)
    boxes = [_grown(person.box, PERSON_GROWN, shape) for person in people]
    boxes += [_grown(face.box, FACE_GROWN, shape) for face in faces]
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def _grown(box: Any, share: float, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return a box, as fractions of the picture, grown and in pixels of it."""
    height, width = shape[:2]
    dx, dy = share * (box.right - box.left), share * (box.bottom - box.top)
    return (
        max(0, int((box.left - dx) * width)),
        max(0, int((box.top - dy) * height)),
        min(width, int((box.right + dx) * width) + 1),
        min(height, int((box.bottom + dy) * height) + 1),
    )


def _tilt(grey: NDArray[np.uint8]) -> float | None:
    """Return how far nearly upright edges lean on average, in degrees; None where there are few."""
    lines = cv2.HoughLinesP(
        cv2.Canny(grey, 60, 180), 1, np.pi / 180, threshold=40,
        minLineLength=grey.shape[0] // 5, maxLineGap=4,
    )  # fmt: skip
    if lines is None:
        return None
    ends = lines.reshape(-1, 4).astype(np.float64)
    dx, dy = ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]
    leans = np.degrees(np.arctan2(dx * np.sign(dy + 1e-9), np.abs(dy)))
    upright = np.abs(leans) < 20
    if upright.sum() < 3:
        return None
    return float(np.average(leans[upright], weights=np.hypot(dx, dy)[upright]))
