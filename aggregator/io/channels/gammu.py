"""SMS by a GSM modem: files in the outbox of gammu-smsd, which sends them in order."""

import hashlib
import os
from pathlib import Path

from aggregator.config import Gammu
from aggregator.io.channels import Message, Receipt, SendError


class GammuChannel:
    """Three folders. A file's name follows from its message, so that it is there once."""

    def __init__(self, settings: Gammu) -> None:
        self._settings = settings

    def send(self, message: Message) -> str:
        """Put a message into the outbox, whole or not at all."""
        note = hashlib.sha256(message.key.encode()).hexdigest()[:16]
        name = f"OUTA00000000_000000_00_{message.address}_{note}.txtd"
        if any(self._is_in(folder, name) for folder in self._folders()):
            return name
        target = self._settings.outbox / name
        # smsd takes only what begins with OUT.
        draft = target.with_name(f".{name}.part")
        try:
            with draft.open("wb") as out:
                out.write(message.body.encode("utf-16"))
                out.flush()
                os.fsync(out.fileno())
            draft.rename(target)
        except OSError as error:
            raise SendError(f"{self._settings.outbox}: {error.strerror}") from None
        return name

    def _folders(self) -> tuple[Path, Path, Path]:
        return self._settings.outbox, self._settings.sent, self._settings.errors

    @staticmethod
    def _is_in(folder: Path, name: str) -> bool:
        return (folder / name).exists()

    def receipts(self, awaited: list[str]) -> list[Receipt]:
        """Return which messages the modem has sent, or given up."""
        found = [Receipt(n, True) for n in awaited if self._is_in(self._settings.sent, n)]
        found += [Receipt(n, False) for n in awaited if self._is_in(self._settings.errors, n)]
        return found

    def close(self) -> None:
        """Nothing is kept open."""
