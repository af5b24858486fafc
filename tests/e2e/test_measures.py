"""Occupancy and distance on real recordings, by the command that anybody can run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from models.evaluate import main

pytestmark = pytest.mark.data
WIDTH, HEIGHT, FRAMES = 768, 576, 795


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    fields: dict[str, Any] = json.loads(capsys.readouterr().out)
    return fields


def truth(data: Path) -> list[tuple[int, float, float, float, float]]:
    """Return frame, foot in pixels, place in metres of every labelled person."""
    rows = []
    for line in (data / "pets09_s2l1" / "gt.txt").read_text().splitlines():
        frame, _, x, y, width, height, _, u, v, _ = map(float, line.split(","))
        rows.append((int(frame), x + width / 2, y + height, u, v))
    return rows


@pytest.mark.parametrize("zone", [(0, 0, 768, 576), (300, 100, 700, 500)])
def test_people_in_a_zone_are_within_a_tenth_of_the_labels(
    data: Path, capsys: pytest.CaptureFixture[str], zone: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = zone
    corners = f"{left},{top},{right},{top},{right},{bottom},{left},{bottom}"
    video = str(data / "pets09_s2l1" / "vtest.avi")
    got = told(capsys, "occupancy", video, "--fps", "7", "--zone", corners)
    inside = [1 for _, x, y, _, _ in truth(data) if left <= x <= right and top <= y <= bottom]
    assert got["people_mean"] == pytest.approx(len(inside) / FRAMES, rel=0.1)


def test_pairs_from_labelled_boxes_are_within_a_twentieth(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes, the given homography and our statistics, against the labels' own metres."""
    from edge_agent.core.ground import Ground

    rows = (data / "pets09_s2l1" / "H_foot_px_to_world_m.txt").read_text().splitlines()
    a, b, c = (tuple(map(float, row.split())) for row in rows)
    floor = Ground((a, b, c))  # type: ignore[arg-type]
    lines = []
    for number, (frame, x, y, _, _) in enumerate(truth(data)):
        place = floor.place((x, y))
        assert place is not None
        lines.append(f"{frame} {number} {place[0]} 0 {place[1]} 0 0 0")
    path = tmp_path / "obsmat.txt"
    path.write_text("\n".join(lines))
    got = told(capsys, "distance", "--tracks", str(path))
    known = json.loads((data / "pets09_s2l1" / "derived_counts.json").read_text())["distance"]
    assert got["pairs_under_1m"] == pytest.approx(known["pairs_lt_1m"], rel=0.05)
    assert got["pairs_under_2m"] == pytest.approx(known["pairs_lt_2m"], rel=0.05)


def test_pairs_from_our_own_detector_are_within_15_percent(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data / "pets09_s2l1"
    got = told(
        capsys, "distance", "--video", str(folder / "vtest.avi"), "--fps", "7",
        "--homography", str(folder / "H_foot_px_to_world_m.txt"),
    )  # fmt: skip
    known = json.loads((folder / "derived_counts.json").read_text())["distance"]
    assert got["pairs_under_1m"] == pytest.approx(known["pairs_lt_1m"], rel=0.15)
    assert got["pairs_under_2m"] == pytest.approx(known["pairs_lt_2m"], rel=0.15)


@pytest.mark.parametrize(("scene", "people"), [("eth", 360), ("hotel", 390)])
def test_walkers_with_known_places_give_the_statistics_of_their_places(
    data: Path, capsys: pytest.CaptureFixture[str], scene: str, people: int
) -> None:
    path = data / "tracks_metres" / scene / "obsmat.txt"
    got = told(capsys, "distance", "--tracks", str(path))
    frames: dict[float, list[tuple[float, float]]] = {}
    for line in path.read_text().splitlines():
        frame, _, x, _, y, *_ = map(float, line.split())
        frames.setdefault(frame, []).append((x, y))
    under = [0, 0]
    for places in frames.values():
        for i, one in enumerate(places):
            for other in places[i + 1 :]:
                under[0] += math.dist(one, other) < 1
                under[1] += math.dist(one, other) < 2
    assert got["people"] == people
    assert [got["pairs_under_1m"], got["pairs_under_2m"]] == under
    assert got["people_under_1m"] <= got["people_under_2m"] <= people


@pytest.mark.parametrize(
    "arguments",
    [
        ["occupancy", "VIDEO", "--zone", "0,0,1"],
        ["occupancy", "VIDEO", "--zone", "0,0,9000,0,9000,9000"],
        ["occupancy", "/nope.avi", "--zone", "0,0,10,0,10,10"],
        ["distance"],
        ["distance", "--tracks", "/nope.txt"],
        ["distance", "--video", "VIDEO", "--homography", "/nope.txt"],
    ],
)
def test_wrong_input_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    video = str(data / "pets09_s2l1" / "vtest.avi")
    assert main([video if a == "VIDEO" else a for a in arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
