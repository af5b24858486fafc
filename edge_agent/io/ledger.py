"""The ledger: which window of each scope was burnt last. Durable, and only ever forward (R9).

A window is burnt before its record is sealed, so whatever happens afterwards, no restart, no step
of the clock and no copy of the device can make it speak of that window again. It also adds up what
the profile dp has spent, and remembers the newest configuration and the newest stop commands, so
that none comes back.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Burnt = Literal["burnt", "refused", "spent"]


class LedgerError(RuntimeError):
    """The ledger cannot be used; the message is one line that says what to do."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a database whose commits survive a power cut."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA synchronous = EXTRA")
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    return database


@dataclass(frozen=True, slots=True)
class Cost:
    """What a release costs of a local day's budget, in thousandths of epsilon."""

    day: int
    epsilon_milli: int
    budget_milli: int


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
                "CREATE TABLE IF NOT EXISTS burnt"
                " (scope TEXT PRIMARY KEY, window_s INTEGER, until_s INTEGER) STRICT"
            )
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS spent (day INTEGER PRIMARY KEY, milli INTEGER) STRICT"
            )
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS configuration"
                " (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER, name TEXT) STRICT"
            )
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS stop"
                " (target TEXT PRIMARY KEY, number INTEGER, sealed BLOB) STRICT"
            )
            self._database.execute("SELECT scope, window_s FROM burnt").fetchall()
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise LedgerError(f"{path}: another publisher is running; stop it first") from None
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

    def burn(self, scope: str, window_s: int, length_s: int, cost: Cost | None = None) -> Burnt:
        """Burn a window's number and, with the profile dp, what its release costs: both or neither.

        Returns:
            `refused` where it, a newer one, or one that overlaps with it was burnt before; `spent`
            where it is burnt now but the day's budget does not last for it, so that nothing may be
            drawn or said.

        Raises:
            sqlite3.OperationalError: the disk would not take it; nothing was burnt.
        """
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            changed = self._database.execute(
                "INSERT INTO burnt VALUES (?, ?, ?) ON CONFLICT (scope) DO UPDATE"
                " SET window_s = excluded.window_s, until_s = excluded.until_s"
                " WHERE excluded.window_s >= burnt.until_s",
                (scope, window_s, window_s + length_s),
            )
            if changed.rowcount != 1:
                return "refused"
            if cost is None:
                return "burnt"
            paid = self._database.execute(
                "INSERT INTO spent SELECT ?1, ?2 WHERE ?2 <= ?3 ON CONFLICT (day) DO UPDATE"
                " SET milli = milli + ?2 WHERE milli + ?2 <= ?3",
                (cost.day, cost.epsilon_milli, cost.budget_milli),
            )
            return "burnt" if paid.rowcount == 1 else "spent"

    def spent_milli(self, day: int) -> int:
        """Return what was spent on a local day, in thousandths of epsilon."""
        row = self._database.execute("SELECT milli FROM spent WHERE day = ?", (day,)).fetchone()
        return 0 if row is None else int(row[0])

    def take_configuration(self, number: int, name: str) -> None:
        """Note the configuration that is about to run; `name` is its fingerprint.

        Raises:
            LedgerError: a newer one, or another one with this number, ran before.
        """
        row = self._database.execute("SELECT number, name FROM configuration").fetchone()
        if row is not None and (number < row[0] or (number == row[0] and name != row[1])):
            raise LedgerError(
                f"number: expected more than {row[0]}, the configuration that ran last, got"
                f" {number}; sign this one with a higher number"
            )
        self._database.execute(
            "INSERT INTO configuration VALUES (1, ?1, ?2)"
            " ON CONFLICT (one) DO UPDATE SET number = ?1, name = ?2",
            (number, name),
        )

    def take_stop(self, target: str, number: int, sealed: bytes) -> bool:
        """Keep a stop command unless one as new is known; return whether it is kept.

        Raises:
            sqlite3.OperationalError: the disk would not take it.
        """
        changed = self._database.execute(
            "INSERT INTO stop VALUES (?, ?, ?) ON CONFLICT (target) DO UPDATE"
            " SET number = excluded.number, sealed = excluded.sealed"
            " WHERE excluded.number > stop.number",
            (target, number, sealed),
        )
        return changed.rowcount == 1

    def stop(self, target: str) -> bytes:
        """Return the newest stop command of a target, sealed; nothing for none."""
        row = self._database.execute(
            "SELECT sealed FROM stop WHERE target = ?", (target,)
        ).fetchone()
        return b"" if row is None else bytes(row[0])

    def close(self) -> None:
        """Close the database."""
        self._database.close()
