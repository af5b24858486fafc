"""The spool: sealed records until the city has stored them, and nothing else.

What is here was released; reading it tells no more than the broker will be told.
"""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.io.ledger import connect
from edge_agent.wire.codec import digest

MOST_RECORDS = 50_000
"""Two months of eight lines at a quarter of an hour each; 40 MB."""


class SpoolFullError(RuntimeError):
    """The spool holds as much as it may."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record in the spool."""

    digest: str
    sealed: bytes


class Spool:
    """A queue of sealed records in `spool.db`, oldest first."""

    def __init__(self, path: Path) -> None:
        """Open or create the spool.

        Raises:
            sqlite3.DatabaseError: it is damaged, or the folder cannot be written.
        """
        self._database = connect(path)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS record"
            " (id INTEGER PRIMARY KEY, digest TEXT UNIQUE, sealed BLOB) STRICT"
        )
        self.size = int(self._database.execute("SELECT count(*) FROM record").fetchone()[0])

    def add(self, sealed: bytes) -> None:
        """Keep a record; one that is here already is kept once.

        Raises:
            SpoolFullError: there is no room.
            sqlite3.OperationalError: the disk would not take it; nothing was kept.
        """
        if self.size >= MOST_RECORDS:
            raise SpoolFullError
        done = self._database.execute(
            "INSERT OR IGNORE INTO record (digest, sealed) VALUES (?, ?)", (digest(sealed), sealed)
        )
        self.size += done.rowcount

    def remove(self, name: str) -> bool:
        """Forget the record of a digest; return whether it was here."""
        done = self._database.execute("DELETE FROM record WHERE digest = ?", (name,))
        self.size -= done.rowcount
        return done.rowcount == 1

    def all(self) -> list[Kept]:
        """Return all records, oldest first."""
        rows = self._database.execute("SELECT digest, sealed FROM record ORDER BY id")
        return [Kept(name, sealed) for name, sealed in rows]

    def close(self) -> None:
        """Close the database."""
        self._database.close()
