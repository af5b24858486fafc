"""The journal: every sealed record that was accepted or set aside, chained."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from aggregator.store import schema
from aggregator.store.engine import JOURNAL_LOCK, Engine
from edge_agent.wire import audit


class Journal:
    """The table `journal`; entries are only ever added."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, connection: sa.Connection, entries: Sequence[tuple[str, bytes]]) -> None:
        """Write records, each a digest and its sealed bytes, to the end."""
        if not entries:
            return
        table = schema.journal
        self._engine.lock(connection, JOURNAL_LOCK)
        last = connection.execute(
            sa.select(table.c.n, table.c.chain).order_by(table.c.n.desc()).limit(1)
        ).first()
        n, chain = (0, audit.START) if last is None else last
        rows = []
        for digest, sealed in entries:
            n, chain = n + 1, audit.link(chain, sealed)
            rows.append({"n": n, "digest": digest, "chain": chain, "sealed": sealed})
        self._engine.append(connection, table, rows)

    def lines(self) -> Iterator[str]:
        """Yield the journal, a line at a time, as `edge_agent.wire.audit` describes it.

        It is read in pages, so that a reader who is slow holds no transaction open.
        """
        device, declaration, table = schema.device, schema.declaration, schema.journal
        with self._engine.connect() as connection:
            keys = {r.id: bytes(r.public_key) for r in connection.execute(sa.select(device))}
            bodies = connection.scalars(
                sa.select(declaration.c.body).order_by(declaration.c.added_s, declaration.c.device)
            ).all()
        yield audit.head_line(keys, bodies)
        n = 0
        while True:
            query = sa.select(table).where(table.c.n > n).order_by(table.c.n).limit(1000)
            with self._engine.connect() as connection:
                rows = connection.execute(query).fetchall()
            if not rows:
                return
            for row in rows:
                yield audit.entry_line(row.n, row.chain, bytes(row.sealed))
            n = rows[-1].n

    def end(self) -> tuple[int, str]:
        """Return the number and the chain value of the newest entry; 0 and the start for none."""
        table = schema.journal
        query = sa.select(table.c.n, table.c.chain).order_by(table.c.n.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return (0, audit.START) if row is None else (row.n, row.chain)
