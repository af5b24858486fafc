"""The decoder: a process of its own that opens one source and fills slots of shared memory.

Started by `keeper`; it can be killed at any time, and it dies with its parent. It says nothing but
which slot is filled, when, and how large pictures are::

    capture ──► credit (1 byte: a slot's number)          decoder
    capture ◄── OPEN (size, rate, memory) | FRAME (slot, instant, index) | END | FAILED (why)

A file is decoded ahead as far as there are credits. A camera or a stream is grabbed all the time,
and what nobody has a credit for is never decoded: a frame handed over is always the newest.
"""

import array
import json
import os
import signal
import socket
import struct
import sys
import time
from enum import IntEnum
from typing import Any

import cv2
import numpy as np

from edge_agent import sandbox
from edge_agent.pixels.frames import Ring
from edge_agent.pixels.keeper import Order

MESSAGE = struct.Struct("<BBqqIId")
"""Kind, slot, captured (monotonic ns), index, width, height, frames a second."""
OPEN_WITHIN_MS = 10_000


class Kind(IntEnum):
    """What a message of the decoder says."""

    OPEN = 1
    FRAME = 2
    END = 3
    FAILED = 4


def _open(order: Order) -> Any:
    if order.source.startswith(("rtsp://", "rtsps://")):
        options = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = options
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_WITHIN_MS]
        return cv2.VideoCapture(order.source, cv2.CAP_FFMPEG, timeouts)
    if not order.live:
        return cv2.VideoCapture(order.source)
    capture = cv2.VideoCapture(order.source, cv2.CAP_V4L2)
    for prop, value in (
        (cv2.CAP_PROP_FRAME_WIDTH, order.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, order.height),
        (cv2.CAP_PROP_FPS, order.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ):
        if value is not None:
            capture.set(prop, value)
    return capture


class Decoder:
    """One open source and the socket to vision."""

    def __init__(self, order: Order, link: socket.socket) -> None:
        self._order = order
        self._link = link
        self._index = 0
        self._begun_s = 0.0
        self._unused: int | None = None

    def run(self) -> None:
        """Open the source, then hand frames over until it ends or vision goes."""
        capture = _open(self._order)
        grabbed = capture.isOpened() and capture.grab()
        more, first = capture.retrieve() if grabbed else (False, None)
        if not more or first is None or first.ndim != 3:
            self._send(Kind.FAILED)
            return
        height, width = first.shape[:2]
        first.fill(0)
        descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, self._order.slots * height * width * 3)
        ring = Ring(descriptor, self._order.slots, height, width)
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        opened = MESSAGE.pack(Kind.OPEN, 0, 0, 0, width, height, rate)
        rights = array.array("i", [descriptor])
        self._link.sendmsg([opened], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        if self._order.live:
            self._follow(capture, ring)
        else:
            self._play(ring)

    def _play(self, ring: Ring) -> None:
        """Decode a file from its beginning, a frame for each credit."""
        self._begun_s = time.monotonic()
        while True:
            capture = _open(self._order)
            started_at = self._index
            while (slot := self._credit()) is not None:
                self._wait_for_turn()
                if not self._read(capture, ring, slot):
                    break
            else:
                return
            if not self._order.loop or self._index == started_at:
                self._send(Kind.END)
                return
            self._unused = slot

    def _credit(self) -> int | None:
        if self._unused is not None:
            slot, self._unused = self._unused, None
            return slot
        credit = self._link.recv(1)
        return credit[0] if credit else None

    def _wait_for_turn(self) -> None:
        if self._order.pace_fps:
            due_s = self._begun_s + self._index / self._order.pace_fps
            time.sleep(max(0.0, due_s - time.monotonic()))

    def _follow(self, capture: Any, ring: Ring) -> None:
        """Grab a camera's frames as they come; decode one when there is a credit."""
        self._link.setblocking(False)
        slot: int | None = None
        while capture.grab():
            captured_ns = time.monotonic_ns()
            if slot is None:
                try:
                    credit = self._link.recv(1)
                except BlockingIOError:
                    continue
                if not credit:
                    return
                slot = credit[0]
            if self._take(capture.retrieve(ring.slot(slot)), ring, slot):
                self._send(Kind.FRAME, slot, captured_ns)
                slot = None
            else:
                break
        self._send(Kind.END)

    def _read(self, capture: Any, ring: Ring, slot: int) -> bool:
        begin_ns = time.monotonic_ns()
        if not self._take(capture.read(ring.slot(slot)), ring, slot):
            return False
        self._send(Kind.FRAME, slot, begin_ns)
        return True

    @staticmethod
    def _take(read: tuple[bool, Any], ring: Ring, slot: int) -> bool:
        """Make sure that the frame is in its slot and nowhere else that we hold."""
        more, frame = read
        if not more:
            return False
        target = ring.slot(slot)
        if frame.shape != target.shape:
            frame.fill(0)
            return False
        if not np.shares_memory(frame, target):
            np.copyto(target, frame)
            frame.fill(0)
        return True

    def _send(self, kind: Kind, slot: int = 0, captured_ns: int = 0) -> None:
        self._link.setblocking(True)
        self._link.send(MESSAGE.pack(kind, slot, captured_ns, self._index, 0, 0, 0.0))
        if self._order.live:
            self._link.setblocking(False)
        if kind is Kind.FRAME:
            self._index += 1


def main() -> None:
    """Decode what standard input asks for."""
    sandbox.die_with_parent(signal.SIGKILL)
    sandbox.forbid_dumps()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        Decoder(Order(**json.load(sys.stdin)), link).run()
    except (BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()
