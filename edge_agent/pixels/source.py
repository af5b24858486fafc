"""The one door out of the pixel wall: a source yields observations, never a picture.

A frame's way: decoder → slot → tensor → detections → zeroised → `Observation`. From capture to
zeroised takes at most 100 ms: a frame that could not make it is zeroised and dropped unseen.
"""

import contextlib
import functools
import itertools
import math
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from numpy.typing import NDArray

from edge_agent import config
from edge_agent.core.observation import Detection, Face, Observation
from edge_agent.pixels.capture import Capture, Frame, SourceError, shown
from edge_agent.pixels.diagnosis import Finding, diagnose
from edge_agent.pixels.frames import Arena
from edge_agent.pixels.keeper import Keeper, KeeperError, is_live, order
from edge_agent.pixels.latency import BUDGET_MS, Health, Histogram, Stages
from edge_agent.pixels.looker import Allocate
from edge_agent.pixels.networks import Networks
from edge_agent.pixels.overhead import OverheadDetector
from edge_agent.pixels.runtime import RuntimeMissingError
from edge_agent.pixels.weights import WeightsError

__all__ = [
    "FacesWanted",
    "Finding",
    "Health",
    "Keeper",
    "Source",
    "SourceError",
    "check",
    "diagnose",
    "is_live",
    "open_source",
    "shown",
    "suggest_view",
]

ARENA_SIZE = 4 * 1024 * 1024
HEARTBEAT_S = 0.5
LONGEST_FPS = 240.0
SURE = 0.5
FEWEST_BODIES = 30
"""Bodies seen, one a frame each, before a view is suggested."""
BLIND_BELOW = 0.36
"""Measured on recordings: 0.27 to 0.30 from above, 0.42 to 0.92 from the side."""


class FrameDetector(Protocol):
    """What the source needs of a detector; `PersonDetector` is the real one."""

    invoke_s: float

    def detect(self, frame: NDArray[Any]) -> tuple[Detection, ...]:
        """Find people in a (H, W, 3) uint8 BGR frame."""
        ...

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        ...


class Faces(Protocol):
    """What the source needs of what looks for faces; `FaceWatcher` is the real one."""

    invoke_s: float

    def watch(self, frame: NDArray[Any]) -> tuple[Face, ...]:
        """Find faces in a (H, W, 3) uint8 BGR frame."""
        ...

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        ...


@dataclass(frozen=True, slots=True)
class FacesWanted:
    """Whether faces are looked for.

    Attributes:
        masks: whether masks are judged too.
        when: whether anything needs them at an instant, seconds since 1970 UTC.
    """

    masks: bool
    when: Callable[[float], bool] = lambda _at_s: True


@dataclass(frozen=True, slots=True)
class Looks:
    """What looks at each frame; each part is made with the arena that its pixels lie in.

    Attributes:
        people: finds people.
        faces: finds faces, where they are wanted.
        when: whether they are, at an instant, seconds since 1970 UTC.
    """

    people: Callable[[Allocate], FrameDetector]
    faces: Callable[[Allocate], Faces] | None = None
    when: Callable[[float], bool] = lambda _at_s: True


