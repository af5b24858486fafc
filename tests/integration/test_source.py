"""The door out of the pixel wall, on real files and with real decoder processes."""

import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent import config
from edge_agent.core.observation import Box, Detection, Observation
from edge_agent.pixels.capture import Capture
from edge_agent.pixels.keeper import Keeper, Order
from edge_agent.pixels.source import Looks, Source, SourceError, open_source

BRIGHT = 200


class Eye:
    """A detector that reports how bright a frame is, and takes as long as it is told."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.invoke_s = 0.0
        self.frames = 0
        self.zeroised = 0
        self._wait_s = wait_s

    def detect(self, frame: Any) -> tuple[Detection, ...]:
        self.frames += 1
        time.sleep(self._wait_s)
        return (Detection(Box(0.0, 0.0, 1.0, 1.0), float(frame.mean()) / 255),)

    def zeroise(self) -> None:
        self.zeroised += 1


def film(
    path: Path, frames: int = 20, size: tuple[int, int] = (64, 48), codec: str = "MJPG"
) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, size)
    for _ in range(frames):
        writer.write(np.full((size[1], size[0], 3), BRIGHT, np.uint8))
    writer.release()
    return path


def source(path: Path, eye: Eye, camera: dict[str, Any] | None = None, **replay: Any) -> Source:
    settings = config.Camera.model_validate({"source": str(path), **(camera or {})})
    replayed = config.Replay.model_validate({"pace": "fast", **replay})
    return Source(settings, replayed, Looks(lambda _: eye))


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (322, 242)])
@pytest.mark.parametrize("codec", ["MJPG", "XVID"])
def test_every_frame_is_seen_once_and_zeroised_before_it_is_told(
    tmp_path: Path, size: tuple[int, int], codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eye = Eye()
    left: list[int] = []
    with source(film(tmp_path / "a.avi", size=size, codec=codec), eye) as opened:
        give_back = opened._capture.give_back

        def look_then_give_back(frame: Any) -> None:
            decoder = opened._capture._decoder
            left.append(int(decoder.ring.slot(frame.slot).max()))  # type: ignore[union-attr]
            give_back(frame)

        monkeypatch.setattr(opened._capture, "give_back", look_then_give_back)
        observations = list(opened)
        health = opened.health()
    assert left == [0] * 20
    assert (len(observations), eye.frames, health.frames, health.late) == (20, 20, 20, 0)
    assert {observation.aspect for observation in observations} == {size[0] / size[1]}
    bright = [observation.detections[0].score for observation in observations]
    assert np.allclose(bright, BRIGHT / 255, atol=0.05)


def test_nothing_is_left_in_any_slot_when_the_source_is_closed(tmp_path: Path) -> None:
    opened = source(film(tmp_path / "a.avi"), Eye())
    next(iter(opened))
    ring = opened._capture._decoder.ring  # type: ignore[union-attr]
    opened.close()
    assert ring is not None
    assert ring.is_zero()
    assert opened.arena.is_zero()


def test_event_time_runs_at_the_given_rate_through_every_loop(tmp_path: Path) -> None:
    start = "2026-11-20T06:00:00Z"
    eye = Eye()
    path = film(tmp_path / "a.avi", frames=5)
    settings = config.Replay.model_validate_json(f'{{"pace":"fast","loop":true,"start":"{start}"}}')
    camera = config.Camera.model_validate({"source": str(path), "fps": 7.0})
    with Source(camera, settings, Looks(lambda _: eye)) as opened:
        stream = iter(opened)
        times = [next(stream).at_s for _ in range(17)]
    steps = np.diff(times)
    assert np.allclose(steps, 1 / 7)
    assert settings.start is not None
    assert times[0] == settings.start.timestamp()


def test_a_slow_detector_makes_frames_late_and_they_are_dropped_unseen(tmp_path: Path) -> None:
    eye = Eye(wait_s=0.12)
    with source(film(tmp_path / "a.avi"), eye) as opened:
        observations = list(opened)
        health = opened.health()
    assert len(observations) == 20
    assert health.late > 0
    assert health.late == sum(not observation.seen for observation in observations)
    assert health.frames + health.late == 20


def test_real_pace_takes_real_time(tmp_path: Path) -> None:
    begin = time.monotonic()
    with source(film(tmp_path / "a.avi", frames=10), Eye(), {"fps": 20.0}, pace="real") as opened:
        assert len(list(opened)) == 10
    assert time.monotonic() - begin >= 0.45


def test_idle_time_is_used_to_scrub_activations(tmp_path: Path) -> None:
    eye = Eye()
    with source(film(tmp_path / "a.avi", frames=8), eye, {"fps": 20.0}, pace="real") as opened:
        list(opened)
        assert eye.zeroised >= 7
        assert opened.health().max_ms < 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"hello\n" * 1000, "not a video"),
        (bytes(range(256)) * 64, "not a video"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=said) as refused:
        open_source(config.Camera(source=str(path)), config.Replay(), config.Detector())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["/tmp", "http://127.0.0.1/x", "/dev/video99"])
def test_what_is_no_source_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(SourceError, match=r"give|expected|plugged"):
        open_source(config.Camera(source=name), config.Replay(), config.Detector())


def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", frames=50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with source(path, Eye()) as opened:
        assert 0 < len(list(opened)) < 50


def decoder_of(keeper: Keeper) -> int:
    """Return the process number of a keeper's decoder."""
    parent = str(keeper._process.pid)
    listed = subprocess.run(["pgrep", "-P", parent], capture_output=True, text=True, check=True)
    return int(listed.stdout)


def test_a_stalled_decoder_is_abandoned_and_a_live_source_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.pixels.capture.FIRST_BACKOFF_S", 0.1)
    keeper = Keeper(Order(source=str(film(tmp_path / "a.avi", 2000)), live=False))
    capture = Capture(keeper, stall_s=0.5)
    frame = capture.next(5.0)
    assert frame is not None
    decoder = decoder_of(keeper)
    os.kill(decoder, signal.SIGSTOP)
    frame.lease.release()
    begin = time.monotonic()
    while capture._decoder is not None and time.monotonic() - begin < 5:
        stale = capture.next(0.1)
        if stale is not None:
            stale.lease.release()
    assert time.monotonic() - begin < 2
    assert not Path(f"/proc/{decoder}").exists()
    assert capture.ended


def test_a_killed_decoder_of_a_live_source_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.pixels.capture.FIRST_BACKOFF_S", 0.1)
    # A file that stands in for a camera: opened again when it is lost.
    order = Order(source=str(film(tmp_path / "a.avi", frames=30)), live=False, loop=True, slots=1)
    keeper = Keeper(order)
    keeper.order = dataclasses.replace(order, live=True)
    capture = Capture(keeper, stall_s=1.0)
    seen_after = 0
    first = capture.next(5.0)
    assert first is not None
    first.lease.release()
    os.kill(decoder_of(keeper), signal.SIGKILL)
    begin = time.monotonic()
    while not seen_after and time.monotonic() - begin < 10:
        frame = capture.next(0.2)
        if frame is not None:
            frame.lease.release()
            capture.give_back(frame)
            seen_after += capture.reconnects > 0
    capture.close()
    keeper.close()
    assert capture.reconnects >= 1
    assert seen_after == 1


def test_an_observation_is_all_that_comes_out(tmp_path: Path) -> None:
    with source(film(tmp_path / "a.avi", frames=3), Eye()) as opened:
        assert {type(item) for item in opened} == {Observation}
