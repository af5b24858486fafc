"""import-linter holds the walls, and fails on each violation planted in a copy of the tree."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--config", "pyproject.toml", "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)},
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("edge_agent", "aggregator", "models"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("weights", "*.pyc")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_import_wall() -> None:
    outcome = lint(ROOT)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("module", "planted", "broken"),
    [
        ("edge_agent/core/observation.py", "import numpy", "may touch arrays"),
        (
            "edge_agent/publisher.py",
            "import edge_agent.core.observation",
            "The publisher reaches neither",
        ),
        (
            "edge_agent/publisher.py",
            "import edge_agent.pixels.source",
            "The publisher reaches neither",
        ),
        ("edge_agent/vision.py", "import edge_agent.pixels.frames", "doors out"),
        ("edge_agent/vision.py", "import paho.mqtt.client", "Vision reaches neither"),
        ("edge_agent/io/__init__.py", "import cv2", "may touch arrays"),
        ("edge_agent/wire/topics.py", "import edge_agent.core.observation", "Edge: __main__"),
        ("edge_agent/core/surprise.py", "", "Edge core flows one way"),
        ("aggregator/core/__init__.py", "import edge_agent.config", "share edge_agent.wire"),
        ("edge_agent/vision.py", "import models.evaluate", "Neither program imports models"),
    ],
)
def test_a_planted_import_is_found(copy: Path, module: str, planted: str, broken: str) -> None:
    path = copy / module
    path.write_text((path.read_text() if path.exists() else "") + f"\n{planted}\n")
    outcome = lint(copy)
    assert outcome.returncode != 0
    told = outcome.stdout.partition("Broken contracts")[2] or outcome.stdout
    assert broken in " ".join(told.split())
