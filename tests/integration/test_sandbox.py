"""Nothing that vision sees can be written anywhere; and what a process still may, it can do."""

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent import sandbox, surroundings
from edge_agent.__main__ import main
from edge_agent.io.process import LONGEST_LINE, MOST_LINES_A_MINUTE, Gate
from edge_agent.pixels import keeper

LEAKY = Path(__file__).with_name("leaky.py")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    sandbox.landlock_version() < sandbox.NEEDED_LANDLOCK,
    reason="this kernel has no Landlock with TCP",
)


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Yield a Unix socket's path and a TCP port that somebody listens on."""
    with socket.socket(socket.AF_UNIX) as near, socket.socket() as far:
        near.bind(str(tmp_path / "open.sock"))
        far.bind(("127.0.0.1", 0))
        for listener in (near, far):
            listener.listen(8)
        yield str(tmp_path / "open.sock"), far.getsockname()[1]


def attempts(mode: str, folder: Path, listeners: tuple[str, int]) -> tuple[dict[str, str], bytes]:
    existing = folder / "existing"
    existing.write_bytes(b"x" * 1000)
    arguments = [mode, str(folder), str(existing), listeners[0], str(listeners[1])]
    done = subprocess.run(
        [sys.executable, str(LEAKY), *arguments],
        capture_output=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    outcome: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcome, done.stderr


def test_a_frame_cannot_leave_vision_in_any_way_a_programmer_might_try(
    tmp_path: Path, listeners: tuple[str, int]
) -> None:
    outcome, stderr = attempts("confined", tmp_path, listeners)
    assert len(outcome) >= 30
    assert {name: what for name, what in outcome.items() if not what.startswith("refused")} == {}
    # OpenCV complains in words of its own; those end at the gate.
    assert len(stderr) < 1000
    assert passed(stderr)[0] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["existing", "open.sock"]
    assert (tmp_path / "existing").read_bytes() == b"x" * 1000


def test_without_the_sandbox_the_same_attempts_succeed(
    tmp_path: Path, listeners: tuple[str, int]
) -> None:
    outcome, stderr = attempts("free", tmp_path, listeners)
    Path("/tmp/dizaine-leak").unlink()
    Path("/dev/shm/dizaine-leak").unlink()
    done = {name for name, what in outcome.items() if what == "done"}
    # Containers and kernels differ in a few; everywhere most of it works.
    assert len(done) >= 24, outcome
    assert len(stderr) > 900_000


CONFINED = """
import socket, sys, threading
from pathlib import Path
from edge_agent import sandbox
folder, port = Path(sys.argv[1]), int(sys.argv[2])
sandbox.confine(sandbox.Needs(folders=(folder,), tcp_ports=(port,), sockets=True))
threading.Thread(target=lambda: (folder / "spool").write_text("kept")).start()
socket.create_connection(("127.0.0.1", port), 5).close()
for attempt in (lambda: Path(sys.argv[3]).write_text("x"),
                lambda: socket.create_connection(("127.0.0.1", int(sys.argv[4])), 5)):
    try:
        attempt()
    except PermissionError:
        continue
    sys.exit("not confined")
"""


def test_the_publisher_writes_its_folder_and_reaches_the_broker_and_nothing_else(
    tmp_path: Path, listeners: tuple[str, int]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        arguments = [str(own), str(listeners[1]), str(tmp_path / "x"), str(other.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, *arguments],
            capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (own / "spool").read_text() == "kept"


@pytest.mark.parametrize(
    ("source", "ports", "devices"),
    [
        ("/dev/video2", (), ("/dev/video2",)),
        ("rtsp://10.0.0.7/stream", (554,), ()),
        ("rtsps://u:p@10.0.0.7:8322/stream", (8322,), ()),
        ("/data/film.avi", (), ()),
    ],
)
def test_a_decoder_gets_its_camera_and_nothing_else(
    source: str, ports: tuple[int, ...], devices: tuple[str, ...]
) -> None:
    needed = keeper.needs(source)
    assert (needed.tcp_ports, tuple(map(str, needed.devices))) == (ports, devices)
    assert needed.folders == ()


def test_both_machines_have_a_number_for_every_call_that_is_refused() -> None:
    assert platform.machine() in sandbox._ARCHITECTURES
    tables = (sandbox._NEVER, sandbox._START_PROGRAMS, sandbox._REACH_OTHERS)
    for column, missing in ((0, set()), (1, {"fork", "vfork", "mknod"})):
        numbers = {name: pair[column] for table in tables for name, pair in table.items()}
        assert {name for name, number in numbers.items() if number < 0} == missing
        known = [number for number in numbers.values() if number >= 0]
        assert len(set(known)) == len(known)


# -- what gets out of a process's error output


def passed(data: bytes, clock: Any = lambda: 0.0) -> tuple[list[str], int]:
    gate = Gate(clock)
    lines = list(gate.take(data + b"\n"))
    return lines, gate.refused


GOOD = b"2026-11-21 08:15:00,123 INFO edge_agent.vision event=started config=3ae8074e355c74a8"


def test_a_log_line_passes_the_gate() -> None:
    assert passed(GOOD) == ([GOOD.decode()], 0)


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(3000),
        b"[[[ 12 200 31]\n [ 12 200 31]]]",
        GOOD + b" frame=" + os.urandom(64).hex().encode(),
        GOOD + b" frame=" + b"\xff\xfe",
        GOOD + b" x" * LONGEST_LINE,
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        b"Traceback (most recent call last):",
    ],
)
def test_anything_else_does_not(data: bytes) -> None:
    lines, refused = passed(data)
    assert lines == []
    assert refused >= 1


def test_the_gate_lets_few_lines_a_minute_through() -> None:
    lines, refused = passed(b"\n".join([GOOD] * (MOST_LINES_A_MINUTE + 50)))
    assert (len(lines), refused) == (MOST_LINES_A_MINUTE, 50)


# -- surroundings


def test_surroundings_that_are_not_safe_are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/swaps").write_text("Filename\tType\n/swapfile file 1 0 -2\n")
    (tmp_path / "proc/sys/kernel/core_pattern").write_text("|/usr/share/apport/apport %p\n")
    found = {finding.name: finding for finding in surroundings.examine(tmp_path)}
    assert [name for name in ("swap", "root", "core dumps") if not found[name].safe] == [
        "swap", "root", "core dumps",
    ]  # fmt: skip
    assert "/swapfile" in str(found["swap"])
    assert "swapoff" in str(found["swap"])


def test_the_agent_does_not_start_where_pixels_could_leave_memory(
    town: Any, grey_film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town.device("bus-1", grey_film, 5.0)
    unsafe = [finding for finding in surroundings.examine() if not finding.safe]
    if not unsafe:
        pytest.skip("these surroundings are safe")
    assert main(["run", "--config", str(town.agent_config)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(unsafe) + 1
    assert "--unsafe-development" in told[-1]
