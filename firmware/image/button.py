#!/usr/bin/python3 -I
"""Ends when somebody presses the device's button: `dizaine-button.service` acts on that.

A button is what the kernel reports as one of two keys: a PC's power button, or a line of a board
that its device tree names (docs/hardware.md).
"""

import os
import select
import struct
import sys
from pathlib import Path

EVENT = struct.Struct("llHHi")
KEY, PRESSED = 1, 1
BUTTONS = {116, 148}
"""KEY_POWER and KEY_PROG1."""
LOOK_AGAIN_MS = 10_000


def main() -> int:
    """Wait for ever; inputs may come and go."""
    poll, opened = select.poll(), dict[int, Path]()
    while True:
        for path in set(Path("/dev/input").glob("event*")) - set(opened.values()):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            opened[descriptor] = path
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(LOOK_AGAIN_MS):
            try:
                if was_pressed(descriptor):
                    print("event=button_pressed", flush=True)  # noqa: T201 - for the journal
                    return 0
            except OSError:  # it was pulled out
                poll.unregister(descriptor)
                os.close(descriptor)
                del opened[descriptor]


def was_pressed(descriptor: int) -> bool:
    """Return whether one of the buttons was pressed; of nothing else anything is kept."""
    return any(
        kind == KEY and code in BUTTONS and value == PRESSED
        for _, _, kind, code, value in EVENT.iter_unpack(os.read(descriptor, 64 * EVENT.size))
    )


if __name__ == "__main__":
    sys.exit(main())
