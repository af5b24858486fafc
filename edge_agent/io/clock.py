"""Whether the clock can be right: a board without a battery wakes up in the past.

The service manager waits for a time server before it starts us (firmware/image). This is the floor
beneath it, wherever the agent runs: before this program was written, no window is opened and nobody
is spoken to.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

log = logging.getLogger(__name__)

EARLIEST_S = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
LOOK_EVERY_S = 1.0


def is_set(now_s: float) -> bool:
    """Return whether an instant, seconds since 1970 UTC, can be now."""
    return now_s >= EARLIEST_S


def wait_until_set(
    clock: Callable[[], float] = time.time,  # noqa: TID251 - the clock comes in
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Wait until the clock can be right; say once that we do."""
    told = False
    while not is_set(clock()):
        if not told:
            log.warning("event=clock_not_set why='it is before this program was written'")
            told = True
        sleep(LOOK_EVERY_S)
    if told:
        log.info("event=clock_set")
