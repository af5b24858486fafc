"""How well masks are judged, by the agent's own code: faces found, and what they wear."""

import csv
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent import config
from edge_agent.core.geometry import overlap
from edge_agent.core.observation import Box, Face, Mask
from edge_agent.pixels.faces import FaceWatcher, MaskClassifier
from edge_agent.pixels.networks import Networks

COLUMNS = ("image", "label", "xmin", "ymin", "xmax", "ymax")
SAID: dict[str, Mask] = {"mask": "mask", "no_mask": "no_mask", "incorrect_mask": "incorrect"}
SMALLEST_PX = 24.0
SIZES = ((0.0, 24.0), (24.0, 32.0), (32.0, 48.0), (48.0, 96.0), (96.0, float("inf")))
SAME = 0.4
"""IoU from which a face that was found is the one that is labelled."""


TURNED = 0.25
"""From this turn a face counts as turned (`pixels.faces`): about 25 degrees."""
DARK = 70.0
"""Mean grey of a face's lower half, of 255, below which it counts as dark."""


class BoxesError(ValueError):
    """The labels cannot be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled face: left, top, right, bottom in pixels."""

    image: str
    label: str
    box: tuple[float, float, float, float]

    @property
    def px(self) -> float:
        """Its shorter side."""
        left, top, right, bottom = self.box
        return min(right - left, bottom - top)


@dataclass(slots=True)
class Score:
    """Counts over some faces, by label.

    Attributes:
        faces: labelled.
        found: of them, by the detector.
        right: of those, judged as labelled.
        told: of all of them, judged as labelled when the label's own box is judged.
        said: what each labelled face that was found was said to wear.
    """

    faces: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    said: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in SAID}
    )

    def add(self, label: str, said: Mask | None, alone: Mask) -> None:
        """Take a labelled face in: what was said of it (None: not found), and of its own box."""
        self.faces[label] += 1
        self.told[label] += alone == SAID[label]
        if said is not None:
            self.found[label] += 1
            self.right[label] += said == SAID[label]
            self.said[label][said] += 1

    def report(self) -> dict[str, Any]:
        """Return the counts as what is printed; a recall over no face is None."""
        return {
            "faces": {name: self.faces[name] for name in SAID},
            "found": {name: self.found[name] for name in SAID},
            "recall_end_to_end": self._recall(self.right),
            "recall_classifier": self._recall(self.told),
            "confusion": {name: dict(said) for name, said in self.said.items()},
        }

    def _recall(self, hits: Counter[str]) -> dict[str, float | None]:
        return {
            name: round(hits[name] / self.faces[name], 4) if self.faces[name] else None
            for name in SAID
        }


def read(path: Path) -> list[Labelled]:
    """Return the faces of a table with the columns image, label, xmin, ymin, xmax, ymax.

    Raises:
        BoxesError: it is not such a table.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise BoxesError(f"{path}: cannot be read ({error})") from None
    found = []
    for number, row in enumerate(rows, start=2):
        if any(row.get(name) is None for name in COLUMNS):
            raise BoxesError(f"{path}: expected the columns {', '.join(COLUMNS)}")
        if row["label"] not in SAID:
            raise BoxesError(
                f"{path}, line {number}: expected one of {', '.join(SAID)}, got {row['label']}"
            )
        try:
            left, top, right, bottom = (float(row[name]) for name in COLUMNS[2:])
        except ValueError:
            raise BoxesError(f"{path}, line {number}: expected a box in pixels") from None
        if not (left < right and top < bottom):  # not a number is neither
            raise BoxesError(
                f"{path}, line {number}: expected xmin < xmax and ymin < ymax, got"
                f" {left:g},{top:g},{right:g},{bottom:g}"
            )
        found.append(Labelled(row["image"], row["label"], (left, top, right, bottom)))
    if not found:
        raise BoxesError(f"{path}: no face in it")
    return found


def evaluate(images: Path, boxes: Path, settings: config.Detector) -> dict[str, Any]:
    """Return how many faces are found and judged as labelled.

    The figures are of faces whose shorter side is at least `SMALLEST_PX`; `by_size` has all. Those
    `by_condition` overlap; turned and facing are of faces found alone.

    Raises:
        BoxesError: a table or a picture cannot be used.
        WeightsError: a model cannot be used.
    """
    networks = Networks(settings)
    watcher = networks.faces(np.zeros, masks=True)
    classifier = networks.masks(np.zeros)
    whole, sizes = Score(), [Score() for _ in SIZES]
    conditions = {name: Score() for name in ("facing", "turned", "dark below")}
    labelled = sorted(read(boxes), key=lambda face: face.image)
    for name, group in groupby(labelled, key=lambda face: face.image):
        path = images / name
        picture = cv2.imread(str(path)) if path.is_file() else None
        if picture is None:
            raise BoxesError(f"{path}: expected a picture; give the folder that has them all")
        for face, seen, alone in _judged(picture, list(group), watcher, classifier):
            into = [sizes[i] for i, (low, high) in enumerate(SIZES) if low <= face.px < high]
            if face.px >= SMALLEST_PX:
                into += [whole, *(conditions[name] for name in _conditions(picture, face, seen))]
            for score in into:
                score.add(face.label, None if seen is None else seen.mask, alone)
    by_size = {
        f"{low:g} to {high:g} px" if high < float("inf") else f"from {low:g} px": score.report()
        for (low, high), score in zip(SIZES, sizes, strict=True)
    }
    by_condition = {name: score.report() for name, score in conditions.items()}
    return {
        "smallest_px": SMALLEST_PX, **whole.report(),
        "by_size": by_size, "by_condition": by_condition,
    }  # fmt: skip


def _conditions(picture: Any, labelled: Labelled, seen: Face | None) -> list[str]:
    """Return under which conditions a face is seen; its turn is known only of a face found."""
    left, top, right, bottom = (max(0, round(value)) for value in labelled.box)
    found = []
    if seen is not None:
        found.append("turned" if abs(seen.turn) >= TURNED else "facing")
    lower = picture[(top + bottom) // 2 : bottom, left:right]
    if lower.size and float(lower.mean()) < DARK:
        found.append("dark below")
    return found


def _judged(
    picture: Any,
    labelled: list[Labelled],
    watcher: FaceWatcher,
    classifier: MaskClassifier,
) -> list[tuple[Labelled, Face | None, Mask]]:
    """Return each labelled face with the one found (None: none), and what its own box wears."""
    height, width = picture.shape[:2]
    found = watcher.watch(picture)
    truth = [
        Box(f.box[0] / width, f.box[1] / height, f.box[2] / width, f.box[3] / height)
        for f in labelled
    ]
    pairs = sorted(
        ((overlap(t, f.box)[0], i, j) for i, t in enumerate(truth) for j, f in enumerate(found)),
        reverse=True,
    )
    matched: dict[int, int] = {}
    for iou, i, j in pairs:
        if iou >= SAME and i not in matched and j not in matched.values():
            matched[i] = j
    return [
        (
            face,
            found[matched[i]] if i in matched else None,
            classifier.likeliest(picture, np.array(face.box, np.float32))[0],
        )
        for i, face in enumerate(labelled)
    ]
