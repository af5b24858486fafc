"""What a technician reads when something is wrong: one line, exit code 2, no traceback."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edge_agent import sandbox
from tests.conftest import BIN

UNSAFE = "--unsafe-development"


def agent(
    town: Any, command: str = "run", more: tuple[str, ...] = (UNSAFE,)
) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = town.run(
        "dizaine-agent", command, "--config", str(town.agent_config), *more
    )
    return done


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines that are not the log's."""
    return [line for line in done.stderr.splitlines() if " event=" not in line]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("grey.avi", "nope.avi", "no such file"),
        ("grey.avi", "empty.avi", "empty"),
        ("grey.avi", "text.avi", "not a video"),
        ("bus-1.pem", "nope.pem", "no key"),
        ("bus-1.pem", "bus-1.pub.pem", "others may read this key"),
        ("[replay]", "[detector]\nmodel = 'x'\n[replay]", "no model x"),
        ("[replay]", "[detector]\nruntime = 'tflite'\n[replay]", "not installed"),
        ("[0.5, 1.0]", "[0.5, 1.5]", "must lie inside the picture"),
        ("[0.5, 1.0]", "[0.5, 0.001]", "cannot count"),
        ("[replay]", "[release]\nk = 9\n[replay]", "k may only be raised"),
        ("fps =", "fsp =", "unknown key camera.fsp"),
    ],
)
def test_wrong_input_ends_the_agent_with_one_line(
    town: Any, grey_film: Path, old: str, new: str, expected: str
) -> None:
    town.device("bus-1", grey_film, 5.0)
    (town.folder / "empty.avi").touch()
    (town.folder / "text.avi").write_text("hello\n" * 100)
    changed = town.agent_config.read_text().replace(old, new)
    assert changed != town.agent_config.read_text()
    town.agent_config.write_text(changed)
    done = agent(town)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = said(done)
    assert expected in line


def test_check_names_a_broker_that_does_not_answer(town: Any, grey_film: Path) -> None:
    town.device("bus-1", grey_film, 5.0)
    done = agent(town, "check")
    assert done.returncode == 2
    (line,) = said(done)
    assert "no broker answered at 127.0.0.1" in line


def test_check_says_that_all_is_well(town: Any, grey_film: Path) -> None:
    town.broker.start()
    town.device("bus-1", grey_film, 5.0)
    done = agent(town, "check")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [
        "swap", "root", "core", "locked", "landlock", "build", "declaration", "key", "camera",
        "broker",
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1].split() == ["broker", "ok"]


def test_check_sees_no_picture_in_memory_that_is_not_overwritten(
    town: Any, grey_film: Path, wait_until: Any
) -> None:
    """Its camera never answers, so that there is time to look."""
    town.device("bus-1", grey_film, 5.0)
    os.mkfifo(town.folder / "camera")
    changed = town.agent_config.read_text().replace(str(grey_film), str(town.folder / "camera"))
    town.agent_config.write_text(changed)
    command = [BIN / "dizaine-agent", "check", "--config", town.agent_config, UNSAFE]
    looking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        environment = Path(f"/proc/{looking.pid}/environ")
        wanted = {f"{name}={value}".encode() for name, value in sandbox.PERTURB.items()}
        wait_until(lambda: wanted <= set(environment.read_bytes().split(b"\0")))
    finally:
        looking.kill()
        looking.wait()


def test_a_second_publisher_on_the_same_folder_is_refused(
    town: Any, grey_film: Path, wait_until: Any
) -> None:
    first = town.device("bus-1", grey_film, 5.0)
    first.start()
    wait_until((town.folder / "bus-1" / "agent.sock").exists)
    done = agent(town, "publisher")
    assert done.returncode == 2
    assert "another publisher is running" in done.stderr
