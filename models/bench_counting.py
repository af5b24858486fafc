"""`make bench`, first part: our counting beside the peers', on the same detections, in one run.

Prints counts for each line with the truth, time per frame as a ratio to ours, and how much of a
frame's time is spent outside the network. The numbers go to out/bench/counting.json too.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent import config
from edge_agent.core.counting import Counter
from edge_agent.core.observation import Observation
from edge_agent.pixels.source import Health, open_source
from models.data import DATA
from models.evaluate import parse_line, place_line

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "bench"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
FPS = 7.0
TRUTH = {"300,60,300,576": (18, 13), "384,0,384,576": (18, 14), "520,0,520,576": (20, 16)}
"""Crossings on PETS S2.L1, forward and backward, from its labels."""


def observe(video: Path) -> tuple[list[Observation], tuple[int, int], Any]:
    """Return every observation of a video, the picture's size, and how the source did."""
    camera = config.Camera(source=str(video), fps=FPS)
    with open_source(camera, config.Replay(pace="fast"), config.Detector()) as source:
        seen = list(source)
        return seen, source.size, source.health()


def ours(seen: list[Observation], size: tuple[int, int]) -> dict[str, Any]:
    """Return our counts and time per frame."""
    counts = {}
    begin = time.perf_counter()
    for text in TRUTH:
        counter = Counter([place_line(parse_line(text), size)])
        found = [passage.forward for look in seen for passage in counter.update(look)]
        counts[text] = [sum(found), len(found) - sum(found)]
    took_s = time.perf_counter() - begin
    return {"counts": counts, "ms": 1e3 * took_s / len(seen) / len(TRUTH)}


def keep(seen: list[Observation], size: tuple[int, int]) -> list[str]:
    """Write detections and lines for the peers; return the two paths."""
    width, height = size
    rows = [
        (index, d.box.left * width, d.box.top * height, d.box.right * width, d.box.bottom * height,
         d.score)
        for index, look in enumerate(seen)
        for d in look.detections
    ]  # fmt: skip
    table = np.array(rows, np.float32)
    detections, lines = OUT / "detections.npz", OUT / "lines.json"
    np.savez(detections, frame=table[:, 0].astype(np.int32), xyxy=table[:, 1:5], score=table[:, 5])
    asked = {
        "fps": FPS, "frames": len(seen), "lines": {text: parse_line(text) for text in TRUTH},
    }  # fmt: skip
    lines.write_text(json.dumps(asked))
    return [str(detections), str(lines)]


def show(results: dict[str, Any], health: Health) -> None:
    """Print the comparison."""
    names = [f"x={text.split(',')[0]}" for text in TRUTH]
    print(f"{'forward/backward':<36}{''.join(f'{name:>12}' for name in names)}{'time':>10}")
    print(f"{'truth':<36}{''.join(f'{f}/{b:<3}'.rjust(12) for f, b in TRUTH.values())}")
    for name, result in results.items():
        cells = "".join(f"{f}/{b:<3}".rjust(12) for f, b in result["counts"].values())
        ratio = result["ms"] / results["Dizaine"]["ms"]
        print(f"{name:<36}{cells}{ratio:>9.1f}x")
    print(
        f"\ncapture to zeroised: p50 {health.p50_ms:.1f} ms, p99 {health.p99_ms:.1f} ms,"
        f" max {health.max_ms:.1f} ms; late {health.late}\n"
        f"outside the network: {100 * outside(health):.1f} % of a frame's time"
    )


def outside(health: Health) -> float:
    """Return the share of looking that is not spent in the network."""
    return 1 - health.stages.networks_s / health.stages.people_s


def main() -> int:
    """Run the comparison."""
    video = DATA / "pets09_s2l1" / "vtest.avi"
    if not video.exists():
        from deploy.local import clip  # noqa: PLC0415 - only where the recordings are absent

        video = clip.find()
    OUT.mkdir(parents=True, exist_ok=True)
    seen, size, health = observe(video)
    results = {"Dizaine": ours(seen, size)}
    paths = keep(seen, size)
    print("running the peers …", file=sys.stderr)
    done = subprocess.run(
        [PEERS, ROOT / "models" / "peers.py", *paths], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"the peers failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return 1
    results |= json.loads(done.stdout.splitlines()[-1])
    show(results, health)
    report = {"results": results, "truth": TRUTH, "outside_network": outside(health)}
    (OUT / "counting.json").write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
