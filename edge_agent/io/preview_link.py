"""What the assistant and the preview process share: a piece of memory, and a pipe of orders.

The memory holds the newest picture that may be seen and a few words about it; the pipe carries what
the technician asks for, a line of JSON each. Both outlive a preview process that has to begin anew.
"""

import contextlib
import json
import mmap
import os
import struct
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

STALE_S = 5.0
"""An older picture is none."""
WalkState = Literal["off", "walking", "passed", "failed"]
_SHARED = 256 * 1024
_HEAD = struct.Struct("<QII")


@dataclass(frozen=True, slots=True)
class View:
    """What the assistant shows.

    Attributes:
        works: check to whether it is as it should be; None where nothing tells.
        seen: changes with each passage of the walk test, and says no more.
        walk: how the walk test stands.
        why: of a walk test that failed: too few or too many, in or out.
    """

    coarse: bool
    works: dict[str, bool | None]
    aspect: float
    seen: bool
    walk: WalkState
    why: str


class PreviewLink:
    """The assistant's end."""

    def __init__(self) -> None:
        """Make the memory and the pipe."""
        memory = os.memfd_create("preview", os.MFD_CLOEXEC)
        os.ftruncate(memory, _SHARED)
        self._memory = mmap.mmap(memory, _SHARED)
        orders, self._orders = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._orders, False)
        self.passed = (memory, orders)
        """Descriptors that the preview process is started with."""
        self._number, self._seen_s = 0, 0.0

    def look(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the newest view and its JPEG, or None where there is none, or it is too old."""
        found = _newest(self._memory)
        now_s = time.monotonic()
        if found is not None and found[0] != self._number:
            self._number, self._seen_s = found[0], now_s
        if found is None or now_s - self._seen_s > STALE_S:
            return None
        return found[1], found[2]

    def ask(self, **order: Any) -> None:
        """Give an order; none waits where nobody takes them."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._orders, json.dumps(order).encode() + b"\n")

    def close(self) -> None:
        """Leave nothing in memory; the preview process has ended."""
        self._memory[:] = bytes(_SHARED)
        self._memory.close()
        for descriptor in (*self.passed, self._orders):
            os.close(descriptor)


class Shown:
    """The preview process's end."""

    def __init__(self, memory: int, orders: int) -> None:
        """Take the descriptors that the process was started with."""
        self._memory = mmap.mmap(memory, _SHARED)
        os.close(memory)
        os.set_blocking(orders, False)
        self._orders = orders
        self._rest = b""
        # One that was killed may have left a picture half-written, with an odd number.
        self._number = _HEAD.unpack_from(self._memory)[0] // 2

    def publish(self, view: View, jpeg: bytes) -> None:
        """Write a view; a reader that comes in between sees an odd number and waits."""
        memory = self._memory
        text = json.dumps(asdict(view)).encode()
        if _HEAD.size + len(text) + len(jpeg) > _SHARED:
            return
        self._number += 1
        _HEAD.pack_into(memory, 0, 2 * self._number - 1, 0, 0)
        memory[_HEAD.size : _HEAD.size + len(text) + len(jpeg)] = text + jpeg
        _HEAD.pack_into(memory, 0, 2 * self._number, len(text), len(jpeg))

    def orders(self) -> list[dict[str, Any]]:
        """Return what was asked for since the last call, without waiting."""
        with contextlib.suppress(BlockingIOError):
            self._rest += os.read(self._orders, 4096)
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]


def _newest(memory: mmap.mmap) -> tuple[int, dict[str, Any], bytes] | None:
    """Return the newest view, or None where there is none yet, or it is being written."""
    number, size, picture = _HEAD.unpack_from(memory)
    if number == 0 or number % 2:
        return None
    text = memory[_HEAD.size : _HEAD.size + size]
    jpeg = memory[_HEAD.size + size : _HEAD.size + size + picture]
    if _HEAD.unpack_from(memory)[0] != number:
        return None
    return number, json.loads(text), jpeg
