"""What we tell a TPM, against a real implementation of one in software."""

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.processes import free_port
from edge_agent.io import tpm

LOCKOUT_INTERVAL = 0x210
"""TPM2_PT_LOCKOUT_INTERVAL: seconds until it forgets one failure; 0 where it locks nobody out."""
pytestmark = pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is not installed")


@contextmanager
def started(state: Path) -> Iterator[socket.socket]:
    """Yield a connection to a TPM that was just started, with its state in a folder."""
    port = free_port()
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags",
         "not-need-init,startup-clear", "--server", f"type=tcp,port={port}",
         "--ctrl", f"type=unixio,path={state}/ctrl"],
    )  # fmt: skip
    with connected(port) as made:
        yield made
    process.kill()
    process.wait()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a connection to a new one."""
    with started(tmp_path) as made:
        yield made


def connected(port: int) -> socket.socket:
    """Connect once it listens; it serves one connection, and ends with it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def ask(link: socket.socket, command: bytes) -> bytes:
    link.sendall(command)
    return link.recv(4096)


def interval_s(link: socket.socket) -> int:
    """Return how long it takes to forget one failure."""
    asked = struct.pack(">HIIIII", 0x8001, 22, 0x17A, 6, LOCKOUT_INTERVAL, 1)
    found: int = struct.unpack(">I", ask(link, asked)[-4:])[0]
    return found


def test_power_cuts_lock_no_tpm_that_we_use(link: socket.socket) -> None:
    assert interval_s(link) > 0
    assert tpm.forgive_power_cuts(lambda command: ask(link, command))
    assert interval_s(link) == 0


def test_a_tpm_that_somebody_else_owns_is_not_used(link: socket.socket) -> None:
    password = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
    body = struct.pack(">II", 0x4000000A, len(password)) + password + struct.pack(">H", 4) + b"else"
    changed = ask(link, struct.pack(">HII", 0x8002, 10 + len(body), 0x129) + body)
    assert struct.unpack(">I", changed[6:10]) == (0,)
    assert not tpm.forgive_power_cuts(lambda command: ask(link, command))
    assert interval_s(link) > 0


def test_a_machine_without_one_has_none() -> None:
    def absent(_command: bytes) -> bytes:
        raise FileNotFoundError(str(tpm.DEVICE))

    assert not tpm.forgive_power_cuts(absent)
    assert not tpm.forgive_power_cuts(lambda _: b"")
