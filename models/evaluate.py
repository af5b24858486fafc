"""Evaluation, off the device: the agent's own code and defaults on any recording.

    python -m models.evaluate counting VIDEO --fps 7 --line 384,0,384,576 --json
    python -m models.evaluate occupancy VIDEO --fps 7 --zone 0,200,768,200,768,576,0,576 --json
    python -m models.evaluate distance --tracks obsmat.txt --json
    python -m models.evaluate masks IMAGES_DIR BOXES.csv --json
    python -m models.evaluate gesture VIDEO --json
    python -m models.evaluate blur --images IMAGES_DIR --boxes BOXES.csv --json
    python -m models.evaluate blur --video VIDEO --truth gt.txt --json

It prints exact counts of a few people, which a device never does; it is not installed on one.
"""

import argparse
import itertools
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent import config
from edge_agent.core import counting
from edge_agent.core.geometry import Point
from edge_agent.core.gesture import Gestures
from edge_agent.core.ground import Ground
from edge_agent.core.zones import Histogram, Zones, nearest, seen
from edge_agent.pixels.runtime import RuntimeMissingError
from edge_agent.pixels.source import FacesWanted, Source, SourceError, open_source
from edge_agent.pixels.weights import WeightsError
from edge_agent.wire.declaration import Zone
from models import evaluate_blur, evaluate_masks
from models.evaluate_masks import BoxesError

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
    ends = parse_line(line)
    camera = config.Camera(source=str(video), fps=_rate(fps), view=view)
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


@dataclass(frozen=True, slots=True)
class Stays:
    """What watching a zone gave, before any release rule."""

    frames: int
    seconds: float
    people_mean: float
    contributors: int
    longest_s: float


def evaluate_occupancy(video: Path, fps: float | None, zone: str, view: View = "side") -> Stays:
    """Watch a zone of a recording.

    Raises:
        EvaluationError: the zone or the frame rate cannot be used.
        SourceError: the recording cannot be read.
    """
    camera = config.Camera(source=str(video), fps=_rate(fps), view=view)
    corners = _corners(zone)
    counter = counting.counter([], view)
    at: list[float] = []
    with open_source(camera, config.Replay(pace="fast"), config.Detector()) as source:
        width, height = source.size
        inside = tuple((x / width, y / height) for x, y in corners)
        if any(not 0 <= value <= 1 for point in inside for value in point):
            raise EvaluationError(f"--zone: expected corners in the picture of {width}x{height}")
        zones = Zones([Zone(id="zone", corners=inside, capacity=1)])
        for observation in source:
            counter.update(observation)
            zones.update(observation, counter.tracks)
            at.append(observation.at_s)
    tally = zones.close()["zone"]
    seconds = at[-1] - at[0] if at else 0.0
    return Stays(
        frames=len(at),
        seconds=round(seconds, 2),
        people_mean=round(tally.stayed_s / seconds, 3) if seconds else 0.0,
        contributors=tally.contributors,
        longest_s=round(tally.longest_s, 2),
    )


def _rate(fps: float | None) -> float | None:
    if fps is not None and not 0 < fps <= 120:
        raise EvaluationError(f"--fps: expected a rate above 0 and up to 120, got {fps:g}")
    return fps


