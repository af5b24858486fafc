"""Stores records, each once, with their place in the journal and in every sum."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aggregator.core.day import Stored
from aggregator.core.rollup import NAMES, Clock, Day, Sums, day_of, hours_of
from aggregator.core.verdict import Accepted, Reason
from aggregator.store import schema
from aggregator.store.engine import JOURNAL_LOCK, Engine
from aggregator.store.journal import Journal
from edge_agent.wire.messages import OBJECTIONS, Directed, Record, Total

MOST_QUARANTINED = 10_000
STORED = [
    schema.record.c[name]
    for name in (
        "window_s", "window_min", "status", "covers", "forward", "backward", "total",
        "masks_bound", "masks_percent", "masks_unjudged", "occupancy_mean", "occupancy_level",
        "under_1m", "under_2m", "mean_cm", "development",
    )
]  # fmt: skip
"""The columns of a `Stored`, in its order."""
Key = tuple[str, str, int]
"""Device, scope, local day."""


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


class Records:
    """The tables `record`, `quarantine`, `refusal`, `day_sum` and `hour_sum`."""

    def __init__(self, engine: Engine, journal: Journal, clock: Clock) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock

    def store(
        self,
        connection: sa.Connection,
        batch: Sequence[Incoming],
        refused: Sequence[Reason],
        now_s: int,
    ) -> list[Outcome]:
        """Store a batch within a transaction.

        1. Each record once: the same bytes again are a duplicate, other bytes are set aside.
        2. What is fresh or set aside goes to the journal; from here on one transaction at a time.
        3. What is fresh enters the sums.
        """
        # 1.
        rows = {m.accepted.digest: _row(m.accepted, now_s) for m in batch}
        # In one order whoever writes, so that two workers cannot wait for each other.
        ordered = sorted(rows.values(), key=lambda r: (r["device"], r["scope"], r["window_s"]))
        fresh: set[str] = set()
        if ordered:
            digest = schema.record.c.digest
            fresh = self._engine.insert_new(connection, schema.record, ordered, digest)
        known, aside = self._tell_apart(
            connection, [r for r in ordered if r["digest"] not in fresh]
        )
        # 2.
        sealed = {m.accepted.digest: m.sealed for m in batch}
        entries = {m.accepted.digest for m in batch if m.accepted.digest in fresh | aside}
        self._journal.append(connection, [(name, sealed[name]) for name in rows if name in entries])
        # 3.
        new = [row for row in ordered if row["digest"] in fresh]
        self._name_scopes(connection, new)
        self.add_up(connection, new)
        self._count_refusals(connection, refused, now_s)
        outcomes, seen = [], set()
        for message in batch:
            name = message.accepted.digest
            stored = name in fresh or name in known
            outcomes.append(Outcome(stored, name in fresh and name not in seen))
            seen.add(name)
        return outcomes

    def _tell_apart(
        self, connection: sa.Connection, left: Sequence[dict[str, Any]]
    ) -> tuple[set[str], set[str]]:
        """Return which of the records that were not fresh are duplicates, and which set aside now.

        The same key with another body never overwrites.
        """
        if not left:
            return set(), set()
        table = schema.record
        wanted = [row["digest"] for row in left]
        known = set(connection.scalars(sa.select(table.c.digest).where(table.c.digest.in_(wanted))))
        others = [r for r in left if r["digest"] not in known]
        held = 0
        if others:
            held = connection.scalar(sa.select(sa.func.count()).select_from(schema.quarantine)) or 0
        room = max(0, MOST_QUARANTINED - held)
        rows = [{k: r[k] for k in ("digest", "device", "received_s")} for r in others[:room]]
        if not rows:
            return known, set()
        digest = schema.quarantine.c.digest
        return known, self._engine.insert_new(connection, schema.quarantine, rows, digest)

    def _name_scopes(self, connection: sa.Connection, rows: Iterable[dict[str, Any]]) -> None:
        named = sorted({(r["device"], r["scope"]) for r in rows})
        new = [{"device": device, "scope": scope, "label": scope} for device, scope in named]
        if new:
            self._engine.insert_new(connection, schema.scope, new, schema.scope.c.scope)

    def _count_refusals(
        self, connection: sa.Connection, refused: Sequence[Reason], now_s: int
    ) -> None:
        for reason, count in sorted(Counter(refused).items()):
            table = schema.refusal
            where = table.c.reason == reason.value
            self._engine.insert_once(
                connection, table, {"reason": reason.value, "count": 0, "last_s": now_s}
            )
            connection.execute(
                sa.update(table).where(where).values(count=table.c.count + count, last_s=now_s)
            )

    # -- sums

    def add_up(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Take fresh records, as rows of `record`, into the sums of their days and hours."""
        by_scope: dict[Key, list[Stored]] = {}
        for row in rows:
            if row["scope"] == OBJECTIONS:
                continue
            one = Stored(**{c.name: row[c.name] for c in STORED})
            key = (row["device"], row["scope"], self._clock.day(one.window_s))
            by_scope.setdefault(key, []).append(one)
        if not by_scope:
            return
        # Sums are read, added to and written back: one transaction at a time.
        self._engine.lock(connection, JOURNAL_LOCK)
        days = self._days(connection, list(by_scope))
        hours: dict[tuple[int, str, str, int], Sums] = {}
        for key, records in by_scope.items():
            day: Day | None = days.get(key, Day())
            for record in records:
                day = None if day is None else day.then(record)
            days[key] = self._again(connection, key) if day is None else day
            for (month, cell), sums in hours_of(records, self._clock).items():
                at = (month, key[0], key[1], cell)
                hours[at] = hours.get(at, Sums()) + sums
        self._engine.put(
            connection, schema.day_sum, [_day_row(key, days[key]) for key in sorted(by_scope)]
        )
        self._engine.add(
            connection,
            schema.hour_sum,
            [
                {"month": m, "device": d, "scope": s, "cell": c, **hours[m, d, s, c]._asdict()}
                for m, d, s, c in sorted(hours)
            ],
        )

    def _days(self, connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, Day]:
        table = schema.day_sum
        wanted = set(keys)
        query = sa.select(table).where(
            table.c.device.in_(sorted({k[0] for k in keys})),
            table.c.day.in_(sorted({k[2] for k in keys})),
        )
        found = {}
        for row in connection.execute(query):
            key = (row.device, row.scope, row.day)
            if key in wanted:
                sums = Sums(*(getattr(row, name) for name in NAMES))
                found[key] = Day(sums, row.runs, row.run, row.newest_s)
        return found

    def _again(self, connection: sa.Connection, key: Key) -> Day:
        """Add a day up from all its records."""
        device, scope, day = key
        start_s, end_s = self._clock.bounds(day)
        table = schema.record
        query = (
            sa.select(*STORED)
            .where(table.c.device == device, table.c.scope == scope)
            .where(table.c.window_s >= start_s, table.c.window_s < end_s)
            .order_by(table.c.window_s)
        )
        return day_of([Stored(*row) for row in connection.execute(query)])

    def sum_all_again(self, connection: sa.Connection) -> int:
        """Make every sum anew from the records, as after a change of time zone; return how many."""
        table = schema.record
        for sums in (schema.day_sum, schema.hour_sum):
            connection.execute(sa.delete(sums))
        scopes = connection.execute(
            sa.select(table.c.device, table.c.scope).distinct().where(table.c.scope != OBJECTIONS)
        ).fetchall()
        for device, scope in scopes:
            rows = connection.execute(
                sa.select(*STORED)
                .where(table.c.device == device, table.c.scope == scope)
                .order_by(table.c.window_s)
            )
            self.add_up(
                connection, [{"device": device, "scope": scope, **r._mapping} for r in rows]
            )
        return len(scopes)


def _day_row(key: Key, day: Day) -> dict[str, Any]:
    own = {"device": key[0], "scope": key[1], "day": key[2]}
    rest = {"runs": day.runs, "run": day.run, "newest_s": day.newest_s}
    return {**own, **day.sums._asdict(), **rest}


def _row(accepted: Accepted, now_s: int) -> dict[str, Any]:
    record: Record = accepted.record
    said = record.passages
    return {
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
        "digest": accepted.digest,
        "received_s": now_s,
    }
