"""The installation picture on real pictures: hardly a face or a body stays readable."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.evaluate import main

pytestmark = [pytest.mark.slow, pytest.mark.data]


def measured(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["blur", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_at_most_one_face_in_two_hundred_stays_readable(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = data / "face_boxes"
    found = measured(
        capsys, "--images", faces / "public_eval", "--boxes", faces / "public_eval.csv"
    )
    assert found["shown"] > 900
    assert found["percent"] <= 0.5
    # A coarse picture hides everybody and shows no door: it must not be the only answer.
    assert found["coarse"] < found["pictures"]


def test_hardly_a_silhouette_of_pets_stays_readable(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pets = data / "pets09_s2l1"
    found = measured(capsys, "--video", pets / "vtest.avi", "--truth", pets / "gt.txt")
    assert found["shown"] > 700
    assert found["percent"] <= 0.5
    assert found["coarse"] < found["pictures"]


def test_wrong_input_gets_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["blur", "--images", str(tmp_path)]) == 2
    assert "expected --images and --boxes" in capsys.readouterr().err
    assert main(["blur", "--images", str(tmp_path), "--boxes", str(tmp_path / "x.csv")]) == 2
    assert "cannot be read as a table" in capsys.readouterr().err
