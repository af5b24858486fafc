"""What we tell a TPM, against a real implementation of one in software."""

import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.io import tpm
from tests.integration.swtpm import ask, interval_s, started

pytestmark = pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is not installed")


@pytest.fixture
def link(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield a connection to a new one."""
    with started(tmp_path) as made:
        yield made


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