class Source:
    """Observations of one camera or file; a context manager and an iterator."""

    def __init__(
        self,
        camera: config.Camera,
        replay: config.Replay,
        looks: Looks,
        keeper: Keeper | None = None,
    ) -> None:
        self._live = is_live(camera.source)
        self._camera = camera
        self.arena = Arena(ARENA_SIZE)
        self._detector = looks.people(self.arena.array)
        self._faces = looks.faces(self.arena.array) if looks.faces else None
        self._wants_faces = looks.when
        self._faces_seen = False
        self._keeper = keeper or Keeper(order(camera, replay))
        try:
            self._capture = Capture(self._keeper, camera.stall_s)
        except (SourceError, KeeperError):
            self._keeper.close()
            raise
        self._aspect = self._capture.width / self._capture.height
        self._fps = 0.0 if self._live else self._file_rate()
        start = replay.start.timestamp() if replay.start else time.time()  # noqa: TID251 - door
        self._start_s = start
        self._latency = Histogram()
        self._late = 0
        self._overruns = 0
        self._stages = Stages()
        self._expected_ms = 0.0
        self._unscrubbed_ns: int | None = None

    def _file_rate(self) -> float:
        rate = self._camera.fps or self._capture.rate_fps
        if not (math.isfinite(rate) and 0 < rate <= LONGEST_FPS):
            self.close()
            raise SourceError(
                f"{shown(self._camera.source)}: expected a frame rate in the file, got {rate:g};"
                " set camera.fps to the rate it was shot at"
            )
        return rate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder and leave no pixel behind."""
        self._capture.close()
        self._keeper.close()
        self._forget()
        self.arena.zeroise()

    def __iter__(self) -> Iterator[Observation]:
        while True:
            frame = self._capture.next(HEARTBEAT_S)
            if frame is not None:
                observation = self._observe(frame)
                if not self._capture.is_ready():
                    self._scrub()  # before anybody counts: nothing comes that would overwrite
                yield observation
            elif self._capture.ended:
                self._scrub()
                return
            elif self._live:
                yield self._nothing_seen()

    def _observe(self, frame: Frame) -> Observation:
        """Look at a frame, zeroise it, and return what it showed.

        1. A frame that could not be zeroised in time is zeroised at once, unseen.
        2. Detect, and zeroise whatever happens.
        3. Only then give the slot back and say what was seen.
        """
        at_s = self._event_time(frame)
        begin_ns = time.monotonic_ns()
        age_ms = (begin_ns - frame.captured_ns) / 1e6
        # 1.
        if age_ms + self._expected_ms > BUDGET_MS:
            frame.lease.release()
            self._capture.give_back(frame)
            self._late += 1
            self._expected_ms *= 0.9  # one slow frame must not stop us for ever
            return Observation(at_s, self._aspect, seen=False)
        # 2.
        with frame.lease as picture:
            detections = self._detector.detect(picture)
            people_ns = time.monotonic_ns()
            faces, faces_network_s = self._look_for_faces(picture, at_s)
            faces_ns = time.monotonic_ns()
        self._stages.add(
            waited_s=(begin_ns - frame.captured_ns) / 1e9,
            people_s=(people_ns - begin_ns) / 1e9,
            faces_s=(faces_ns - people_ns) / 1e9,
            zeroised_s=(time.monotonic_ns() - faces_ns) / 1e9,
            networks_s=self._detector.invoke_s + faces_network_s,
        )
        self._account(begin_ns, frame.captured_ns)
        # 3.
        self._capture.give_back(frame)
        return Observation(at_s, self._aspect, detections, faces)

    def _look_for_faces(self, picture: NDArray[Any], at_s: float) -> tuple[tuple[Face, ...], float]:
        """Return the faces of a frame, and the time that networks took."""
        if self._faces is None:
            return (), 0.0
        if self._wants_faces(at_s):
            self._faces_seen = True
            return self._faces.watch(picture), self._faces.invoke_s
        if self._faces_seen:
            # Nothing overwrites the activations of the last look any more.
            self._faces.zeroise()
            self._faces_seen = False
        return (), 0.0

    def _account(self, begin_ns: int, captured_ns: int) -> None:
        """Keep the books: the last frame's activations are gone now, overwritten by this one's."""
        now_ns = time.monotonic_ns()
        if self._unscrubbed_ns is not None:
            self._zeroised(self._unscrubbed_ns, now_ns)
        self._unscrubbed_ns = captured_ns
        took_ms = (now_ns - begin_ns) / 1e6
        self._expected_ms += 0.1 * (took_ms - self._expected_ms)

    def _scrub(self) -> None:
        """Zeroise the tensor and the activations of the last frame, unless that is done."""
        if self._unscrubbed_ns is not None:
            self._forget()
            self._zeroised(self._unscrubbed_ns, time.monotonic_ns())
            self._unscrubbed_ns = None

    def _forget(self) -> None:
        self._detector.zeroise()
        if self._faces:
            self._faces.zeroise()

    def _zeroised(self, captured_ns: int, now_ns: int) -> None:
        took_ms = (now_ns - captured_ns) / 1e6
        self._latency.add(took_ms)
        self._overruns += took_ms > BUDGET_MS

    def _event_time(self, frame: Frame) -> float:
        if self._live:
            # Asked for each frame: the wall clock may be set while we run.
            return time.time() - time.monotonic() + frame.captured_ns / 1e9  # noqa: TID251
        return self._start_s + frame.index / self._fps

    def _nothing_seen(self) -> Observation:
        return Observation(time.time(), self._aspect, seen=False)  # noqa: TID251

    def health(self) -> Health:
        """Return how well frames were dealt with so far."""
        return Health(
            frames=self._latency.count,
            late=self._late,
            overruns=self._overruns,
            reconnects=self._capture.reconnects,
            p50_ms=self._latency.quantile(0.5),
            p99_ms=self._latency.quantile(0.99),
            max_ms=self._latency.max_ms,
            stages=self._stages,
        )

    def is_locked(self) -> bool:
        """Return whether all memory for pictures is locked, so that none can be swapped out."""
        return self.arena.locked and self._capture.is_locked()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self._capture.width, self._capture.height


def check(source: str) -> None:
    """Look whether a source can be opened at all, before anything is started.

    Raises:
        SourceError: it cannot.
    """
    if source.startswith(("rtsp://", "rtsps://")):
        return
    if "://" in source:
        scheme = source.partition("://")[0]
        raise SourceError(f"{shown(source)}: expected rtsp:// or rtsps://, got {scheme}://")
    path = Path(source)
    if not path.exists():
        hint = "is the camera plugged in?" if is_live(source) else "give a video file"
        raise SourceError(f"{source}: no such file; {hint}, /dev/videoN or rtsp://…")
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise SourceError(f"{source}: a folder; give a video file, /dev/videoN or rtsp://…")
    try:
        if not stat.S_ISFIFO(mode):
            path.open("rb").close()
    except OSError as error:
        raise SourceError(f"{source}: cannot be opened ({error.strerror})") from None
    if stat.S_ISREG(mode) and path.stat().st_size == 0:
        raise SourceError(f"{source}: empty; give a video file")


def open_source(
    camera: config.Camera,
    replay: config.Replay,
    detector: config.Detector,
    keeper: Keeper | None = None,
    faces: FacesWanted | None = None,
) -> Source:
    """Open a camera or a file with the detector that the configuration names.

    Args:
        camera: which, and how.
        replay: how a file stands in for one.
        detector: what finds people.
        keeper: of this camera's decoder, where it was started before; by default one is started.
        faces: whether faces are looked for; by default they are not.

    Raises:
        SourceError: the source or the detector cannot be used; one line says what to do.
    """
    with opening(camera):
        networks = Networks(detector)
        people = OverheadDetector if camera.view == "overhead" else networks.people
        looks = Looks(people)
        if faces:
            watching = functools.partial(networks.faces, masks=faces.masks)
            looks = Looks(people, watching, faces.when)
        return Source(camera, replay, looks, keeper)


@contextlib.contextmanager
def opening(camera: config.Camera) -> Iterator[None]:
    """Open a camera within this; whatever is missing is said in one way.

    Raises:
        SourceError: the camera or the networks cannot be used.
    """
    check(camera.source)
    try:
        yield
    except (WeightsError, RuntimeMissingError, KeeperError) as error:
        raise SourceError(str(error)) from None


class _Comparison:
    """Two detectors that look at the same frames: how many bodies are people to the other?"""

    def __init__(self, side: FrameDetector, overhead: FrameDetector) -> None:
        self._side, self._overhead = side, overhead
        self.invoke_s = 0.0
        self.bodies = 0
        self.people = 0

    def detect(self, frame: NDArray[Any]) -> tuple[Detection, ...]:
        """Compare, and hand nothing out."""
        boxes = [d.box for d in self._side.detect(frame) if d.score >= SURE]
        for body in self._overhead.detect(frame):
            x, y = body.box.foot
            self.bodies += 1
            self.people += any(b.left <= x <= b.right and b.top <= y <= b.bottom for b in boxes)
        return ()

    def zeroise(self) -> None:
        """Leave no pixel behind."""
        self._side.zeroise()
        self._overhead.zeroise()


def suggest_view(
    camera: config.Camera, replay: config.Replay, detector: config.Detector, looks: int = 200
) -> Literal["side", "overhead"] | None:
    """Return the view that suits what passes before a camera, or None where too little passed.

    From straight above, most bodies that move are no people to a person detector.

    Raises:
        SourceError: the source or the detector cannot be used.
    """
    comparing: list[_Comparison] = []

    def make(allocate: Allocate) -> FrameDetector:
        comparing.append(
            _Comparison(Networks(detector).people(allocate), OverheadDetector(allocate))
        )
        return comparing[0]

    with opening(camera), Source(camera, replay, Looks(make)) as source:
        for _ in itertools.islice(source, looks):
            pass
    bodies, people = comparing[0].bodies, comparing[0].people
    if bodies < FEWEST_BODIES:
        return None
    return "side" if people > BLIND_BELOW * bodies else "overhead"
