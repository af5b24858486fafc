"""The agent as it is meant to run: on a read-only root, confined, without any development flag.

The root is made read-only in a mount namespace of the test's own; nothing else sees it.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent import sandbox, surroundings

READ_ONLY = """
set -e
root=$1; keep=$2; shift 2
mount --bind / "$root"
mount -o remount,ro,bind "$root"
for inside in /dev /proc /sys "$keep"; do mount --bind "$inside" "$root$inside"; done
exec chroot "$root" "$@"
"""


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[list[str]]:
    """Yield what runs a command where all but the test's own folder is read-only."""
    root = tmp_path_factory.mktemp("root")
    command = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(root), str(tmp_path)]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no mount namespace here: {probe.stderr.strip()}")
    return command


def test_in_safe_surroundings_the_agent_starts_and_its_records_say_so(
    town: Any, grey_film: Path, read_only: list[str], wait_until: Callable[..., None]
) -> None:
    others = [f for f in surroundings.examine() if not f.safe and f.name != "root"]
    if others or sandbox.landlock_version() < sandbox.NEEDED_LANDLOCK:
        pytest.skip(f"not safe here: {', '.join(finding.name for finding in others)}")
    town.broker.start()
    town.aggregator.start()
    agent = town.device("bus-1", grey_film, fps=0.25)
    agent.command = [*read_only, *(part for part in agent.command if "unsafe" not in part)]
    agent.start()
    wait_until(town.stored, 120, "a record from a confined agent")
    with urllib.request.urlopen(f"http://127.0.0.1:{town.web_port}/api/v1/records") as answer:
        records = json.load(answer)["records"]
    assert {record["development"] for record in records} == {False}
    assert "safe=True" in agent.log.read_text()
    agent.stop()


def test_the_same_agent_refuses_the_same_machine_with_a_writable_root(
    town: Any, grey_film: Path
) -> None:
    if all(finding.safe for finding in surroundings.examine()):
        pytest.skip("these surroundings are safe")
    town.device("bus-1", grey_film, fps=0.25)
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "run", "--config", str(town.agent_config)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "UNSAFE" in done.stderr
