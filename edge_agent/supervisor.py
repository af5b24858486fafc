"""Keeps the agent's processes running, and lets nothing but their log lines through."""

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from edge_agent.io.process import Gate

log = logging.getLogger("edge_agent")

WRONG_INPUT = 2
BEGIN_ANEW = 3
"""Vision ended because something was stopped or lifted; it starts again at once, with that."""
CANNOT_START = "event=cannot_start why="
LONGEST_BACKOFF_S = 30.0
STEADY_AFTER_S = 60.0
STOP_WITHIN_S = 15.0
TICK_S = 0.1


class Supervised:
    """A process that is started again when it dies. What it writes passes a gate."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        passed: tuple[int, ...] = (),
    ) -> None:
        """Prepare a process.

        Args:
            name: what log lines call it.
            command: its command line.
            environment: what it finds in its environment besides ours.
            passed: descriptors that it is started with.
        """
        self.name = name
        self._command = command
        self._environment = {**os.environ, **environment}
        self._backoff_s = 1.0
        self._started_s = 0.0
        self._again_s = 0.0
        self._pump: threading.Thread | None = None
        self._passed = passed
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self) -> int | None:
        """Start the process if it is due; return its exit status where that ends everything."""
        now_s = time.monotonic()
        if self.process is None:
            if now_s >= self._again_s:
                self._started_s = now_s
                self._start()
            return None
        status = self.process.poll()
        if status is None:
            return None
        if self._pump:
            self._pump.join(1.0)
        if status in (0, WRONG_INPUT):
            return status
        self.process = None
        if status == BEGIN_ANEW:
            self._again_s = now_s
            return None
        if now_s - self._started_s > STEADY_AFTER_S:
            self._backoff_s = 1.0
        log.warning(
            "event=restart process=%s status=%d in_s=%g", self.name, status, self._backoff_s
        )
        self._again_s = now_s + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
        return None

    def _start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            self._command,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=self._passed,
            env=self._environment,
        )
        self._pump = threading.Thread(target=self._let_through, args=[self.process], daemon=True)
        self._pump.start()

    def _let_through(self, process: subprocess.Popen[bytes]) -> None:
        """Pass the process's log lines on; say once a process that others were held back."""
        assert process.stderr is not None  # noqa: S101 - for the type checker
        gate = Gate(time.monotonic)
        with process.stderr as written:
            while data := os.read(written.fileno(), 4096):
                before = gate.refused
                for line in gate.take(data):
                    _, spoken, why = line.partition(CANNOT_START)
                    print(why if spoken else line, file=sys.stderr, flush=True)  # noqa: T201
                if gate.refused and not before:
                    log.warning("event=output_held_back process=%s", self.name)

    def stop(self) -> None:
        """Ask the process to end; insist after a while."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def supervise(parts: Sequence[Supervised], until_s: float = math.inf) -> int:
    """Keep processes running until asked to stop, or until one ends for good; return its status.

    Args:
        parts: the processes.
        until_s: when it is over at the latest, on the monotonic clock.
    """
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    status: int | None = None
    while not stopping and status is None and time.monotonic() < until_s:
        for part in parts:
            ended = part.tend()
            status = ended if status is None else status
        time.sleep(TICK_S)
    for part in reversed(parts):
        part.stop()
    return status or 0
