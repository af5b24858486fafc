"""A TPM in software, and what a test asks it."""

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.processes import free_port

LOCKOUT_INTERVAL = 0x210
"""TPM2_PT_LOCKOUT_INTERVAL: seconds until it forgets one failure; 0 where it locks nobody out."""


@contextmanager
def started(state: Path) -> Iterator[socket.socket]:
    """Yield a connection to a TPM that was just started, with its state in a folder."""
    port = free_port()
    process = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags",
         "not-need-init,startup-clear", "--server", f"type=tcp,port={port}",
         "--ctrl", f"type=unixio,path={state}/ctrl"],
    )  # fmt: skip
    with _connected(port) as made:
        yield made
    process.kill()
    process.wait()


def _connected(port: int) -> socket.socket:
    """Connect once it listens; it serves one connection, and ends with it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def ask(link: socket.socket, command: bytes) -> bytes:
    """Give it a command; return its answer."""
    link.sendall(command)
    return link.recv(4096)


def interval_s(link: socket.socket) -> int:
    """Return how long it takes to forget one failure."""
    asked = struct.pack(">HIIIII", 0x8001, 22, 0x17A, 6, LOCKOUT_INTERVAL, 1)
    found: int = struct.unpack(">I", ask(link, asked)[-4:])[0]
    return found
