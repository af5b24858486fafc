"""Evaluation, off the device: the agent's own code and defaults on any recording.

    python -m models.evaluate counting VIDEO --fps 7 --line 384,0,384,576 --json

It prints exact counts of a few people, which a device never does; it is not installed on one.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge_agent import config
from edge_agent.core import counting
from edge_agent.core.geometry import Point
from edge_agent.pixels.source import Source, SourceError, open_source

SHORTEST_LINE_PX = 8.0
View = Literal["side", "overhead"]


class EvaluationError(RuntimeError):
    """The evaluation cannot be done as asked; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What counting a recording gave. Frame times are capture to zeroised."""

    forward: int
    backward: int
    frames: int
    wall_s: float
    cpu_s: float
    frame_ms_p50: float
    frame_ms_p99: float


def parse_line(text: str) -> tuple[Point, Point]:
    """Return the ends of a line in pixels from `ax,ay,bx,by`.

    Raises:
        EvaluationError: the text is not that.
    """
    try:
        ax, ay, bx, by = (float(part) for part in text.split(","))
    except ValueError:
        raise EvaluationError(
            f"--line: expected four pixel coordinates such as 384,0,384,576, got {text}"
        ) from None
    return (ax, ay), (bx, by)


def place_line(ends: tuple[Point, Point], size: tuple[int, int]) -> counting.Line:
    """Return a line in pixels as a normalised one.

    Raises:
        EvaluationError: it lies outside the picture or is too short to count.
    """
    width, height = size
    (ax, ay), (bx, by) = ends
    for x, y in ends:
        if not (0 <= x <= width and 0 <= y <= height):
            raise EvaluationError(
                f"--line: expected points inside the picture of {width}x{height}, got {x:g},{y:g}"
            )
    if max(abs(ax - bx), abs(ay - by)) < SHORTEST_LINE_PX:
        raise EvaluationError(
            f"--line: expected a line of at least {SHORTEST_LINE_PX:g} pixels, which can count;"
            " move its ends apart"
        )
    return counting.Line("line", (ax / width, ay / height), (bx / width, by / height))


def _cpu_s() -> float:
    """Return processor time of this process and of the decoders that it has ended."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whose))


def count(source: Source, line: counting.Line, view: View) -> tuple[int, int]:
    """Return the passages of a source over a line: (forward, backward)."""
    counter = counting.counter([line], view)
    forward = backward = 0
    show = sys.stderr.isatty()
    for index, observation in enumerate(source):
        for passage in counter.update(observation):
            forward += passage.forward
            backward += not passage.forward
        if show and index % 50 == 0:
            print(f"\r{index} frames", end="", file=sys.stderr, flush=True)
    if show:
        print("\r", end="", file=sys.stderr)
    return forward, backward


def evaluate_counting(
    video: Path, fps: float | None, line: str, detector: str | None, view: View = "side"
) -> Outcome:
    """Count a recording.

    Raises:
        EvaluationError: the line or the frame rate cannot be used.
        SourceError: the recording cannot be read.
    """
    if fps is not None and not 0 < fps <= 120:
        raise EvaluationError(f"--fps: expected a rate above 0 and up to 120, got {fps:g}")
    ends = parse_line(line)
    camera = config.Camera(source=str(video), fps=fps, view=view)
    chosen = config.Detector(model=detector) if detector else config.Detector()
    wall, cpu = time.perf_counter(), _cpu_s()
    with open_source(camera, config.Replay(pace="fast"), chosen) as source:
        forward, backward = count(source, place_line(ends, source.size), view)
        health = source.health()
    return Outcome(
        forward=forward,
        backward=backward,
        frames=health.frames + health.late,
        wall_s=round(time.perf_counter() - wall, 3),
        cpu_s=round(_cpu_s() - cpu, 3),
        frame_ms_p50=round(health.p50_ms, 2),
        frame_ms_p99=round(health.p99_ms, 2),
    )


def main(argv: list[str] | None = None) -> int:
    """Run one evaluation; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m models.evaluate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    counts = commands.add_parser("counting", help="passages over a line of a video")
    counts.add_argument("video", type=Path)
    counts.add_argument("--fps", type=float, help="rate it was shot at (default: the file's)")
    counts.add_argument("--line", required=True, metavar="AX,AY,BX,BY", help="in pixels")
    counts.add_argument("--detector", help="a folder of models/weights (default: the agent's)")
    counts.add_argument("--view", choices=["side", "overhead"], default="side")
    counts.add_argument("--json", action="store_true", help="one line of JSON")
    given = parser.parse_args(argv)
    try:
        outcome = evaluate_counting(given.video, given.fps, given.line, given.detector, given.view)
    except (EvaluationError, SourceError) as error:
        print(error, file=sys.stderr)
        return 2
    fields = asdict(outcome)
    if given.json:
        print(json.dumps(fields))
    else:
        print("\n".join(f"{name:<14}{value}" for name, value in fields.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
