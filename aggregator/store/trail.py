"""The audit trail: what staff and the server did, chained, and unchangeable in the database itself.

Its triggers refuse every change, and every deletion before a year has passed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from aggregator.store import schema
from aggregator.store.engine import TRAIL_LOCK, Engine

START = hashlib.sha256(b"dizaine trail 1\n").hexdigest()
SERVER = "server"
"""Who does what nobody asked for: alerts that begin and end, retention."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done.

    Attributes:
        act: in set words, such as `rules-changed`.
        what: the particulars, as canonical JSON.
    """

    n: int
    at_s: int
    who: str
    act: str
    what: str
    before: str
    chain: str


def _link(*told: int | str) -> str:
    """Return the chain value of an entry: of all it says, the value before it included."""
    told_text = json.dumps(told, separators=(",", ":"))
    return hashlib.sha256(told_text.encode()).hexdigest()


def holds(entries: Iterable[Entry]) -> tuple[int, int | None]:
    """Return how many entries were read, and the number of the first that does not hold, if any."""
    count, expected, before = 0, None, None
    for entry in entries:
        count += 1
        own = _link(entry.n, entry.at_s, entry.who, entry.act, entry.what, entry.before)
        first = before is None
        start = entry.before == START if first and entry.n == 1 else True
        follows = first or (entry.before == before and entry.n == expected)
        if entry.chain != own or not (start and follows):
            return count, entry.n
        expected, before = entry.n + 1, entry.chain
    return count, None


class Trail:
    """The table `trail`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, connection: sa.Connection, now_s: int, who: str, act: str, **what: Any) -> None:
        """Add an entry within a transaction: it is there if, and only if, the deed is."""
        table = schema.trail
        self._engine.lock(connection, TRAIL_LOCK)
        last = connection.execute(
            sa.select(table.c.n, table.c.chain).order_by(table.c.n.desc()).limit(1)
        ).first()
        n, before = (0, START) if last is None else last
        text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        told = (n + 1, now_s, who, act, text, before)
        row = asdict(Entry(*told, chain=_link(*told)))
        connection.execute(sa.insert(table), row)

    def entries(self, before_n: int | None, limit: int) -> list[Entry]:
        """Return entries, newest first, older than a number."""
        table = schema.trail
        query = sa.select(table).order_by(table.c.n.desc()).limit(limit)
        if before_n is not None:
            query = query.where(table.c.n < before_n)
        with self._engine.connect() as connection:
            return [Entry(*row) for row in connection.execute(query)]

    def all(self) -> Iterator[Entry]:
        """Yield every entry, oldest first."""
        table, n = schema.trail, 0
        while True:
            query = sa.select(table).where(table.c.n > n).order_by(table.c.n).limit(1000)
            with self._engine.connect() as connection:
                rows = connection.execute(query).fetchall()
            if not rows:
                return
            yield from (Entry(*row) for row in rows)
            n = rows[-1].n

    def check(self) -> tuple[int, int | None]:
        """Return how many entries there are, and the number of the first that does not hold."""
        return holds(self.all())

    def forget(self, connection: sa.Connection, until_s: int) -> int:
        """Delete the oldest entries; what is left still holds, from its first entry on."""
        table = schema.trail
        done = connection.execute(sa.delete(table).where(table.c.at_s < until_s))
        return done.rowcount
