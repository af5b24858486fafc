"""Masks and head shakes on real faces, by the commands that anybody can run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.evaluate import main
from tests.integration import heads

pytestmark = pytest.mark.data


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    fields: dict[str, Any] = json.loads(capsys.readouterr().out)
    return fields


def test_masks_are_judged_as_well_as_the_card_says(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data / "face_boxes"
    got = told(capsys, "masks", str(folder / "public_eval"), str(folder / "public_eval.csv"))
    assert got["faces"] == {"mask": 386, "no_mask": 113, "incorrect_mask": 13}
    assert got["recall_end_to_end"]["mask"] >= 0.93
    assert got["recall_end_to_end"]["no_mask"] >= 0.90
    alone = got["recall_classifier"]
    assert (alone["mask"] + alone["no_mask"]) / 2 >= 0.97
    assert got["confusion"]["incorrect_mask"].get("mask", 0) <= 13 / 3
    assert set(got["by_size"]["24 to 32 px"]) == {
        "faces", "found", "recall_end_to_end", "recall_classifier", "confusion",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("x.png,hat,1,1,2,2", "line 2: expected one of mask, no_mask, incorrect_mask, got hat"),
        ("x.png,mask,1,1,a,2", "line 2: expected a box in pixels"),
        ("x.png,mask,3,1,2,2", "line 2: expected xmin < xmax and ymin < ymax, got 3,1,2,2"),
        ("x.png,mask,nan,1,2,2", "line 2: expected xmin < xmax"),
        ("x.png,mask,1,1,2,2", "x.png: expected a picture"),
        ("x.png,mask,1", "expected the columns image, label, xmin, ymin, xmax, ymax"),
        ("", "no face in it"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, told: str
) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(f"image,label,xmin,ymin,xmax,ymax\n{row}\n")
    assert main(["masks", str(tmp_path), str(table)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("number", [0, 7])
@pytest.mark.parametrize("motion", heads.MOTIONS)
def test_a_head_that_is_shaken_objects_and_no_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], motion: str, number: int
) -> None:
    assert data.is_dir()
    move, expected = heads.MOTIONS[motion]
    clip = heads.film(tmp_path / "head.avi", number, move)
    assert told(capsys, "gesture", str(clip)) == {"objections": expected}


@pytest.mark.parametrize("video", ["pets09_s2l1/vtest.avi", "one_by_one/video.mp4"])
def test_people_who_walk_past_do_not_object(
    data: Path, capsys: pytest.CaptureFixture[str], video: str
) -> None:
    assert told(capsys, "gesture", str(data / video)) == {"objections": 0}


def test_a_confined_agent_lights_up_for_a_head_shake(
    data: Path, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """The whole way: a film, vision in its sandbox, and a light that it may still write."""
    assert data.is_dir()
    clip = heads.film(tmp_path / "head.avi", 0, heads.shaking)
    light = tmp_path / "brightness"
    light.write_text("0")
    run = [sys.executable, "-m", "edge_agent"]
    key = tmp_path / "key.pem"
    subprocess.run([*run, "keygen", "--out", key], check=True, capture_output=True)
    agent = tmp_path / "agent.toml"
    agent.write_text(
        f'device = "bus-1"\ndata_dir = "{tmp_path}/data"\nkey_file = "{key}"\n'
        f'[camera]\nsource = "{clip}"\n[replay]\npace = "real"\nloop = true\n'
        f'[objection]\nenabled = true\nlight = "{light}"\nlight_s = 5.0\n'
        '[[lines]]\nid = "main"\nstart = [0.5, 0.0]\nend = [0.5, 1.0]\n'
    )
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [*run, "run", "--config", agent, "--unsafe-development"], stderr=log
        )
    try:
        wait_until(lambda: light.read_text() == "1", 60, "the light")
        log_text = (tmp_path / "log").read_text()
        assert "not_confined" not in log_text
        assert "objection" not in log_text
    finally:
        running.terminate()
        running.wait(20)
    assert light.read_text() == "0"
