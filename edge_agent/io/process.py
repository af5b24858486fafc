"""How the agent's processes log, and how little of that gets out.

A log line says what a process did, never what a camera saw (R13). What vision writes to its error
output passes a gate: lines of the one form below, short, printable, and few. So a forgotten
`print(frame)` or a library's chatter ends there, and not in a journal on a disk.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator

LONGEST_LINE = 500
MOST_LINES_A_MINUTE = 120
_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:INFO|WARNING|ERROR) edge_agent[a-z_.]* "
    r"event=[a-z0-9_]{1,40}(?: [ -~]*)?"
)
_ENCODED = re.compile(r"[A-Za-z0-9+=_-]{65,}")
"""A run that could be encoded bytes; the longest word we write is a digest of 64."""


def log_to_stderr() -> None:
    """Log lines of `time level part event=…` to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Gate:
    """Lets a process's log lines through, and nothing else that it writes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rest = b""
        self._minute_s = -60.0
        self._passed = 0
        self.refused = 0
        """Lines that were not let through; what they said is gone."""

    def take(self, data: bytes) -> Iterator[str]:
        """Take in what was written; yield the lines that may pass."""
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._rest = rest
        for line in lines:
            if self._may_pass(line):
                yield line.decode("ascii")
            else:
                self.refused += 1

    def _may_pass(self, line: bytes) -> bool:
        if len(line) > LONGEST_LINE or not line.isascii():
            return False
        text = line.decode("ascii")
        if not _LINE.fullmatch(text) or _ENCODED.search(text):
            return False
        now_s = self._clock()
        if now_s - self._minute_s >= 60:
            self._minute_s, self._passed = now_s, 0
        self._passed += 1
        return self._passed <= MOST_LINES_A_MINUTE
