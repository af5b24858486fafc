"""What comes out of the pixel wall: boxes and numbers, never a picture.

Image coordinates are normalised: x and y run from 0 to 1 over the picture's width and height::

    (0, 0) ──────────► x = 1
      │    ┌─────┐
      │    │     │ box
      ▼    └──•──┘ foot: bottom centre
    y = 1
"""

from dataclasses import dataclass
from typing import Literal

Mask = Literal["mask", "no_mask", "incorrect", "unknown"]
"""What one look at a face says of a mask; `incorrect` is worn, but not over nose and mouth."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle, normalised, `left < right` and `top < bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width as a fraction of the picture's."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height as a fraction of the picture's."""
        return self.bottom - self.top

    @property
    def foot(self) -> tuple[float, float]:
        """Bottom centre: where a standing person touches the floor."""
        return (self.left + self.right) / 2, self.bottom

    def stretched(self, aspect: float) -> "Box":
        """Return the box in isotropic coordinates: a picture that is `aspect` wide and 1 high."""
        return Box(self.left * aspect, self.top, self.right * aspect, self.bottom)


@dataclass(frozen=True, slots=True)
class Detection:
    """One person in one frame: a box and the detector's score in 0..1."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one frame, with nothing by which it could be told from another.

    Attributes:
        box: where.
        score: of the detector, in 0..1.
        turn: how far the nose points to the picture's right, in ways from eyes to mouth.
        tilt: how low it points, in the same unit.
        mask: what it wears.
    """

    box: Box
    score: float
    turn: float
    tilt: float
    mask: Mask


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame showed, or that none came.

    Attributes:
        at_s: event time of the frame's capture, seconds since 1970 UTC.
        aspect: the picture's width divided by its height.
        detections: the people found.
        faces: those found, where a module looks for them.
        seen: False where no frame could be judged (lost, late or unreadable): time went on, but
            nobody looked, and release rule R14 counts the gap.
    """

    at_s: float
    aspect: float
    detections: tuple[Detection, ...] = ()
    faces: tuple[Face, ...] = ()
    seen: bool = True
