"""Memory that holds pixels: allocated once, locked, kept out of core dumps, zeroised on release."""

import ctypes
import math
import mmap
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
_libc = ctypes.CDLL(None, use_errno=True)


class LeaseError(RuntimeError):
    """A frame was used outside its lease: a mistake of ours."""


def harden(mapping: mmap.mmap, address: int) -> bool:
    """Keep a mapping out of core dumps and out of swap; return whether it could be locked."""
    mapping.madvise(mmap.MADV_DONTDUMP)
    return bool(_libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(mapping))) == 0)


class Arena:
    """One mapping from which every pixel-bearing array of this process is carved.

    Arrays start at multiples of 64 bytes. The arena is not inherited by child processes.
    """

    def __init__(self, size: int) -> None:
        pages = math.ceil(size / mmap.PAGESIZE)
        self._mapping = mmap.mmap(-1, pages * mmap.PAGESIZE)
        self._mapping.madvise(mmap.MADV_DONTFORK)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._mapping, np.uint8)
        self._used = 0
        self.locked = harden(self._mapping, self._bytes.ctypes.data)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Carve an array of zeros.

        Raises:
            MemoryError: the arena is used up.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        start = math.ceil(self._used / ALIGNMENT) * ALIGNMENT
        if start + size > len(self._bytes):
            left = len(self._bytes) - start
            raise MemoryError(f"expected at most {left} bytes more, got a request for {size}")
        self._used = start + size
        carved: NDArray[Any] = self._bytes[start : start + size].view(dtype).reshape(shape)
        return carved

    def zeroise(self, size: int | None = None) -> None:
        """Overwrite everything, or the first bytes of it, with zeros."""
        ctypes.memset(self._bytes.ctypes.data, 0, self._bytes.nbytes if size is None else size)

    def is_zero(self) -> bool:
        """Return whether nothing but zeros is left."""
        return not self._bytes.any()


class Ring:
    """The slots that the decoder fills and vision empties, in memory shared by the two."""

    def __init__(self, descriptor: int, slots: int, height: int, width: int) -> None:
        self._frame_size = height * width * 3
        self._mapping = mmap.mmap(descriptor, slots * self._frame_size)
        self._slots: NDArray[np.uint8] = np.frombuffer(self._mapping, np.uint8).reshape(
            slots, height, width, 3
        )
        self.locked = harden(self._mapping, self._slots.ctypes.data)

    def slot(self, index: int) -> NDArray[np.uint8]:
        """Return a slot: (H, W, 3) uint8 BGR."""
        frame: NDArray[np.uint8] = self._slots[index]
        return frame

    def lease(self, index: int) -> "Lease":
        """Return a lease of one slot; leaving it zeroises the slot."""
        return Lease(self._slots[index])

    def is_zero(self) -> bool:
        """Return whether nothing but zeros is left in any slot."""
        return not self._slots.any()

    def zeroise(self) -> None:
        """Overwrite every slot with zeros."""
        ctypes.memset(self._slots.ctypes.data, 0, self._slots.nbytes)


class Lease:
    """The time during which a frame may be looked at: `with ring.lease(i) as frame: …`, once."""

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        self._frame: NDArray[np.uint8] | None = frame
        self._entered = False

    def __enter__(self) -> NDArray[np.uint8]:
        if self._entered or self._frame is None:
            raise LeaseError("expected a lease that was not used before")
        self._entered = True
        return self._frame

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Zeroise the frame and end the lease.

        Raises:
            LeaseError: it has ended before.
        """
        if self._frame is None:
            raise LeaseError("expected a lease that was not released before")
        ctypes.memset(self._frame.ctypes.data, 0, self._frame.nbytes)
        self._frame = None

    def __copy__(self) -> Self:
        raise LeaseError("a lease cannot be copied")
