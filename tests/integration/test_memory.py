"""Six thousand frames through the real pipeline leave memory where it was."""

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import config
from edge_agent.core.counting import Counter, Line
from edge_agent.pixels.source import Source, open_source

WARM, FRAMES = 1_000, 6_000
PAGE = os.sysconf("SC_PAGE_SIZE")
MOST_GROWTH = 2_600_000


def resident(process: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE


def decoder_of(source: Source) -> int:
    """Return the process number of a source's decoder."""
    parent = str(source._keeper._process.pid)
    listed = subprocess.run(["pgrep", "-P", parent], capture_output=True, text=True, check=True)
    return int(listed.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_steady_over_six_thousand_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    noise = np.random.default_rng(0)
    for _ in range(50):
        writer.write(noise.integers(0, 255, (240, 320, 3), dtype=np.uint8))
    writer.release()
    counter = Counter([Line("l", (0.5, 0.0), (0.5, 1.0))])
    camera = config.Camera(source=str(path), fps=10.0)
    replay = config.Replay(pace="fast", loop=True)
    before: list[int] = []
    with open_source(camera, replay, config.Detector()) as source:
        for index, observation in enumerate(source):
            counter.update(observation)
            if index == WARM:
                before = [resident(os.getpid()), resident(decoder_of(source))]
            if index == FRAMES:
                after = [resident(os.getpid()), resident(decoder_of(source))]
                break
    growth = [late - early for early, late in zip(before, after, strict=True)]
    assert max(growth) < MOST_GROWTH, growth
