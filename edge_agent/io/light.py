"""The light that tells a person that an objection was seen. It writes 1 or 0, and nothing else.

Linux shows lights as files: a LED on a GPIO (`gpio-leds`), and USB lights such as blink(1)
(`hid-led`), as `/sys/class/leds/NAME/brightness`. The file is opened before the process gives up
opening files for writing.
"""

import os
from pathlib import Path
from typing import Self


class LightError(RuntimeError):
    """The light cannot be used; the message is one line that says what to do."""


class Light:
    """A light, off until somebody objects; without a path, none."""

    def __init__(self, path: Path | None, on_s: float) -> None:
        """Open the light.

        Args:
            path: the file that lights it up; None for no light.
            on_s: how long it stays on.

        Raises:
            LightError: there is no such light, or it may not be used.
        """
        self._on_s = on_s
        self._off_at_s: float | None = None
        self._file: int | None = None
        if path is not None:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            except OSError as error:
                raise LightError(
                    f"objection.light {path}: {error.strerror}; expected the brightness of a light,"
                    " /sys/class/leds/NAME/brightness, that this user may write"
                ) from None
            self._write(b"0")

    @classmethod
    def none(cls) -> Self:
        """Return no light at all."""
        return cls(None, 0.0)

    def acknowledge(self, now_s: float) -> None:
        """Light up; `now_s` is monotonic time."""
        self._write(b"1")
        self._off_at_s = now_s + self._on_s

    def tend(self, now_s: float) -> None:
        """Go out when it is time; call often."""
        if self._off_at_s is not None and now_s >= self._off_at_s:
            self._off_at_s = None
            self._write(b"0")

    def close(self) -> None:
        """Go out, for good."""
        if self._file is not None:
            self._write(b"0")
            os.close(self._file)
            self._file = None

    def _write(self, value: bytes) -> None:
        if self._file is not None:
            try:
                os.pwrite(self._file, value, 0)
            except OSError:
                return  # pulled out while running: counting goes on, and the objection holds
