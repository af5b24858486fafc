"""Opens the database, brings it to the present schema, and holds every query."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy.dialects import postgresql, sqlite

from aggregator.core.day import Stored
from aggregator.core.verdict import Accepted, Device, Reason
from aggregator.store import schema
from edge_agent.wire import audit
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import OBJECTIONS, Directed, Total

MIGRATIONS = Path(__file__).parent / "migrations"
MOST_QUARANTINED = 10_000
_UPGRADE_LOCK, _JOURNAL_LOCK = 0x44495A31, 0x44495A32


class DatabaseError(RuntimeError):
    """The database cannot be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a registered device, as pages name it."""

    device: str
    scope: str
    site: str
    label: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """One accepted message and its bytes."""

    accepted: Accepted
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one accepted message: `stored` says whether a receipt may say so."""

    stored: bool
    fresh: bool


class Database:
    """One SQLite file or PostgreSQL database."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its schema up to date.

        Raises:
            DatabaseError: it cannot be reached, or belongs to a newer version.
        """
        try:
            self._engine = _engine(url)
            with self._engine.begin() as connection:
                self._upgrade(connection)
        except CommandError as error:
            raise DatabaseError(
                f"{self._name(url)}: made by a newer version ({error}); install that one"
            ) from None
        except (sa.exc.SQLAlchemyError, OSError) as error:
            reason = str(getattr(error, "orig", error)).splitlines()[0]
            raise DatabaseError(f"{self._name(url)}: cannot be used ({reason})") from None

    @staticmethod
    def _name(url: str) -> str:
        return sa.make_url(url).render_as_string(hide_password=True)

    @staticmethod
    def _upgrade(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        steps = AlembicConfig()
        steps.set_main_option("script_location", str(MIGRATIONS))
        steps.attributes["connection"] = connection
        command.upgrade(steps, "head")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def is_ready(self) -> bool:
        """Return whether the database answers."""
        try:
            with self._engine.connect() as connection:
                connection.execute(sa.select(1))
        except sa.exc.SQLAlchemyError:
            return False
        return True

    # -- ingest

    def store(
        self, batch: Sequence[Incoming], refused: Sequence[Reason], now_s: int
    ) -> list[Outcome]:
        """Store a batch in one transaction; when this returns, it is committed.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: nothing of it was stored.
        """
        with self._engine.begin() as connection:
            outcomes = [self._store_one(connection, message, now_s) for message in batch]
            for reason in refused:
                self._count_refusal(connection, reason, now_s)
        return outcomes

    def _store_one(self, connection: sa.Connection, message: Incoming, now_s: int) -> Outcome:
        """Store a record once: the same bytes again are a duplicate, other bytes are set aside."""
        record, name = message.accepted.record, message.accepted.digest
        said = record.passages
        row = {
            "device": record.device,
            "scope": record.scope,
            "window_s": int(record.window.timestamp()),
            "window_min": record.window_min,
            "status": record.status,
            "covers": record.covers,
            "forward": said.forward if isinstance(said, Directed) else None,
            "backward": said.backward if isinstance(said, Directed) else None,
            "total": said.total if isinstance(said, Total) else None,
            "masks_bound": record.masks.bound if record.masks else None,
            "masks_percent": record.masks.percent if record.masks else None,
            "masks_unjudged": record.masks.unjudged if record.masks else None,
            "occupancy_mean": record.occupancy.mean if record.occupancy else None,
            "occupancy_level": record.occupancy.level if record.occupancy else None,
            "under_1m": record.distance.under_1m if record.distance else None,
            "under_2m": record.distance.under_2m if record.distance else None,
            "mean_cm": record.distance.mean_cm if record.distance else None,
            "objections": record.objections,
            "config": record.config,
            "profile": record.profile,
            "build": record.build,
            "development": record.development,
            "digest": name,
            "received_s": now_s,
        }
        if self._insert(connection, schema.record, row):
            line = {"device": record.device, "scope": record.scope, "label": record.scope}
            self._insert(connection, schema.scope, line)
            self._append(connection, name, message.sealed)
            return Outcome(stored=True, fresh=True)
        known = connection.scalar(
            sa.select(schema.record.c.digest).where(
                schema.record.c.device == record.device,
                schema.record.c.scope == record.scope,
                schema.record.c.window_s == row["window_s"],
            )
        )
        if known == name:
            return Outcome(stored=True, fresh=False)
        held = connection.scalar(sa.select(sa.func.count()).select_from(schema.quarantine)) or 0
        if held < MOST_QUARANTINED:
            aside = {key: row[key] for key in ("digest", "device", "received_s")}
            if self._insert(connection, schema.quarantine, aside):
                self._append(connection, name, message.sealed)
        return Outcome(stored=False, fresh=False)

    def _append(self, connection: sa.Connection, name: str, sealed: bytes) -> None:
        """Write a record to the end of the journal; a record that was set aside is there too."""
        table = schema.journal
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_JOURNAL_LOCK)))
        last = connection.execute(
            sa.select(table.c.n, table.c.chain).order_by(table.c.n.desc()).limit(1)
        ).first()
        n, chain = (0, audit.START) if last is None else last
        row = {"n": n + 1, "digest": name, "chain": audit.link(chain, sealed), "sealed": sealed}
        connection.execute(sa.insert(table).values(row))

    def _insert(self, connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = make(table).values(row).on_conflict_do_nothing()
        return connection.execute(statement.returning(sa.literal(1))).first() is not None

    def _count_refusal(self, connection: sa.Connection, reason: Reason, now_s: int) -> None:
        table = schema.refusal
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        first = make(table).values(reason=reason.value, count=1, last_s=now_s)
        connection.execute(
            first.on_conflict_do_update(
                index_elements=[table.c.reason],
                set_={"count": table.c.count + 1, "last_s": now_s},
            )
        )

    # -- registry

    def add_device(self, device: Device, site: str, label: str, now_s: int) -> bool:
        """Register a device; return False where its id is taken."""
        row = {
            "id": device.id, "public_key": device.public_key, "site": site, "label": label,
            "added_s": now_s,
        }  # fmt: skip
        with self._engine.begin() as connection:
            return self._insert(connection, schema.device, row)

    def name_scope(self, device: str, scope: str, label: str) -> None:
        """Give a device's line a label."""
        table = schema.scope
        key = (table.c.device == device) & (table.c.scope == scope)
        with self._engine.begin() as connection:
            if not self._insert(
                connection, table, {"device": device, "scope": scope, "label": label}
            ):
                connection.execute(sa.update(table).where(key).values(label=label))

    def revoke_device(self, device: str, now_s: int) -> bool:
        """Revoke a device; return False where there is none that is not revoked."""
        table = schema.device
        with self._engine.begin() as connection:
            done = connection.execute(
                sa.update(table)
                .where(table.c.id == device, table.c.revoked_s.is_(None))
                .values(revoked_s=now_s)
            )
        return done.rowcount == 1

    def device(self, name: str) -> Device | None:
        """Return what the registry knows of a device."""
        table = schema.device
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == name)).first()
        return None if row is None else Device(row.id, row.public_key, row.revoked_s is not None)

    def devices(self) -> list[sa.Row[Any]]:
        """Return the registry's rows, by id."""
        with self._engine.connect() as connection:
            return list(connection.execute(sa.select(schema.device).order_by(schema.device.c.id)))

    def declare(self, declared: Declaration, now_s: int) -> bool:
        """Keep what an operator declares of a device; return False where there is no such device.

        What was declared once is kept for ever: old records are held to it.
        """
        row = {
            "device": declared.device, "fingerprint": declared.fingerprint(),
            "body": declared.canonical().decode(), "added_s": now_s,
        }  # fmt: skip
        with self._engine.begin() as connection:
            known = sa.select(schema.device.c.id).where(schema.device.c.id == declared.device)
            if connection.scalar(known) is None:
                return False
            self._insert(connection, schema.declaration, row)
        return True

    # -- the journal

    def journal(self) -> Iterator[str]:
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

    def journal_end(self) -> tuple[int, str]:
        """Return the number and the chain value of the newest entry; 0 and the start for none."""
        table = schema.journal
        query = sa.select(table.c.n, table.c.chain).order_by(table.c.n.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return (0, audit.START) if row is None else (row.n, row.chain)

    # -- pages

    def lines(self) -> list[Line]:
        """Return every line of every device, by site and label.

        A zone or a vehicle is no line: its declaration says so, or else what it has said.
        """
        scope, device, record = schema.scope, schema.device, schema.record
        measured = sa.or_(record.c.occupancy_mean.is_not(None), record.c.mean_cm.is_not(None))
        is_zone = sa.exists().where(
            record.c.device == scope.c.device, record.c.scope == scope.c.scope, measured
        )
        query = (
            sa.select(scope.c.device, scope.c.scope, device.c.site, scope.c.label)
            .join(device, device.c.id == scope.c.device)
            .where(scope.c.scope != OBJECTIONS, ~is_zone)
            .order_by(device.c.site, scope.c.label)
        )
        table = schema.declaration
        newest_last = sa.select(table.c.body).order_by(table.c.added_s)
        with self._engine.connect() as connection:
            found = [Line(*row) for row in connection.execute(query)]
            bodies = connection.scalars(newest_last).all()
        declared = [Declaration.model_validate_json(body) for body in bodies]
        lines = {d.device: {line.id for line in d.lines} for d in declared}
        return [line for line in found if line.scope in lines.get(line.device, {line.scope})]

    def stretch(self, line: Line, start_s: int, end_s: int) -> list[Stored]:
        """Return a line's records of a stretch of time, by window."""
        table = schema.record
        query = (
            sa.select(
                table.c.window_s, table.c.window_min, table.c.status, table.c.covers,
                table.c.forward, table.c.backward, table.c.total, table.c.development,
            )
            .where(table.c.device == line.device, table.c.scope == line.scope)
            .where(table.c.window_s >= start_s, table.c.window_s < end_s)
            .order_by(table.c.window_s)
        )  # fmt: skip
        with self._engine.connect() as connection:
            return [Stored(*row) for row in connection.execute(query)]

    def newest(self) -> int | None:
        """Return the end of the newest window stored, seconds since 1970 UTC."""
        table = schema.record
        end = table.c.window_s + 60 * table.c.window_min
        query = sa.select(end).order_by(table.c.window_s.desc()).limit(1)
        with self._engine.connect() as connection:
            found: int | None = connection.scalar(query)
        return found

    def records_after(self, row_id: int, limit: int) -> Iterator[dict[str, Any]]:
        """Yield stored records in the order of their arrival."""
        table, device = schema.record, schema.device
        columns = [c for c in table.c if c.name != "received_s"]
        query = (
            sa.select(*columns, device.c.site)
            .join(device, device.c.id == table.c.device)
            .where(table.c.id > row_id)
            .order_by(table.c.id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                yield dict(row._mapping)


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 10.0})

    @sa.event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
