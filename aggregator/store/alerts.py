"""Rules in force, the state of each, alerts, the register of follow-ups, silences."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from aggregator.core.alerts import Change, State, Target
from aggregator.core.day import Stored
from aggregator.core.followup import Done, Seen
from aggregator.core.rules import Book, Rule, Where
from aggregator.rulebook import parse
from aggregator.store import schema
from aggregator.store.engine import Engine
from aggregator.store.records import STORED

CURSOR = "alert_cursor"
Key = tuple[str, str, str]
"""Rule, device, scope."""


class Lost(RuntimeError):  # noqa: N818 - no error: somebody else leads
    """Another leader has gone on from the same place; what was prepared is dropped."""


class Alerts:
    """The tables `rulebook`, `alert_state`, `alert`, `followup` and `silence`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- rules

    def text(self) -> str:
        """Return the rules in force, as they were written."""
        table = schema.rulebook
        query = sa.select(table.c.body).order_by(table.c.n.desc()).limit(1)
        with self._engine.connect() as connection:
            return connection.scalar(query) or ""

    def book(self) -> Book:
        """Return the rules in force."""
        return _parsed(self.text())

    def set_book(
        self, connection: sa.Connection, text: str, book: Book, by: str, now_s: int
    ) -> None:
        """Put rules in force; an alert of a rule that is gone or says something else is closed."""
        row = {"body": text, "by": by, "at_s": now_s}
        connection.execute(sa.insert(schema.rulebook), row)
        state, alert = schema.alert_state, schema.alert
        kept = {rule.name: rule.fingerprint() for rule in book.rules if rule.enabled}
        rows = connection.execute(sa.select(state)).fetchall()
        for old in rows:
            if kept.get(old.rule) == old.fingerprint:
                continue
            own = (state.c.rule == old.rule, state.c.device == old.device)
            connection.execute(sa.delete(state).where(*own, state.c.scope == old.scope))
            connection.execute(
                sa.update(alert)
                .where(alert.c.rule == old.rule, alert.c.device == old.device)
                .where(alert.c.scope == old.scope, alert.c.state == "open")
                .values(state="closed", ended_s=now_s)
            )

    # -- evaluation

    def news(self, limit: int) -> tuple[int, list[tuple[int, str, str, str, Stored]]]:
        """Return the place where evaluation stands, and the records after it.

        Each is its place in the journal, device, scope, configuration and what was said. The
        journal is in the order of commits, so that none can appear behind the place.
        """
        journal, record = schema.journal, schema.record
        with self._engine.connect() as connection:
            at = self._cursor(connection)
            query = (
                sa.select(journal.c.n, record.c.device, record.c.scope, record.c.config, *STORED)
                .join(record, record.c.digest == journal.c.digest)
                .where(journal.c.n > at)
                .order_by(journal.c.n)
                .limit(limit)
            )
            rows = connection.execute(query).fetchall()
        return at, [(r[0], r[1], r[2], r[3], Stored(*r[4:])) for r in rows]

    def _cursor(self, connection: sa.Connection) -> int:
        table = schema.setting
        found = connection.scalar(sa.select(table.c.value).where(table.c.name == CURSOR))
        return int(found or 0)

    def advance(self, connection: sa.Connection, old: int, new: int) -> None:
        """Move the place on.

        Raises:
            Lost: it was moved by somebody else.
        """
        table = schema.setting
        self._engine.insert_once(connection, table, {"name": CURSOR, "value": "0"})
        moved = connection.execute(
            sa.update(table)
            .where(table.c.name == CURSOR, table.c.value == str(old))
            .values(value=str(new))
        )
        if moved.rowcount != 1:
            raise Lost

    def start_at_the_end(self, connection: sa.Connection) -> None:
        """Begin evaluation with what comes next; what is stored already is old news."""
        journal = schema.journal
        end = connection.scalar(sa.select(sa.func.max(journal.c.n))) or 0
        self._engine.insert_once(connection, schema.setting, {"name": CURSOR, "value": str(end)})

    def states(self, connection: sa.Connection, devices: Iterable[str]) -> dict[Key, State]:
        """Return what is remembered of devices, by rule, device and scope."""
        table = schema.alert_state
        query = sa.select(table).where(table.c.device.in_(sorted(set(devices))))
        return {
            (r.rule, r.device, r.scope): State(
                r.pending, r.since_s, r.seen_s, r.firing, r.quiet_until_s
            )
            for r in connection.execute(query)
        }

    def keep(self, connection: sa.Connection, rule: Rule, key: Key, state: State) -> None:
        """Remember the state of a rule and a target."""
        row = {
            "rule": key[0], "device": key[1], "scope": key[2],
            "fingerprint": rule.fingerprint(), **asdict(state),
        }  # fmt: skip
        self._engine.put(connection, schema.alert_state, [row])

    def change(
        self, connection: sa.Connection, rule: Rule, target: Target, change: Change, now_s: int
    ) -> int | None:
        """Begin, carry on or end an alert; return its number."""
        table = schema.alert
        values: dict[str, Any] = {
            "until_s": change.at_s, "low": change.value.low, "high": change.value.high,
            "sure": change.sure,
        }  # fmt: skip
        if change.kind == "fired":
            row = {
                "rule": rule.name, "measure": rule.measure, "severity": rule.severity,
                "device": target.device, "scope": target.scope, "site": target.site,
                "label": target.label, "opened_s": now_s, "since_s": change.since_s,
                "state": "open", **values,
            }  # fmt: skip
            made: int | None = connection.scalar(sa.insert(table).values(row).returning(table.c.id))
            return made
        if change.kind == "resolved":
            # What it ended with is not what it was about: the value stays the last that fired.
            values = {"until_s": change.at_s, "state": "over", "ended_s": now_s}
        ended: int | None = connection.scalar(
            sa.update(table)
            .where(table.c.rule == rule.name, table.c.device == target.device)
            .where(table.c.scope == target.scope, table.c.state == "open")
            .values(values)
            .returning(table.c.id)
        )
        return ended

    def close_stale(
        self, connection: sa.Connection, silent_s: int, oldest_s: int, now_s: int
    ) -> list[int]:
        """Close alerts that lead nowhere any more; return their numbers.

        Args:
            connection: of the transaction.
            silent_s: nothing was heard of since this instant; of an alert about people.
            oldest_s: it began before this instant.
            now_s: the time. An alert of a device that is revoked is closed, too.
        """
        table, state, device = schema.alert, schema.alert_state, schema.device
        revoked = sa.select(device.c.id).where(device.c.revoked_s.is_not(None))
        rows = connection.execute(
            sa.update(table)
            .where(table.c.state == "open")
            .where(
                sa.or_(
                    sa.and_(table.c.scope != "", table.c.until_s < silent_s),
                    table.c.opened_s < oldest_s,
                    table.c.device.in_(revoked),
                )
            )
            .values(state="closed", ended_s=now_s)
            .returning(table.c.id, table.c.rule, table.c.device, table.c.scope)
        ).fetchall()
        for row in rows:
            connection.execute(
                sa.delete(state).where(
                    state.c.rule == row.rule, state.c.device == row.device,
                    state.c.scope == row.scope,
                )
            )  # fmt: skip
        return [row.id for row in rows]

    # -- notices

    def to_be_told(self, connection: sa.Connection) -> list[sa.Row[Any]]:
        """Return alerts about which somebody may have to be told something."""
        table = schema.alert
        waiting = sa.and_(
            table.c.state == "over", table.c.notified_s.is_not(None), table.c.end_told_s.is_(None)
        )
        query = sa.select(table).where(sa.or_(table.c.state == "open", waiting))
        return list(connection.execute(query.order_by(table.c.id)))

    def told(self, connection: sa.Connection, alerts: Sequence[int], what: str, now_s: int) -> None:
        """Note when somebody was told; `what` is a column such as `notified_s`."""
        table = schema.alert
        connection.execute(sa.update(table).where(table.c.id.in_(alerts)).values({what: now_s}))

    # -- staff

    def alert(self, number: int) -> sa.Row[Any] | None:
        """Return one alert."""
        table = schema.alert
        with self._engine.connect() as connection:
            return connection.execute(sa.select(table).where(table.c.id == number)).first()

    def newest(self, limit: int, *, only_open: bool = False) -> list[sa.Row[Any]]:
        """Return alerts, the newest first."""
        table = schema.alert
        query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
        if only_open:
            query = query.where(table.c.state == "open")
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def count_open(self) -> int:
        """Return how many alerts are open."""
        table = schema.alert
        query = sa.select(sa.func.count()).where(table.c.state == "open")
        with self._engine.connect() as connection:
            return connection.scalar(query) or 0

    def take(self, connection: sa.Connection, number: int, by: str, now_s: int) -> bool:
        """Note that somebody looks after an alert; return False where somebody did already."""
        table = schema.alert
        done = connection.execute(
            sa.update(table)
            .where(table.c.id == number, table.c.taken_s.is_(None))
            .values(taken_s=now_s, taken_by=by)
        )
        return done.rowcount == 1

    def follow_up(
        self, connection: sa.Connection, number: int, by: str, now_s: int, *, seen: Seen, done: Done
    ) -> None:
        """Write into the register what somebody saw and did."""
        row = {"alert": number, "at_s": now_s, "by": by, "seen": seen, "done": done}
        connection.execute(sa.insert(schema.followup), row)

    def register(self, number: int | None = None) -> list[sa.Row[Any]]:
        """Return the register's entries with their alerts, newest first; of one alert, if given."""
        follow, alert = schema.followup, schema.alert
        query = sa.select(
            follow, alert.c.rule, alert.c.measure, alert.c.site, alert.c.label, alert.c.device,
            alert.c.scope, alert.c.since_s, alert.c.until_s, alert.c.opened_s, alert.c.taken_s,
            alert.c.taken_by,
        ).join(alert, alert.c.id == follow.c.alert)  # fmt: skip
        if number is not None:
            query = query.where(follow.c.alert == number)
        with self._engine.connect() as connection:
            return list(connection.execute(query.order_by(follow.c.id.desc())))

    def silence(
        self, connection: sa.Connection, place: Where, from_s: int, until_s: int, by: str
    ) -> int:
        """Tell nobody of alerts at a place for a while; return the silence's number."""
        row = {"place": place.model_dump_json(), "from_s": from_s, "until_s": until_s, "by": by}
        made = connection.scalar(
            sa.insert(schema.silence).values(row).returning(schema.silence.c.id)
        )
        return int(made or 0)

    def end_silence(self, connection: sa.Connection, number: int, now_s: int) -> bool:
        """End a silence now; return False where it has ended."""
        table = schema.silence
        done = connection.execute(
            sa.update(table)
            .where(table.c.id == number, table.c.until_s > now_s)
            .values(until_s=now_s)
        )
        return done.rowcount == 1

    def silences(self, now_s: int) -> list[tuple[int, Where, int, int, str]]:
        """Return silences that have not ended: number, place, from, until, by whom."""
        table = schema.silence
        query = sa.select(table).where(table.c.until_s > now_s).order_by(table.c.id)
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        return [(r.id, Where.model_validate_json(r.place), r.from_s, r.until_s, r.by) for r in rows]

    def forget(self, connection: sa.Connection, until_s: int) -> int:
        """Delete alerts that began before an instant, their register, messages and silences.

        One that is open still was closed before, by `close_stale`.
        """
        alert, follow, delivery = schema.alert, schema.followup, schema.delivery
        old = sa.select(alert.c.id).where(alert.c.opened_s < until_s)
        connection.execute(sa.delete(follow).where(follow.c.alert.in_(old)))
        connection.execute(sa.delete(delivery).where(delivery.c.created_s < until_s))
        connection.execute(sa.delete(schema.silence).where(schema.silence.c.until_s < until_s))
        return connection.execute(sa.delete(alert).where(alert.c.id.in_(old))).rowcount


@lru_cache(maxsize=8)
def _parsed(text: str) -> Book:
    return parse(text)
