"""The second door out of the pixel wall, open while a device is installed and at no other time.

Frames go the same way as ever (`pixels.source`): what looks at them here also makes the coarse
picture of `pixels.blurred`, before the frame is zeroised.
"""

import time
from collections import deque
from typing import Any

from numpy.typing import NDArray

from edge_agent import config
from edge_agent.core.observation import Detection, Face
from edge_agent.pixels.blurred import Blurrer, Picture, Scene
from edge_agent.pixels.faces import FaceWatcher
from edge_agent.pixels.keeper import Keeper
from edge_agent.pixels.looker import Allocate
from edge_agent.pixels.networks import Networks
from edge_agent.pixels.overhead import OverheadDetector
from edge_agent.pixels.source import FrameDetector, Looks, Source, SourceError, opening

__all__ = ["Looking", "Picture", "Scene", "SourceError", "open_preview"]

PICTURE_EVERY_S = 0.2
HELD_LOOKS = 5
"""Who was found a moment ago stays covered: a network blinks, people do not."""


class Looking:
    """Finds people and faces, and makes the picture that may be seen."""

    def __init__(
        self,
        people: FrameDetector,
        counted: FrameDetector | None,
        faces: FaceWatcher,
        blurrer: Blurrer,
    ) -> None:
        self._people, self._counted, self._faces = people, counted, faces
        self._blurrer = blurrer
        self._held: deque[tuple[tuple[Detection, ...], tuple[Face, ...]]] = deque(maxlen=HELD_LOOKS)
        self._made_s = 0.0
        self.invoke_s = 0.0
        self.newest: tuple[Picture, Scene] | None = None
        """The newest picture that may be seen, and what is told of it in numbers."""

    def detect(self, frame: NDArray[Any]) -> tuple[Detection, ...]:
        """Find people in a (H, W, 3) uint8 BGR frame, and make a picture of it now and then."""
        found, faces = self._people.detect(frame), self._faces.watch(frame)
        self.invoke_s = self._people.invoke_s + self._faces.invoke_s
        moving = self._counted.detect(frame) if self._counted else found
        self._held.append((found if self._counted is None else (*found, *moving), faces))
        now_s = time.monotonic()
        if now_s - self._made_s >= PICTURE_EVERY_S and len(self._held) == HELD_LOOKS:
            self._made_s = now_s
            people = tuple(one for looks, _ in self._held for one in looks)
            held = tuple(one for _, looks in self._held for one in looks)
            now = self._held[-1]
            picture = self._blurrer.picture(frame, people, held, newest=now)
            self.newest = picture, self._blurrer.scene(frame)
            self._blurrer.zeroise()  # nothing comes that would overwrite it for several frames
        return moving

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        self._people.zeroise()
        self._faces.zeroise()
        self._blurrer.zeroise()
        if self._counted:
            self._counted.zeroise()


def open_preview(
    camera: config.Camera,
    replay: config.Replay,
    detector: config.Detector,
    keeper: Keeper | None = None,
) -> tuple[Source, Looking]:
    """Open a camera; return its observations, and what holds the newest picture meanwhile.

    Raises:
        SourceError: the camera or the networks cannot be used.
    """
    made: list[Looking] = []

    def look(allocate: Allocate) -> FrameDetector:
        networks = Networks(detector)
        overhead = OverheadDetector(allocate) if camera.view == "overhead" else None
        made.append(
            Looking(
                networks.people(allocate), overhead, networks.faces(allocate, masks=False),
                Blurrer(allocate),
            )
        )  # fmt: skip
        return made[0]

    with opening(camera):
        source = Source(camera, replay, Looks(look), keeper)
    return source, made[0]
