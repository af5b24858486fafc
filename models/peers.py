"""The peers of `make bench`, run by `models.bench_counting` in an environment of their own.

    .venv-peers/bin/python models/peers.py DETECTIONS.npz LINES.json

Reads the same detections as ours, prints one line of JSON: counts and time for each peer and line.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

HYSTERESIS_PX = 5.0


def supervision_bytetrack(
    frames: list[Any], fps: float, line: list[list[float]], **settings: float
) -> tuple[int, int]:
    """Return (forward, backward) of supervision on trackers' ByteTrack, bottom centre."""
    import supervision as sv  # noqa: PLC0415 - only where it is installed
    import trackers  # noqa: PLC0415

    tracker = trackers.ByteTrackTracker(frame_rate=fps, **settings)
    zone = sv.LineZone(
        sv.Point(*line[0]), sv.Point(*line[1]), triggering_anchors=(sv.Position.BOTTOM_CENTER,)
    )
    for boxes, scores in frames:
        found = sv.Detections(xyxy=boxes, confidence=scores, class_id=np.zeros(len(boxes), int))
        found = tracker.update(found)
        if found.tracker_id is not None:
            found = found[found.tracker_id >= 0]
        zone.trigger(found)
    return int(zone.out_count), int(zone.in_count)


def norfair_iou(frames: list[Any], _fps: float, line: list[list[float]]) -> tuple[int, int]:
    """Return (forward, backward) of norfair's tracks over a line with 5 px hysteresis."""
    import norfair  # noqa: PLC0415

    tracker = norfair.Tracker(
        distance_function="iou", distance_threshold=0.7, hit_counter_max=15, initialization_delay=2
    )
    start, end = np.array(line[0]), np.array(line[1])
    way = end - start
    across = np.array([-way[1], way[0]]) / np.hypot(*way)
    sides: dict[int, int] = {}
    counts = {1: 0, -1: 0}
    for boxes, scores in frames:
        found = [
            norfair.Detection(points=box.reshape(2, 2), scores=np.array([score, score]))
            for box, score in zip(boxes, scores, strict=True)
        ]
        for track in tracker.update(detections=found):
            foot = np.array([track.estimate[:, 0].mean(), track.estimate[1, 1]])
            distance = float((foot - start) @ across)
            if abs(distance) < HYSTERESIS_PX:
                continue
            side = 1 if distance > 0 else -1
            if sides.get(track.id, side) != side:
                counts[side] += 1
            sides[track.id] = side
    return counts[1], counts[-1]


def main() -> None:
    """Run every peer on every line."""
    warnings.simplefilter("ignore")
    kept = np.load(sys.argv[1])
    asked = json.loads(Path(sys.argv[2]).read_text())
    frames_all = [
        (kept["xyxy"][kept["frame"] == i], kept["score"][kept["frame"] == i])
        for i in range(asked["frames"])
    ]
    sure = [(boxes[scores >= 0.3], scores[scores >= 0.3]) for boxes, scores in frames_all]
    tuned = {"track_activation_threshold": 0.3, "high_conf_det_threshold": 0.3}
    peers: dict[str, Any] = {
        "supervision + trackers, defaults": lambda line: supervision_bytetrack(
            frames_all, asked["fps"], line
        ),
        "supervision + trackers, 0.3/0.3": lambda line: supervision_bytetrack(
            frames_all, asked["fps"], line, **tuned
        ),
        "norfair, IoU": lambda line: norfair_iou(sure, asked["fps"], line),
    }
    results = {}
    for name, run in peers.items():
        begin = time.perf_counter()
        counts = {label: run(line) for label, line in asked["lines"].items()}
        took_s = time.perf_counter() - begin
        results[name] = {"counts": counts, "ms": 1e3 * took_s / len(frames_all) / len(counts)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
