"""`make bench`, second part: all measures at once, at a camera's pace: where time goes.

Passages, masks, occupancy, distances and objections, by the agent's own vision and release. The
sum of the networks' bare runs is the limit that no program around them can beat; what is above it
is ours. The numbers go to out/bench/measures.json too.
"""

import csv
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent import config
from edge_agent.config import Loaded
from edge_agent.core.observation import Observation
from edge_agent.core.release import Draft, Speaker
from edge_agent.io.light import Light
from edge_agent.pixels.source import Health, open_source
from edge_agent.vision import Vision, faces_wanted
from models.data import DATA, frames

OUT = Path(__file__).parents[1] / "out" / "bench"
WIDTH, HEIGHT, FPS, SECONDS = 640, 480, 10.0, 60
MODULE = """
[modules.{}]
legal_basis = "none: a benchmark"
purpose = "benchmark"
contact = "nobody"
start = 2026-01-01T00:00:00Z
end = 2126-01-01T00:00:00Z
"""
CONFIG = """
device = "bench"
data_dir = "/nowhere"
key_file = "/nowhere"
[camera]
source = "{source}"
fps = {fps}
[replay]
start = 2026-11-21T08:00:00Z
[[lines]]
id = "main"
start = [0.5, 0.0]
end = [0.5, 1.0]
[[zones]]
id = "hall"
corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
capacity = 40
[ground]
square = {{ corners = [[0.3, 0.5], [0.7, 0.5], [0.8, 0.9], [0.2, 0.9]], side_m = 6.0 }}
[objection]
enabled = true
"""


class Deaf:
    """An outlet that says nothing."""

    def say(self, draft: Draft, not_before_s: float) -> None:
        """Hear a draft, and forget it."""


class Meter:
    """Observations handed on, and the time that whoever takes them needs."""

    def __init__(self, observations: Iterator[Observation]) -> None:
        self._observations = observations
        self.took_s = 0.0
        self.faces = self.people = self.count = 0

    def __iter__(self) -> Iterator[Observation]:
        for observation in self._observations:
            self.count += 1
            self.faces += len(observation.faces)
            self.people += len(observation.detections)
            begin = time.perf_counter()
            yield observation
            self.took_s += time.perf_counter() - begin


def film(path: Path) -> str:
    """Write a minute of a crowd with faces; return what it shows."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    count = round(FPS * SECONDS)
    if DATA.is_dir():
        with (DATA / "face_boxes" / "train.csv").open() as rows:
            names = sorted({row["image"] for row in csv.DictReader(rows)})
        crowd = frames(DATA / "pets09_s2l1" / "vtest.avi")
        for index, frame in enumerate(itertools.islice(itertools.cycle(crowd), count)):
            shown = cv2.resize(frame, (WIDTH, HEIGHT))
            # PETS shows no face large enough: pictures of faces in a corner, two seconds each.
            name = names[(index // 20) * 7 % len(names)]
            faces = cv2.imread(str(DATA / "face_boxes" / "train" / name))
            shown[240:, 320:] = cv2.resize(np.asarray(faces), (320, 240))
            writer.write(shown)
        what = "PETS S2.L1 with pictures of faces in a corner"
    else:
        from deploy.local import clip  # noqa: PLC0415 - only where the recordings are absent

        drawn = itertools.cycle(frames(clip.find()))
        for frame in itertools.islice(drawn, count):
            writer.write(cv2.resize(frame, (WIDTH, HEIGHT)))
        what = "the drawn clip of the demonstration: nobody has a face in it"
    writer.release()
    return what


def measure(path: Path) -> tuple[Health, Meter]:
    """Let vision watch the film at its own pace."""
    text = CONFIG.format(source=path, fps=FPS)
    text += "".join(MODULE.format(name) for name in ("masks", "occupancy", "distance"))
    loaded: Loaded = config.parse(text.encode(), "bench", signed=True)
    agent = loaded.agent
    vision = Vision(loaded, Speaker("0" * 16, development=True), Deaf(), Light.none())  # type: ignore[arg-type]
    with open_source(
        agent.camera, agent.replay, agent.detector, faces=faces_wanted(loaded.declared)
    ) as source:
        meter = Meter(iter(source))
        vision.run(meter)
        return source.health(), meter


def show(health: Health, meter: Meter, what: str) -> dict[str, Any]:
    """Print where the time went; return it in milliseconds a frame."""
    stages, share = health.stages, 1e3 / health.stages.frames
    rows = {
        "decoding and queueing": stages.waited_s * share,
        "people": stages.people_s * share,
        "faces, masks, heads": stages.faces_s * share,
        "zeroing the frame": stages.zeroised_s * share,
    }
    limit = stages.networks_s * share
    looking = (stages.people_s + stages.faces_s) * share
    counting = 1e3 * meter.took_s / meter.count
    print(
        f"\nall measures at once, {WIDTH} x {HEIGHT}, {meter.count} frames at {FPS:g} a second:"
        f" {what};\n{meter.people / meter.count:.1f} people and {meter.faces / meter.count:.1f}"
        " faces a frame"
    )
    for name, value in rows.items():
        print(f"  {name:<28}{value:>7.2f} ms")
    print(
        f"  {'networks alone: the limit':<28}{limit:>7.2f} ms; looking takes {looking / limit:.2f}x"
    )
    print(f"  {'counting, after zeroing':<28}{counting:>7.2f} ms")
    print(
        f"capture to zeroised: p50 {health.p50_ms:.1f} ms, p99 {health.p99_ms:.1f} ms, max"
        f" {health.max_ms:.1f} ms; late {health.late}"
    )
    return {
        **rows, "limit": limit, "counting": counting, "p50": health.p50_ms, "p99": health.p99_ms,
        "max": health.max_ms, "late": health.late, "frames": meter.count,
    }  # fmt: skip


def main() -> int:
    """Film, measure, show."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.avi"
        what = film(path)
        print(f"watching for {SECONDS} s …", file=sys.stderr)
        report = show(*measure(path), what)
    (OUT / "measures.json").write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
