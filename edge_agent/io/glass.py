"""Memory that eye and assistant share: the newest picture that may be seen, and a few words."""

import json
import mmap
import struct
from dataclasses import asdict, dataclass
from typing import Any, Literal

SHARED = 256 * 1024
"""Bytes of it."""
WalkState = Literal["off", "walking", "passed", "failed"]
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


def publish(memory: mmap.mmap, number: int, view: View, jpeg: bytes) -> None:
    """Write a view; a reader that comes in between sees an odd number and waits."""
    text = json.dumps(asdict(view)).encode()
    if _HEAD.size + len(text) + len(jpeg) > SHARED:
        return
    _HEAD.pack_into(memory, 0, 2 * number - 1, 0, 0)
    memory[_HEAD.size : _HEAD.size + len(text) + len(jpeg)] = text + jpeg
    _HEAD.pack_into(memory, 0, 2 * number, len(text), len(jpeg))


def newest(memory: mmap.mmap) -> tuple[int, dict[str, Any], bytes] | None:
    """Return the newest view, or None where there is none yet, or it is being written."""
    number, size, picture = _HEAD.unpack_from(memory)
    if number == 0 or number % 2:
        return None
    text = memory[_HEAD.size : _HEAD.size + size]
    jpeg = memory[_HEAD.size + size : _HEAD.size + size + picture]
    if _HEAD.unpack_from(memory)[0] != number:
        return None
    return number, json.loads(text), jpeg
