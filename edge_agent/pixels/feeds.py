"""Where the decoder's frames come from, one class a kind of source.

A feed first grabs, which waits for the next frame and tells when it was captured, and then fills a
slot with it, or is asked to grab again: what was grabbed and not filled is never decoded.

Intra-only feeds (`JpegFile` and `intra.V4l2Camera`) hold a frame in buffers of ours alone, and
leave none behind: the packet is zeroised as soon as it is decoded. `OpenCvFeed` cannot: a codec
with reference frames keeps some, for as long as docs/privacy-proof.md says.
"""

import os
import time
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge_agent.pixels.frames import Arena
from edge_agent.pixels.keeper import Order

OPEN_WITHIN_MS = 10_000
JPEG_SUFFIXES = (".mjpeg", ".mjpg")
LARGEST_PACKET = 2 * 1024 * 1024
JPEG_BEGIN, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class FeedError(RuntimeError):
    """The source shows no picture."""


class Feed(Protocol):
    """Frames of one source.

    Attributes:
        size: (height, width) of the picture in pixels.
        rate_fps: what the source says of its rate; 0 where it does not.
    """

    size: tuple[int, int]
    rate_fps: float

    def grab(self) -> int | None:
        """Wait for the next frame; return its instant (monotonic ns), or None at the end."""
        ...

    def fill(self, slot: NDArray[np.uint8]) -> bool:
        """Decode the grabbed frame into a (H, W, 3) uint8 BGR slot; return whether it could be."""
        ...

    def close(self) -> None:
        """Let the source go, and leave nothing of it in memory."""
        ...


class OpenCvFeed:
    """A file or a stream in any coding that FFmpeg knows."""

    def __init__(self, order: Order) -> None:
        """Open the source.

        Raises:
            FeedError: it shows no picture.
        """
        if order.source.startswith(("rtsp://", "rtsps://")):
            options = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
            os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = options
            within = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_WITHIN_MS]
        else:
            within = []
        # One thread: each further one would keep a frame more.
        settings = [cv2.CAP_PROP_N_THREADS, 1, *within]
        self._capture = cv2.VideoCapture(order.source, cv2.CAP_FFMPEG, settings)
        self.rate_fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        grabbed = self._capture.isOpened() and self._capture.grab()
        more, first = self._capture.retrieve() if grabbed else (False, None)
        if not more or first is None or first.ndim != 3:
            raise FeedError
        self.size = first.shape[:2]
        first.fill(0)
        self._live = order.live
        self._again = not order.live

    def grab(self) -> int | None:
        """Wait for the next frame; a file's first one is still there from opening it.

        A stream's instant is when its frame came; a file's, when we began to read it.
        """
        begin_ns = time.monotonic_ns()
        if self._again:
            self._again = False
            return begin_ns
        if not self._capture.grab():
            return None
        return time.monotonic_ns() if self._live else begin_ns

    def fill(self, slot: NDArray[np.uint8]) -> bool:
        """Decode into the slot, and make sure that the frame is nowhere else that we hold."""
        more, frame = self._capture.retrieve(slot)
        if not more:
            return False
        if frame.shape != slot.shape:
            frame.fill(0)
            return False
        if not np.shares_memory(frame, slot):
            np.copyto(slot, frame)
            frame.fill(0)
        return True

    def close(self) -> None:
        """Let FFmpeg free what it holds; MALLOC_PERTURB_ overwrites it."""
        self._capture.release()


class Packet:
    """One buffer for one coded picture, locked, zeroised after use, never copied."""

    def __init__(self, size: int = LARGEST_PACKET) -> None:
        self._arena = Arena(size)
        self.bytes: NDArray[np.uint8] = self._arena.array((size,), np.uint8)
        self._used = 0

    def view(self, size: int) -> memoryview:
        """Return the first bytes as a view that can be read into and decoded from."""
        self._used = max(self._used, size)
        return memoryview(self.bytes)[:size]  # type: ignore[arg-type]

    def zeroise(self) -> None:
        """Overwrite what was used."""
        self._arena.zeroise(self._used)
        self._used = 0


def decode_jpeg(packet: Any, slot: NDArray[np.uint8]) -> bool:
    """Decode a JPEG straight into a slot; return whether it is one of that size."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(packet)
        if (height, width) != slot.shape[:2]:
            return False
        simplejpeg.decode_jpeg(packet, "BGR", buffer=slot)
    except ValueError:
        return False
    return True


class JpegFile:
    """A file of JPEG pictures one after the other: what an intra-only camera would send."""

    def __init__(self, order: Order) -> None:
        """Find the pictures' places without keeping a byte of them.

        Raises:
            FeedError: it holds none.
        """
        self._packet = Packet()
        self._descriptor = os.open(order.source, os.O_RDONLY)
        self._places = self._find()
        self._next = 0
        self._grabbed: tuple[int, int] | None = None
        self.rate_fps = 0.0
        try:
            first = self._read(self._places[0])
            height, width, _, _ = simplejpeg.decode_jpeg_header(first)
        except (IndexError, ValueError):
            raise FeedError from None
        finally:
            self._packet.zeroise()
        self.size = (height, width)

    def _find(self) -> list[tuple[int, int]]:
        """Return offset and size of each picture; a marker is never part of coded data."""
        size = os.fstat(self._descriptor).st_size
        begins: list[int] = []
        at, step = 0, LARGEST_PACKET
        while at < size:
            block = self._packet.view(min(step, size - at))
            os.preadv(self._descriptor, [block], at)
            data = self._packet.bytes[: len(block)]
            marks = np.flatnonzero((data[:-2] == 0xFF) & (data[1:-1] == 0xD8) & (data[2:] == 0xFF))
            begins += [
                at + int(mark) for mark in marks if not begins or at + int(mark) > begins[-1]
            ]
            at += max(1, len(block) - 2)
            if len(block) < step:
                break
        self._packet.zeroise()
        ends = [*begins[1:], size]
        return [(a, b - a) for a, b in zip(begins, ends, strict=True) if b - a <= LARGEST_PACKET]

    def _read(self, place: tuple[int, int]) -> memoryview:
        offset, size = place
        view = self._packet.view(size)
        os.preadv(self._descriptor, [view], offset)
        return view

    def grab(self) -> int | None:
        """Go on to the next picture."""
        if self._next >= len(self._places):
            return None
        self._grabbed = self._places[self._next]
        self._next += 1
        return time.monotonic_ns()

    def fill(self, slot: NDArray[np.uint8]) -> bool:
        """Decode the picture into the slot, and zeroise its packet."""
        assert self._grabbed is not None  # noqa: S101 - for the type checker
        try:
            return decode_jpeg(self._read(self._grabbed), slot)
        finally:
            self._packet.zeroise()

    def close(self) -> None:
        """Close the file."""
        self._packet.zeroise()
        os.close(self._descriptor)


def is_jpeg_file(source: str) -> bool:
    """Return whether a source is a file of JPEG pictures."""
    return Path(source).suffix.lower() in JPEG_SUFFIXES and "://" not in source
