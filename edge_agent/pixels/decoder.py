"""The decoder: a process of its own that opens one source and fills slots of shared memory.

Started by `keeper`; it can be killed at any time, and it dies with its parent. It says nothing but
which slot is filled, when, and how large pictures are::

    capture ──► credit (1 byte: a slot's number)          decoder
    capture ◄── OPEN (size, rate, memory) | FRAME (slot, instant, index) | END | FAILED (why)

A file is decoded ahead as far as there are credits. A camera or a stream is grabbed all the time,
and what nobody has a credit for is never decoded: a frame handed over is always the newest.
"""

import array
import dataclasses
import json
import os
import signal
import socket
import struct
import sys
import time
from enum import IntEnum

import cv2

from edge_agent import sandbox
from edge_agent.pixels.feeds import Feed, FeedError, JpegFile, OpenCvFeed, is_jpeg_file
from edge_agent.pixels.frames import Ring
from edge_agent.pixels.intra import V4l2Camera
from edge_agent.pixels.keeper import Order, needs

MESSAGE = struct.Struct("<BBqqIId")
"""Kind, slot, captured (monotonic ns), index, width, height, frames a second."""


class Kind(IntEnum):
    """What a message of the decoder says."""

    OPEN = 1
    FRAME = 2
    END = 3
    FAILED = 4


def open_feed(order: Order) -> Feed:
    """Open a source with what suits it.

    Raises:
        FeedError: it shows no picture.
    """
    if order.source.startswith("/dev/"):
        return V4l2Camera(order)
    if is_jpeg_file(order.source):
        return JpegFile(order)
    return OpenCvFeed(order)


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
        try:
            feed = open_feed(self._order)
        except FeedError:
            self._send(Kind.FAILED)
            return
        height, width = feed.size
        descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, self._order.slots * height * width * 3)
        ring = Ring(descriptor, self._order.slots, height, width)
        opened = MESSAGE.pack(Kind.OPEN, 0, 0, 0, width, height, feed.rate_fps)
        rights = array.array("i", [descriptor])
        self._link.sendmsg([opened], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        if self._order.live:
            self._follow(feed, ring)
        else:
            self._play(feed, ring)

    def _play(self, feed: Feed, ring: Ring) -> None:
        """Decode a file, a frame for each credit."""
        self._begun_s = time.monotonic()
        while True:
            started_at = self._index
            while (slot := self._credit()) is not None:
                self._wait_for_turn()
                captured_ns = feed.grab()
                if captured_ns is None or not feed.fill(ring.slot(slot)):
                    break
                self._send(Kind.FRAME, slot, captured_ns)
            else:
                return
            feed.close()
            if not self._order.loop or self._index == started_at:
                self._send(Kind.END)
                return
            self._unused = slot
            feed = open_feed(self._order)

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

    def _follow(self, feed: Feed, ring: Ring) -> None:
        """Grab a camera's frames as they come; decode one when there is a credit."""
        self._link.setblocking(False)
        slot: int | None = None
        while (captured_ns := feed.grab()) is not None:
            if slot is None:
                try:
                    credit = self._link.recv(1)
                except BlockingIOError:
                    continue
                if not credit:
                    return
                slot = credit[0]
            if not feed.fill(ring.slot(slot)):
                break
            self._send(Kind.FRAME, slot, captured_ns)
            slot = None
        feed.close()
        self._send(Kind.END)

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
        asked = Order(**json.load(sys.stdin))
        needed = dataclasses.replace(needs(asked.source), programs=False)
        sandbox.confine(needed, lenient=asked.lenient)
        Decoder(asked, link).run()
    except (BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()
