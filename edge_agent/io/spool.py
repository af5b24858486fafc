"""The spool: sealed records until the city has stored them, and nothing else.

What is here was released; reading it tells no more than the broker will be told. It also keeps the
digest of each scope's newest record, which the next one names: so no record can be dropped unseen.
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


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest record of a scope."""

    digest: str
    window_s: int


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
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS newest"
            " (scope TEXT PRIMARY KEY, digest TEXT, window_s INTEGER) STRICT"
        )
        self.size = int(self._database.execute("SELECT count(*) FROM record").fetchone()[0])

    def newest(self, scope: str) -> Newest | None:
        """Return what is known of a scope's newest record, whether it is still here or not."""
        row = self._database.execute(
            "SELECT digest, window_s FROM newest WHERE scope = ?", (scope,)
        ).fetchone()
        return None if row is None else Newest(*row)

    def add(self, scope: str, window_s: int, sealed: bytes) -> None:
        """Keep a scope's newest record; one that is here already is kept once.

        Raises:
            SpoolFullError: there is no room.
            sqlite3.OperationalError: the disk would not take it; nothing was kept.
        """
        if self.size >= MOST_RECORDS:
            raise SpoolFullError
        name = digest(sealed)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            done = self._database.execute(
                "INSERT OR IGNORE INTO record (digest, sealed) VALUES (?, ?)", (name, sealed)
            )
            self._database.execute(
                "INSERT INTO newest VALUES (?1, ?2, ?3)"
                " ON CONFLICT (scope) DO UPDATE SET digest = ?2, window_s = ?3",
                (scope, name, window_s),
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
