"""The queue of messages to staff: durable, shared by any number of workers, each sent once.

A worker takes a message for a limited time; if it dies in between, another takes it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from aggregator.store import schema
from aggregator.store.engine import Engine

LEASE_S = 120
"""Longer than any one send may take; then somebody else tries."""
MOST_ATTEMPTS = 150
"""Three days with the longest wait between two; whoever is told later is told nothing new."""
FIRST_WAIT_S, LONGEST_WAIT_S = 15, 1800
State = Literal["waiting", "sending", "sent", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be sent; `key` is its name, given once."""

    key: str
    alert: int | None
    occasion: str
    channel: str
    person: str
    address: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a worker has taken."""

    id: int
    key: str
    channel: str
    address: str
    subject: str
    body: str
    attempts: int


class Deliveries:
    """The table `delivery`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, connection: sa.Connection, drafts: Sequence[Draft], now_s: int) -> None:
        """Queue messages within a transaction; one whose key is known is queued already."""
        for draft in drafts:
            row: dict[str, Any] = {
                "key": draft.key, "alert": draft.alert, "occasion": draft.occasion,
                "channel": draft.channel, "person": draft.person, "address": draft.address,
                "subject": draft.subject, "body": draft.body, "state": "waiting", "attempts": 0,
                "next_s": now_s, "worker": "", "reference": "", "why": "", "created_s": now_s,
            }  # fmt: skip
            self._engine.insert_once(connection, schema.delivery, row)

    def take(self, worker: str, channels: Sequence[str], now_s: int) -> Delivery | None:
        """Take the message that has been due longest; None where none is due."""
        table = schema.delivery
        due = (
            sa.select(table.c.id)
            .where(table.c.channel.in_(list(channels)))
            .where(table.c.state.in_(["waiting", "sending"]), table.c.next_s <= now_s)
            .order_by(table.c.next_s, table.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._engine.begin() as connection:
            row_id = connection.scalar(due)
            if row_id is None:
                return None
            taken = connection.execute(
                sa.update(table)
                .where(table.c.id == row_id, table.c.next_s <= now_s)
                .values(
                    state="sending", worker=worker, next_s=now_s + LEASE_S,
                    attempts=table.c.attempts + 1,
                )
                .returning(*(table.c[name] for name in Delivery.__slots__))
            ).first()  # fmt: skip
        return None if taken is None else Delivery(*taken)

    def done(self, one: Delivery, worker: str, reference: str, now_s: int) -> None:
        """Note that a provider has accepted a message under its own reference."""
        self._finish(one, worker, state="sent", reference=reference[:120], done_s=now_s, why="")

    def fail(self, one: Delivery, worker: str, why: str, now_s: int, *, for_good: bool) -> None:
        """Note that a send did not work; try again later unless it never can."""
        if for_good or one.attempts >= MOST_ATTEMPTS:
            self._finish(one, worker, state="failed", why=why[:200], done_s=now_s)
            return
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (one.attempts - 1))
        self._finish(one, worker, state="waiting", why=why[:200], next_s=now_s + wait_s)

    def _finish(self, one: Delivery, worker: str, **values: Any) -> None:
        table = schema.delivery
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.id == one.id, table.c.worker == worker, table.c.state == "sending")
                .values(**values)
            )

    def receipt(self, reference: str, *, delivered: bool, now_s: int) -> bool:
        """Note a provider's receipt; return False where the reference is not known."""
        table = schema.delivery
        state = "delivered" if delivered else "failed"
        why = "" if delivered else "the provider could not deliver it"
        with self._engine.begin() as connection:
            done = connection.execute(
                sa.update(table)
                .where(table.c.reference == reference, table.c.state == "sent")
                .values(state=state, why=why, done_s=now_s)
            )
        return done.rowcount > 0

    def awaiting_receipts(self, since_s: int) -> list[str]:
        """Return the references of SMS whose receipts may still come."""
        table = schema.delivery
        query = (
            sa.select(table.c.reference)
            .where(table.c.channel == "sms", table.c.state == "sent", table.c.done_s >= since_s)
            .where(table.c.reference != "")
            .order_by(table.c.id)
            .limit(200)
        )
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def of_alert(self, alert: int) -> list[sa.Row[Any]]:
        """Return the messages about an alert."""
        table = schema.delivery
        query = sa.select(table).where(table.c.alert == alert).order_by(table.c.id)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def newest(self, limit: int) -> list[sa.Row[Any]]:
        """Return the newest messages."""
        table = schema.delivery
        query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
        with self._engine.connect() as connection:
            return list(connection.execute(query))

    def count(self) -> dict[str, int]:
        """Return how many messages are in each state."""
        table = schema.delivery
        query = sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}
