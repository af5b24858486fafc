"""Vision's handle on the decoder: starts it, hands out frames, ends it when it hangs."""

import array
import os
import selectors
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_agent.pixels.decoder import MESSAGE, Kind
from edge_agent.pixels.frames import Lease, Ring
from edge_agent.pixels.keeper import Keeper

OPEN_WITHIN_S = 15.0
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0


class SourceError(RuntimeError):
    """The source cannot be used; the message is one line that says what to do."""


def shown(source: str) -> str:
    """Return a source as messages name it: without a name and password."""
    if "://" not in source or "@" not in source:
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@dataclass(frozen=True, slots=True)
class Frame:
    """A filled slot.

    Attributes:
        lease: the frame; leaving it zeroises it.
        slot: to be given back with `Capture.give_back` after that.
        captured_ns: monotonic instant of capture; of a file, of when its decoding began.
        index: frames handed over before this one, since the source was first opened.
    """

    lease: Lease
    slot: int
    captured_ns: int
    index: int


class _Decoder:
    """The socket to one decoder, and the memory shared with it."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.ring: Ring | None = None
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.link, selectors.EVENT_READ)

    def end(self) -> None:
        """Hang up; leave nothing in the memory that was shared. The process is gone already."""
        self.selector.close()
        self.link.close()
        if self.ring:
            self.ring.zeroise()


class Capture:
    """Frames of one source. A live source that is lost is opened again, with back-off."""

    def __init__(self, keeper: Keeper, stall_s: float) -> None:
        """Open the source.

        Raises:
            SourceError: it cannot be opened, or shows no picture.
        """
        self._keeper = keeper
        self._order = order = keeper.order
        self._stall_s = stall_s
        self._backoff_s = FIRST_BACKOFF_S
        self._retry_at_s = 0.0
        self._decoder: _Decoder | None = None
        self._heard_at_s = 0.0
        self._index = 0
        self.reconnects = 0
        self.width = 0
        self.height = 0
        self.rate_fps = 0.0
        self.ended = False
        self._begin()
        deadline_s = time.monotonic() + OPEN_WITHIN_S
        while self.width == 0:
            if self.ended or self._decoder is None:
                self.close()
                raise SourceError(self._not_a_source())
            if time.monotonic() > deadline_s:
                self.close()
                raise SourceError(f"{shown(order.source)}: no picture within {OPEN_WITHIN_S:.0f} s")
            self._hear(0.2)

    def _not_a_source(self) -> str:
        if self._order.live:
            return f"{shown(self._order.source)}: shows no picture; check that the camera is there"
        return f"{self._order.source}: not a video that can be read; give another file"

    def next(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None where none came in time; `ended` tells why."""
        if self._decoder is None and not self.ended and time.monotonic() >= self._retry_at_s:
            self.reconnects += 1
            self._begin()
        if self._decoder is None:
            if not self.ended:
                time.sleep(min(timeout_s, max(0.0, self._retry_at_s - time.monotonic())))
            return None
        frame = self._hear(timeout_s)
        if frame is None and self._decoder is not None:
            self._give_up_on_a_hang()
        return frame

    def give_back(self, frame: Frame) -> None:
        """Let the decoder fill a frame's slot again."""
        if self._decoder is not None:
            try:
                self._decoder.link.send(bytes([frame.slot]))
            except OSError:
                self._lost()

    def is_ready(self) -> bool:
        """Return whether a frame waits to be taken."""
        return self._decoder is not None and bool(self._decoder.selector.select(0))

    def is_locked(self) -> bool:
        """Return whether the slots shared with the decoder are locked."""
        return self._decoder is not None and bool(self._decoder.ring and self._decoder.ring.locked)

    def close(self) -> None:
        """End the decoder; nothing of its frames stays."""
        if self._decoder:
            self._keeper.kill()
            self._decoder.end()
            self._decoder = None

    def _begin(self) -> None:
        self._decoder = _Decoder(self._keeper.start())
        self._heard_at_s = time.monotonic()

    def _give_up_on_a_hang(self) -> None:
        assert self._decoder is not None  # noqa: S101 - for the type checker
        limit_s = self._stall_s if self._decoder.ring else OPEN_WITHIN_S
        if time.monotonic() - self._heard_at_s > limit_s:
            self._lost()

    def _lost(self) -> None:
        """End the decoder; a live source is opened again later, each time a little later."""
        self.close()
        if not self._order.live:
            self.ended = True
            return
        self._retry_at_s = time.monotonic() + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)

    def _hear(self, timeout_s: float) -> Frame | None:
        """Wait for one message of the decoder and do what it says."""
        decoder = self._decoder
        if decoder is None or not decoder.selector.select(timeout_s):
            return None
        room = socket.CMSG_LEN(array.array("i").itemsize)
        try:
            data, extra, _, _ = decoder.link.recvmsg(MESSAGE.size, room)
        except OSError:
            data, extra = b"", []
        if not data:
            self._lost()
            return None
        kind, slot, captured_ns, _, width, height, rate = MESSAGE.unpack(data)
        self._heard_at_s = time.monotonic()
        if kind == Kind.OPEN:
            (descriptor,) = array.array("i", extra[0][2])
            self._opened(decoder, descriptor, (width, height, rate))
        elif kind == Kind.FRAME and decoder.ring:
            self._backoff_s = FIRST_BACKOFF_S
            self._index += 1
            return Frame(decoder.ring.lease(slot), slot, captured_ns, self._index - 1)
        elif kind == Kind.END and not self._order.live:
            self.close()
            self.ended = True
        else:
            self._lost()
        return None

    def _opened(self, decoder: _Decoder, descriptor: int, size: tuple[int, int, float]) -> None:
        self.width, self.height, self.rate_fps = size
        decoder.ring = Ring(descriptor, self._order.slots, self.height, self.width)
        os.close(descriptor)
        for slot in range(self._order.slots):
            decoder.link.send(bytes([slot]))
