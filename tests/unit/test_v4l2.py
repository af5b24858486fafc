"""The V4L2 reader against a driver of ours: every buffer goes back zeroised, whatever happens.

No camera is needed; that it works with a real one is not shown here.
"""

import mmap
import os
import struct
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg

from edge_agent.pixels import intra
from edge_agent.pixels.feeds import FeedError
from edge_agent.pixels.intra import V4l2Camera
from edge_agent.pixels.keeper import Order

SIZE = (48, 64)
LENGTH = 64 * 1024


class Driver:
    """A camera as the kernel shows it: ioctls, and buffers that it fills when asked."""

    def __init__(self, pixels: int = intra.MJPEG, capabilities: int = 0x04000001) -> None:
        self.pixels, self.capabilities = pixels, capabilities
        self.memory: dict[int, mmap.mmap] = {}
        self.queued: deque[int] = deque()
        self.filled: deque[tuple[int, int, int]] = deque()
        self.dirty = 0
        self.streaming = False

    def map(self, _descriptor: int, length: int, offset: int) -> mmap.mmap:
        self.memory[offset // LENGTH] = mapping = mmap.mmap(-1, length)
        return mapping

    def fill(self, data: bytes, flags: int = 0x2000) -> None:
        index = self.queued.popleft()
        self.memory[index][: len(data)] = data
        self.filled.append((index, len(data), flags))

    def control(self, _descriptor: int, request: int, argument: bytearray) -> int:
        if request == intra.QUERYCAP:
            struct.pack_into("<II", argument, 84, 0x80000000, self.capabilities)
        elif request in (intra.G_FMT, intra.S_FMT):
            pixels = self.pixels
            line = 2 * SIZE[1] if pixels == intra.YUYV else 0
            argument[:] = intra._FORMAT.pack(1, SIZE[1], SIZE[0], pixels, 1, line, LENGTH)
        elif request == intra.QUERYBUF:
            (index,) = struct.unpack_from("<I", argument)
            struct.pack_into("<QI", argument, 64, index * LENGTH, LENGTH)
        elif request == intra.QBUF:
            (index,) = struct.unpack_from("<I", argument)
            self.dirty += bool(self.memory[index][:].strip(b"\0"))
            self.queued.append(index)
        elif request == intra.DQBUF:
            if not self.filled:
                raise BlockingIOError
            index, used, flags = self.filled.popleft()
            struct.pack_into("<IIII", argument, 0, index, 1, used, flags)
            struct.pack_into("<qq", argument, 24, 12, 345_678)
        elif request == intra.STREAMON:
            self.streaming = True
        elif request == intra.STREAMOFF:
            self.streaming = False
        return 0


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Return a pipe that is always ready to be read, in the place of a device."""
    path = tmp_path / "video0"
    os.mkfifo(path)
    return path


def opened(path: Path, driver: Driver) -> V4l2Camera:
    order = Order(source=str(path), live=True, fps=10.0)
    camera = V4l2Camera(order, driver.control, driver.map)
    os.write(camera._descriptor, b"x")
    return camera


def picture() -> Any:
    noise = np.random.default_rng(3)
    return cv2.resize(noise.integers(0, 256, (6, 8, 3), dtype=np.uint8), SIZE[::-1])


def test_a_jpeg_is_decoded_into_the_slot_and_its_buffer_goes_back_zeroised(ready: Path) -> None:
    driver = Driver()
    camera = opened(ready, driver)
    assert (camera.size, camera.rate_fps, driver.streaming) == (SIZE, 10.0, True)
    packet = simplejpeg.encode_jpeg(picture(), colorspace="BGR")
    slot = np.zeros((*SIZE, 3), np.uint8)
    for _ in range(7):
        driver.fill(packet)
        assert camera.grab() == 12_345_678_000
        assert camera.fill(slot)
        assert np.array_equal(slot, simplejpeg.decode_jpeg(packet, "BGR"))
    camera.close()
    assert (driver.dirty, driver.streaming) == (0, False)
    assert not any(memory[:].strip(b"\0") for memory in driver.memory.values())


def test_yuyv_is_converted_into_the_slot(ready: Path) -> None:
    driver = Driver(intra.YUYV)
    camera = opened(ready, driver)
    yuyv = np.full((*SIZE, 2), 128, np.uint8)
    yuyv[..., 0] = 200
    driver.fill(yuyv.tobytes())
    slot = np.zeros((*SIZE, 3), np.uint8)
    camera.grab()
    assert camera.fill(slot)
    expected = cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUY2)
    assert np.array_equal(slot, expected)
    assert driver.dirty == 0


def test_what_nobody_wants_or_can_be_decoded_goes_back_zeroised_too(ready: Path) -> None:
    driver = Driver()
    camera = opened(ready, driver)
    slot = np.zeros((*SIZE, 3), np.uint8)
    driver.fill(simplejpeg.encode_jpeg(picture(), colorspace="BGR"))
    camera.grab()  # and never filled
    driver.fill(b"\xff\xd8\xff garbage")
    camera.grab()
    assert not camera.fill(slot)
    driver.fill(b"broken by the camera", flags=0x2040)
    driver.fill(simplejpeg.encode_jpeg(picture(), colorspace="BGR"))
    camera.grab()
    assert camera.fill(slot)
    assert driver.dirty == 0
    assert len(driver.queued) == intra.BUFFERS


@pytest.mark.parametrize(
    "driver", [Driver(pixels=0x34363248), Driver(capabilities=0x2)], ids=["H264 only", "output"]
)
def test_what_is_no_such_camera_is_refused(ready: Path, driver: Driver) -> None:
    with pytest.raises(FeedError):
        opened(ready, driver)


def test_the_kernel_s_structures_have_their_sizes() -> None:
    sizes = {(request >> 16) & 0x3FFF for request in (intra.G_FMT, intra.S_FMT)}
    assert sizes == {intra._FORMAT.size}
    assert intra._PARAMETERS.size == (intra.S_PARM >> 16) & 0x3FFF
    assert intra._REQUEST.size == (intra.REQBUFS >> 16) & 0x3FFF
    for request in (intra.QUERYBUF, intra.QBUF, intra.DQBUF):
        assert (request >> 16) & 0x3FFF == intra._BUFFER.size