def _corners(text: str) -> list[Point]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) < 6 or len(values) % 2:
        raise EvaluationError(
            f"--zone: expected three corners or more in pixels, x,y,x,y,x,y, got {text}"
        )
    return list(zip(values[::2], values[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Nearness:
    """How near people were to each other, from their places in metres, frame by frame."""

    people: int
    frames: int
    pairs: int
    pairs_under_1m: int
    pairs_under_2m: int
    people_under_1m: int
    people_under_2m: int
    mean_nearest_m: float


def evaluate_distance(tracks: Path) -> Nearness:
    """Measure places in metres with the agent's own statistics: a median a person (R7).

    Args:
        tracks: text, a row an observation: frame, person, x, z, y, … in metres (ETH's `obsmat`).

    Raises:
        EvaluationError: the file is not that.
    """
    frames: dict[float, dict[int, Point]] = {}
    try:
        for line in tracks.read_text().splitlines():
            if line.strip():
                frame, person, x, _, y, *_ = (float(part) for part in line.split())
                frames.setdefault(frame, {})[int(person)] = (x, y)
    except OSError as error:
        raise EvaluationError(f"{tracks}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise EvaluationError(f"{tracks}: expected rows of frame, person, x, z, y") from None
    return _nearness(list(frames.values()))


def evaluate_distance_video(video: Path, fps: float | None, homography: Path) -> Nearness:
    """Measure a recording with the agent's own detector and tracker.

    Args:
        video: the recording.
        fps: the rate it was shot at.
        homography: text, 3 rows of 3: from pixels of the foot to metres.

    Raises:
        EvaluationError: the homography cannot be used.
        SourceError: the recording cannot be read.
    """
    try:
        rows = [tuple(map(float, line.split())) for line in homography.read_text().splitlines()]
        (a, b, c) = (row for row in rows if row)
    except (OSError, ValueError):
        raise EvaluationError(f"{homography}: expected three rows of three numbers") from None
    camera = config.Camera(source=str(video), fps=_rate(fps))
    counter = counting.counter([], "side")
    frames = []
    with open_source(camera, config.Replay(pace="fast"), config.Detector()) as source:
        width, height = source.size
        scaled = tuple((row[0] * width, row[1] * height, row[2]) for row in (a, b, c))
        floor = Ground((scaled[0], scaled[1], scaled[2]))
        for observation in source:
            counter.update(observation)
            feet = seen(observation, counter.tracks)
            places = {number: floor.place(foot) for number, foot in feet.items()}
            frames.append({n: at for n, at in places.items() if at is not None})
    return _nearness(frames)


def _nearness(frames: list[dict[int, Point]]) -> Nearness:
    near: dict[int, Histogram] = {}
    pairs = [0, 0, 0]
    for places in frames:
        for one, other in itertools.combinations(places.values(), 2):
            apart = math.dist(one, other)
            pairs = [pairs[0] + 1, pairs[1] + (apart < 1), pairs[2] + (apart < 2)]
        for person, distance_cm in nearest(places).items():
            near.setdefault(person, Histogram()).add(distance_cm, 1.0)
    medians = [histogram.median_cm() for histogram in near.values()]
    return Nearness(
        people=len(near),
        frames=len(frames),
        pairs=pairs[0],
        pairs_under_1m=pairs[1],
        pairs_under_2m=pairs[2],
        people_under_1m=sum(median < 100 for median in medians),
        people_under_2m=sum(median < 200 for median in medians),
        mean_nearest_m=round(sum(medians) / max(1, len(medians)) / 100, 3),
    )


def evaluate_gesture(video: Path, fps: float | None) -> dict[str, int]:
    """Return how many objections the agent sees in a recording: heads that are shaken.

    Raises:
        EvaluationError: the frame rate cannot be used.
        SourceError: the recording cannot be read.
    """
    camera = config.Camera(source=str(video), fps=_rate(fps))
    gestures = Gestures()
    wanted = FacesWanted(masks=False)
    with open_source(camera, config.Replay(pace="fast"), config.Detector(), faces=wanted) as source:
        found = sum(len(gestures.update(observation)) for observation in source)
    return {"objections": found}


def _distance(given: argparse.Namespace) -> Nearness:
    if given.tracks is not None:
        return evaluate_distance(given.tracks)
    if given.video is None or given.homography is None:
        raise EvaluationError("distance: expected --tracks, or --video and --homography")
    return evaluate_distance_video(given.video, given.fps, given.homography)


def _blur(given: argparse.Namespace) -> evaluate_blur.Readable:
    if given.images and given.boxes:
        return evaluate_blur.evaluate_faces(given.images, given.boxes)
    if given.video and given.truth:
        return evaluate_blur.evaluate_people(given.video, given.truth)
    raise EvaluationError("blur: expected --images and --boxes, or --video and --truth")


def main(argv: list[str] | None = None) -> int:
    """Run one evaluation; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    counts = commands.add_parser("counting", help="passages over a line of a video")
    stays = commands.add_parser("occupancy", help="people in a zone of a video, over time")
    for command in (counts, stays):
        command.add_argument("video", type=Path)
        command.add_argument("--fps", type=float, help="rate it was shot at (default: the file's)")
        command.add_argument("--view", choices=["side", "overhead"], default="side")
    counts.add_argument("--line", required=True, metavar="AX,AY,BX,BY", help="in pixels")
    counts.add_argument("--detector", help="a folder of models/weights (default: the agent's)")
    stays.add_argument("--zone", required=True, metavar="X,Y,X,Y,…", help="corners in pixels")
    apart = commands.add_parser("distance", help="distances between people of known places")
    apart.add_argument("--tracks", type=Path, help="rows of frame, person, x, z, y, … in metres")
    apart.add_argument("--video", type=Path, help="a recording instead")
    apart.add_argument("--homography", type=Path, help="3 x 3, foot pixel to metres")
    apart.add_argument("--fps", type=float, help="rate that the recording was shot at")
    worn = commands.add_parser("masks", help="masks on the faces of labelled pictures")
    worn.add_argument("images", type=Path, help="folder of the pictures")
    worn.add_argument(
        "boxes", type=Path, help=f"table with the columns {','.join(evaluate_masks.COLUMNS)}"
    )
    shaken = commands.add_parser("gesture", help="heads shaken in a video: objections")
    shaken.add_argument("video", type=Path)
    shaken.add_argument("--fps", type=float, help="rate it was shot at (default: the file's)")
    hidden = commands.add_parser("blur", help="who stays readable while a device is installed")
    hidden.add_argument("--images", type=Path, help="folder of pictures with labelled faces")
    hidden.add_argument("--boxes", type=Path, help="their table, as for masks")
    hidden.add_argument("--video", type=Path, help="a recording instead")
    hidden.add_argument("--truth", type=Path, help="its people, MOT15")
    for command in (counts, stays, apart, worn, shaken, hidden):
        command.add_argument("--json", action="store_true", help="one line of JSON")
    given = parser.parse_args(argv)
    try:
        found = _EVALUATIONS[given.command](given)
    except (
        BoxesError, EvaluationError, RuntimeMissingError, SourceError, WeightsError,
    ) as error:  # fmt: skip
        print(error, file=sys.stderr)
        return 2
    fields = found if isinstance(found, dict) else asdict(found)
    if given.json:
        print(json.dumps(fields))
    else:
        print("\n".join(f"{name:<19}{value}" for name, value in fields.items()))
    return 0


_EVALUATIONS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "counting": lambda g: evaluate_counting(g.video, g.fps, g.line, g.detector, g.view),
    "occupancy": lambda g: evaluate_occupancy(g.video, g.fps, g.zone, g.view),
    "distance": _distance,
    "masks": lambda g: evaluate_masks.evaluate(g.images, g.boxes, config.Detector()),
    "gesture": lambda g: evaluate_gesture(g.video, g.fps),
    "blur": _blur,
}


if __name__ == "__main__":
    sys.exit(main())
