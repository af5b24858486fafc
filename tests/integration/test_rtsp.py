"""An RTSP camera that goes away, or falls silent, and comes back."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import answers, free_port
from edge_agent import config
from edge_agent.pixels.source import Source, SourceError, open_source

SCRIPT = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
STALL_S = 1.5


class Camera:
    """A camera that can be unplugged."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/cam"
        self.process: Any = None

    def start(self, wait_until: Any) -> None:
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, SCRIPT, str(self.port)], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: answers(self.port), what="a camera")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def camera(wait_until: Any) -> Iterator[Camera]:
    """Yield a running camera."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    found = subprocess.run(
        [SYSTEM_PYTHON, "-c", probe], stderr=subprocess.DEVNULL, check=False
    ).returncode
    if found != 0:
        pytest.skip("Debian's gir1.2-gst-rtsp-server-1.0 is not installed")
    running = Camera()
    running.start(wait_until)
    yield running
    running.end()


def opened(camera: Camera) -> Source:
    settings = config.Camera(source=camera.url, stall_s=STALL_S)
    return open_source(settings, config.Replay(), config.Detector())


def follow(source: Source, seen: int, within_s: float = 40.0) -> int:
    """Go on until so many frames were seen; return how often nothing was."""
    unseen = 0
    deadline = time.monotonic() + within_s
    for observation in source:
        assert time.monotonic() < deadline, "no frames in time"
        seen -= observation.seen
        unseen += not observation.seen
        if seen <= 0:
            break
    return unseen


@pytest.mark.alone
@pytest.mark.slow
def test_a_camera_that_is_unplugged_is_opened_again(camera: Camera, wait_until: Any) -> None:
    with opened(camera) as source:
        follow(source, 10)
        camera.end()
        begin = time.monotonic()
        beats = [look for look, _ in zip(source, range(6), strict=False)]
        assert time.monotonic() - begin < 6
        assert not beats[-1].seen
        camera.start(wait_until)
        follow(source, 10)
        health = source.health()
    assert health.reconnects >= 1
    assert health.overruns == 0


@pytest.mark.slow
def test_a_read_that_hangs_is_abandoned(camera: Camera, wait_until: Any) -> None:
    with opened(camera) as source:
        follow(source, 10)
        os.kill(camera.process.pid, signal.SIGSTOP)
        begin = time.monotonic()
        for _ in source:
            if source.health().reconnects or time.monotonic() - begin > 10:
                break
        assert time.monotonic() - begin < STALL_S + 3
        os.kill(camera.process.pid, signal.SIGCONT)
        follow(source, 10)


def test_a_camera_that_is_not_there_is_named_in_one_line() -> None:
    absent = config.Camera(source=f"rtsp://127.0.0.1:{free_port()}/cam")
    with pytest.raises(SourceError, match="check that the camera is there"):
        open_source(absent, config.Replay(), config.Detector())
