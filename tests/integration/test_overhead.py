"""Counting from straight above: drawn doors, a real floor, and what suits a view."""

import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.core.counting import Line, counter
from edge_agent.pixels.overhead import WIDTH, OverheadDetector
from edge_agent.pixels.source import open_source, suggest_view
from models.evaluate import main
from tests.integration import doors

DOOR = Line("door", (0.0, 0.5), (1.0, 0.5))


def counted(path: Path, fps: float) -> tuple[int, int]:
    """Return passages downwards and upwards."""
    camera = config.Camera(source=str(path), fps=fps, view="overhead")
    counting = counter([DOOR], "overhead")
    ways = [0, 0]
    with open_source(camera, config.Replay(pace="fast"), config.Detector()) as source:
        for observation in source:
            for passage in counting.update(observation):
                ways[not passage.forward] += 1
    return ways[0], ways[1]


@pytest.mark.parametrize(
    ("seed", "half", "floor"),
    [(0, 18, 35), (1, 26, 35), (3, 18, 60), (4, 26, 60), (5, 34, 60), (7, 26, 110), (8, 34, 110)],
)
def test_people_at_a_drawn_door_are_counted_whatever_their_size(
    tmp_path: Path, seed: int, half: float, floor: float
) -> None:
    path = tmp_path / "door.avi"
    truth = doors.film(path, seed, half, floor)
    got = counted(path, doors.FPS)
    assert sum(truth) == doors.PASSAGES
    assert abs(got[0] - truth[0]) <= 1, (got, truth)
    assert abs(got[1] - truth[1]) <= 1, (got, truth)


def test_an_empty_floor_whose_light_changes_has_nobody() -> None:
    detector = OverheadDetector(np.zeros)
    chance = np.random.default_rng(0)
    floor = chance.normal(90, 8, (240, 320, 3))
    seen = 0
    for frame in range(200):
        light = 1 + 0.15 * np.sin(frame / 15) - (0.2 if frame > 120 else 0)
        image = np.clip(floor * light + chance.normal(0, 4, floor.shape), 0, 255)
        seen += len(detector.detect(image.astype(np.uint8)))
    assert seen == 0


def test_nothing_of_a_frame_but_the_floor_stays() -> None:
    detector = OverheadDetector(np.zeros)
    floor = np.full((240, 320, 3), 90, np.uint8)
    body = floor.copy()
    body[80:160, 120:200] = np.random.default_rng(1).integers(150, 255, (80, 80, 3))
    for _ in range(60):
        detector.detect(floor)
    for _ in range(30):
        assert len(detector.detect(body)) == 1
    detector.zeroise()
    assert not detector._small.any()
    assert not detector._now.any()
    assert detector._floor is not None
    assert np.abs(detector._floor - 90).max() < 6
    assert detector._floor.shape == (120, WIDTH, 3)


@pytest.mark.data
def test_a_real_floor_is_counted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four down and three up inside the picture; two more at its edges may count or not."""
    video = str(data / "overhead_floor" / "video.avi")
    arguments = ["counting", video, "--fps", "24", "--line", "0,240,640,240", "--view", "overhead"]
    assert main([*arguments, "--json"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["backward"] == 3
    assert got["forward"] in (4, 5)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "name", "fps", "view"),
    [
        ("overhead_floor", "video.avi", 24.0, "overhead"),
        ("pets09_s2l1", "vtest.avi", 7.0, "side"),
        ("one_by_one", "video.mp4", 10.0, "side"),
    ],
)
def test_the_view_that_suits_is_suggested(
    data: Path, folder: str, name: str, fps: float, view: str
) -> None:
    camera = config.Camera(source=str(data / folder / name), fps=fps)
    got = suggest_view(camera, config.Replay(pace="fast"), config.Detector(), looks=200)
    assert got == view
