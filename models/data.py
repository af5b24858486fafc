"""Where the recordings for training and measuring are; none of them is part of the project."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

DATA = Path(__file__).parents[2] / "shared" / "data"


def recordings(text: str) -> Path:
    """Return the folder of the recordings that a command line names; a type for argparse.

    Raises:
        argparse.ArgumentTypeError: there is no such folder.
    """
    folder = Path(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(
            f"{folder}: no such folder; give the one that has the recordings"
        )
    return folder


def frames(video: Path) -> Iterator[Any]:
    """Yield a video's frames, (H, W, 3) uint8 BGR.

    Raises:
        FileNotFoundError: it cannot be opened.
    """
    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise FileNotFoundError(f"{video}: no such video; the recordings are not there")
    while True:
        more, frame = capture.read()
        if not more:
            return
        yield frame
