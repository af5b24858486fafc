"""A V4L2 camera, read without a library in between: its buffers are zeroised before they go back.

The kernel writes pictures into a few buffers that are mapped here. Each is taken as soon as it is
filled, decoded straight into a slot if one is free, zeroised, and given back. Motion JPEG and
YUYV are known; neither refers to an earlier frame.

Source: the kernel's "Video for Linux API", streaming I/O by memory mapping; linux/videodev2.h.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.pixels.feeds import FeedError, decode_jpeg
from edge_agent.pixels.frames import harden
from edge_agent.pixels.keeper import Order

QUERYCAP, G_FMT, S_FMT, S_PARM = 0x80685600, 0xC0D05604, 0xC0D05605, 0xC0CC5616
REQBUFS, QUERYBUF, QBUF, DQBUF = 0xC0145608, 0xC0585609, 0xC058560F, 0xC0585611
STREAMON, STREAMOFF = 0x40045612, 0x40045613
MJPEG, YUYV = 0x47504A4D, 0x56595559
_CAPTURE, _MMAP = 1, 1
_CAN_CAPTURE, _CAN_STREAM = 0x1, 0x04000000
_FLAG_ERROR, _STAMP_MASK, _STAMP_MONOTONIC = 0x40, 0xE000, 0x2000
_FORMAT = struct.Struct("<I4x6I176x")
"""v4l2_format: type; width, height, pixel format, field, bytes per line, size of a picture."""
_BUFFER = struct.Struct("<5I4xqq16x2IQ3I4x")
"""v4l2_buffer: index, type, used, flags, field; seconds, microseconds; sequence, memory; offset;
length, reserved, request."""
_REQUEST = struct.Struct("<5I")
_PARAMETERS = struct.Struct("<I8xII184x")
"""v4l2_streamparm: type; time per frame as a fraction."""
BUFFERS = 3
ANSWER_WITHIN_S = 5.0

Control = Callable[[int, int, bytearray], Any]
Map = Callable[[int, int, int], mmap.mmap]


def _control(descriptor: int, request: int, argument: bytearray) -> Any:
    return fcntl.ioctl(descriptor, request, argument, True)


def _map(descriptor: int, length: int, offset: int) -> mmap.mmap:
    return mmap.mmap(descriptor, length, offset=offset)


class V4l2Camera:
    """Frames of one camera; see `feeds.Feed`."""

    def __init__(self, order: Order, control: Control = _control, memory: Map = _map) -> None:
        """Open the camera and have it fill buffers.

        Args:
            order: what is asked of it.
            control: makes an ioctl.
            memory: maps a buffer.

        Raises:
            FeedError: it is no camera, or knows neither Motion JPEG nor YUYV.
        """
        self._control = control
        self._buffers: list[tuple[mmap.mmap, NDArray[np.uint8]]] = []
        self._held: tuple[int, int] | None = None
        try:
            self._descriptor = os.open(order.source, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            raise FeedError from None
        try:
            self._check()
            self._choose_format(order)
            self.rate_fps = self._choose_rate(order.fps)
            self._request_buffers(memory)
        except OSError:
            self.close()
            raise FeedError from None

    def _check(self) -> None:
        told = bytearray(104)
        self._control(self._descriptor, QUERYCAP, told)
        _, own = struct.unpack_from("<II", told, 84)
        if not (own & _CAN_CAPTURE and own & _CAN_STREAM):
            raise OSError(errno.ENODEV, "expected a camera that streams")

    def _choose_format(self, order: Order) -> None:
        present = bytearray(_FORMAT.pack(_CAPTURE, *[0] * 6))
        self._control(self._descriptor, G_FMT, present)
        _, width, height, *_ = _FORMAT.unpack(present)
        for wanted in (MJPEG, YUYV):
            asked = _FORMAT.pack(
                _CAPTURE, order.width or width, order.height or height, wanted, 1, 0, 0
            )
            told = bytearray(asked)
            self._control(self._descriptor, S_FMT, told)
            _, width, height, pixels, _, line, _ = _FORMAT.unpack(told)
            if pixels == wanted:
                self._pixels, self._line, self.size = pixels, line, (height, width)
                return
        raise OSError(errno.EINVAL, "expected Motion JPEG or YUYV")

    def _choose_rate(self, fps: float | None) -> float:
        if not fps:
            return 0.0
        asked = bytearray(_PARAMETERS.pack(_CAPTURE, 1000, round(1000 * fps)))
        try:
            self._control(self._descriptor, S_PARM, asked)
        except OSError:  # a camera with one rate
            return 0.0
        _, over, under = _PARAMETERS.unpack(asked)
        return under / over if over else 0.0

    def _request_buffers(self, memory: Map) -> None:
        asked = bytearray(_REQUEST.pack(BUFFERS, _CAPTURE, _MMAP, 0, 0))
        self._control(self._descriptor, REQBUFS, asked)
        for index in range(_REQUEST.unpack(asked)[0]):
            told = self._buffer(index)
            self._control(self._descriptor, QUERYBUF, told)
            *_, offset, length, _, _ = _BUFFER.unpack(told)
            mapping = memory(self._descriptor, length, offset & 0xFFFFFFFF)
            data: NDArray[np.uint8] = np.frombuffer(mapping, np.uint8)
            with contextlib.suppress(OSError):  # memory of a device is in no dump anyway
                harden(mapping, data.ctypes.data)
            self._buffers.append((mapping, data))
            self._control(self._descriptor, QBUF, self._buffer(index))
        self._control(self._descriptor, STREAMON, bytearray(struct.pack("<I", _CAPTURE)))

    @staticmethod
    def _buffer(index: int) -> bytearray:
        return bytearray(_BUFFER.pack(index, _CAPTURE, 0, 0, 0, 0, 0, 0, _MMAP, 0, 0, 0, 0))

    def grab(self) -> int | None:
        """Take the next filled buffer; the one taken before is zeroised and given back."""
        while True:
            self._give_back()
            ready, _, _ = select.select([self._descriptor], [], [], ANSWER_WITHIN_S)
            if not ready:
                return None
            told = self._buffer(0)
            try:
                self._control(self._descriptor, DQBUF, told)
            except BlockingIOError:
                continue
            except OSError:
                return None
            index, _, used, flags, _, seconds, micros, *_ = _BUFFER.unpack(told)
            self._held = (index, used)
            if flags & _FLAG_ERROR:
                continue
            if flags & _STAMP_MASK == _STAMP_MONOTONIC:
                return int(seconds * 1_000_000_000 + micros * 1000)
            return time.monotonic_ns()

    def fill(self, slot: NDArray[np.uint8]) -> bool:
        """Decode the buffer into the slot, zeroise it and give it back."""
        assert self._held is not None  # noqa: S101 - for the type checker
        index, used = self._held
        data = self._buffers[index][1]
        try:
            if self._pixels == MJPEG:
                return decode_jpeg(memoryview(data)[:used], slot)  # type: ignore[arg-type]
            height, width = self.size
            rows = np.lib.stride_tricks.as_strided(
                data, (height, width, 2), (self._line, 2, 1), writeable=False
            )
            if used < self._line * height:
                return False
            cv2.cvtColor(rows, cv2.COLOR_YUV2BGR_YUY2, dst=slot)
            return True
        finally:
            self._give_back()

    def _give_back(self) -> None:
        if self._held is None:
            return
        index, _ = self._held
        data = self._buffers[index][1]
        ctypes.memset(data.ctypes.data, 0, data.nbytes)
        self._held = None
        self._control(self._descriptor, QBUF, self._buffer(index))

    def close(self) -> None:
        """Stop the camera and zeroise every buffer."""
        with contextlib.suppress(OSError):
            self._control(self._descriptor, STREAMOFF, bytearray(struct.pack("<I", _CAPTURE)))
        for _, data in self._buffers:
            ctypes.memset(data.ctypes.data, 0, data.nbytes)
        os.close(self._descriptor)
