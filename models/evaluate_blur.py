"""How often somebody stays readable in the picture of the installation assistant.

Each picture is taken alone, though the assistant also covers whoever was found in the five looks
before. A face, or a person's silhouette, is readable where the picture is not coarse throughout and
less than a share of its labelled box is covered by coarse cells.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent import config
from edge_agent.pixels import blurred
from edge_agent.pixels.networks import Networks
from models.evaluate_masks import BoxesError

SMALLEST_PX = 12.0
FACE_COVERED, BODY_COVERED = 0.7, 0.5
Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Readable:
    """Who stayed readable.

    Attributes:
        pictures: looked at.
        coarse: of them, coarse throughout.
        shown: faces of at least 12 pixels, or people, labelled in all of them.
        readable: of these, left readable.
    """

    pictures: int = 0
    coarse: int = 0
    shown: int = 0
    readable: int = 0
    percent: float = 0.0


def evaluate_faces(images: Path, boxes: Path) -> Readable:
    """Return how many labelled faces stay readable in a folder of pictures.

    Raises:
        BoxesError: the table or a picture cannot be read.
    """
    labelled: dict[str, list[Box]] = defaultdict(list)
    try:
        with boxes.open(newline="") as table:
            for row in csv.DictReader(table):
                box = tuple(float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
                labelled[row["image"]].append((box[0], box[1], box[2], box[3]))
    except (OSError, KeyError, ValueError) as error:
        raise BoxesError(f"{boxes}: cannot be read as a table of boxes ({error})") from None

    def pictures() -> Iterator[tuple[NDArray[Any], list[Box]]]:
        for name, found in labelled.items():
            picture = cv2.imread(str(images / name))
            if picture is None:
                raise BoxesError(f"{images / name}: no such picture")
            yield picture, [b for b in found if b[2] - b[0] >= SMALLEST_PX]

    return _evaluate(pictures(), FACE_COVERED)


def evaluate_people(video: Path, truth: Path, every: int = 6) -> Readable:
    """Return how many labelled people stay readable in every so many frames of a video.

    Raises:
        BoxesError: the video or its labels (MOT15) cannot be read.
    """
    labelled: dict[int, list[Box]] = defaultdict(list)
    try:
        for line in truth.read_text().splitlines():
            frame, _, x, y, width, height, *_ = map(float, line.split(","))
            labelled[int(frame)].append((x, y, x + width, y + height))
    except (OSError, ValueError) as error:
        raise BoxesError(f"{truth}: cannot be read as labels ({error})") from None

    def pictures() -> Iterator[tuple[NDArray[Any], list[Box]]]:
        film = cv2.VideoCapture(str(video))
        number = 0
        while True:
            there, picture = film.read()
            if not there:
                return
            number += 1
            if number % every == 0:
                yield picture, labelled[number]

    return _evaluate(pictures(), BODY_COVERED)


def _evaluate(pictures: Iterable[tuple[NDArray[Any], list[Box]]], enough: float) -> Readable:
    networks, score = Networks(config.Detector()), Readable()
    people, faces = networks.people(np.zeros), networks.faces(np.zeros, masks=False)
    for picture, labelled in pictures:
        found, seen = people.detect(picture), faces.watch(picture)
        score.pictures += 1
        score.shown += len(labelled)
        if blurred.is_unsure(found, seen):
            score.coarse += 1
            continue
        covered = blurred.covered(picture.shape, found, seen)
        score.readable += sum(_share(covered, box) < enough for box in labelled)
    score.percent = round(100 * score.readable / max(1, score.shown), 2)
    return score


def _share(covered: NDArray[np.bool_], box: Box) -> float:
    left, top, right, bottom = (max(0, round(value)) for value in box)
    part = covered[top : max(bottom, top + 1), left : max(right, left + 1)]
    return float(part.mean()) if part.size else 1.0
