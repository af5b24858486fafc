"""Child processes of the demonstration: started, watched, stopped, their output kept in files."""

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
from pathlib import Path

_PR_SET_PDEATHSIG = 1
STOP_AFTER_S = 10.0
_turns = itertools.count(os.getpid() * 1009)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One child in a session of its own, so that Ctrl-C reaches it only through us."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - this program has one thread
            )

    def ended(self) -> int | None:
        """Return the exit status once the child has ended."""
        return self._process.poll()

    def reason(self) -> str:
        """Return why the child ended: its last words that are not a line of its log."""
        lines = self.tail().strip().splitlines() or ["no output"]
        spoken = [line for line in lines if " event=" not in line]
        return (spoken or lines)[-1]

    def tail(self) -> str:
        """Return the last 4 kB that the child wrote."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - 4096))
            return log.read().decode(errors="replace")

    def stop(self) -> None:
        """Ask the child to end; insist after `STOP_AFTER_S`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(STOP_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now.

    Processes go through them from different beginnings, and the system gives none of them to a
    connection: what is free now is still free when its server begins.
    """
    return next(port for port in map(_port, _turns) if is_free(port))


def _port(turn: int) -> int:
    return 20_000 + turn % 12_000


def is_free(port: int) -> bool:
    """Return whether a TCP port of 127.0.0.1 can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Return whether somebody listens on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
