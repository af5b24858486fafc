"""The ledger: which window of each scope was burnt last. Durable, and only ever forward (R9).

A window is burnt before its record is sealed, so whatever happens afterwards, no restart, no step
of the clock and no copy of the device can make it speak of that window again.
"""

import sqlite3
from pathlib import Path


class LedgerError(RuntimeError):
    """The ledger cannot be used; the message is one line that says what to do."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a database whose commits survive a power cut."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA synchronous = EXTRA")
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    return database


class Ledger:
    """One row a scope, in `ledger.db`."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger.

        Raises:
            LedgerError: it is damaged, or the folder cannot be written.
        """
        try:
            self._database = connect(path)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS burnt (scope TEXT PRIMARY KEY, window_s INTEGER) STRICT"
            )
            self._database.execute("SELECT scope, window_s FROM burnt").fetchall()
        except sqlite3.DatabaseError as error:
            raise LedgerError(
                f"{path}: the ledger cannot be used ({error}); without it the device could say a"
                " window twice: enrol it as a new device"
            ) from None

    def last(self, scope: str) -> int | None:
        """Return the start of the newest window burnt for a scope."""
        row = self._database.execute(
            "SELECT window_s FROM burnt WHERE scope = ?", (scope,)
        ).fetchone()
        return None if row is None else int(row[0])

    def burn(self, scope: str, window_s: int) -> bool:
        """Burn a window's number; return False where it, or a newer one, was burnt before.

        Raises:
            sqlite3.OperationalError: the disk would not take it; nothing was burnt.
        """
        changed = self._database.execute(
            "INSERT INTO burnt VALUES (?, ?) ON CONFLICT (scope) DO UPDATE"
            " SET window_s = excluded.window_s WHERE excluded.window_s > burnt.window_s",
            (scope, window_s),
        )
        return changed.rowcount == 1

    def close(self) -> None:
        """Close the database."""
        self._database.close()
