"""Where the recordings for training and measuring are; none of them is part of the project."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

DATA = Path(__file__).parents[2] / "shared" / "data"


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
