"""Counting on recordings, with the agent's own code and defaults."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PETS = "pets09_s2l1/vtest.avi"


def evaluate(video: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "models.evaluate", "counting", str(video), "--json", *arguments],
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


@pytest.mark.data
@pytest.mark.alone
@pytest.mark.parametrize(
    ("line", "forward", "backward"),
    [("384,0,384,576", 18, 14), ("300,60,300,576", 18, 13), ("520,0,520,576", 20, 16)],
)
def test_crossings_on_pets_are_within_two_and_directions_within_three(
    data: Path, line: str, forward: int, backward: int
) -> None:
    got = evaluate(data / PETS, "--fps", "7", "--line", line)
    assert got["frames"] == 795
    assert abs(got["forward"] + got["backward"] - forward - backward) <= 2
    assert abs(got["forward"] - forward) + abs(got["backward"] - backward) <= 3
    assert got["frame_ms_p99"] < 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope.avi", "--line", "1,1,1,90"], "no such file"),
        (["README.md", "--line", "1,1,1,90"], "not a video"),
        (["GREY", "--line", "1,1,1,900"], "inside the picture of 320x240"),
        (["GREY", "--line", "1,1,2,2"], "which can count"),
        (["GREY", "--line", "1,1,2"], "four pixel coordinates"),
        (["GREY", "--line", "1,1,1,90", "--fps", "0"], "--fps: expected"),
        (["GREY", "--line", "1,1,1,90", "--detector", "x"], "no model x"),
    ],
)
def test_wrong_input_exits_with_2_and_one_line(
    grey_film: Path, arguments: list[str], said: str
) -> None:
    given = [str(grey_film) if part == "GREY" else part for part in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "models.evaluate", "counting", *given],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_nobody_is_counted_where_nobody_is(grey_film: Path) -> None:
    got = evaluate(grey_film, "--fps", "7", "--line", "160,0,160,240")
    assert (got["forward"], got["backward"], got["frames"]) == (0, 0, 40)
