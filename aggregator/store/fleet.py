"""Who may join, who has: the tables `claim`, `certificate` and `installation`."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aggregator.store import schema
from aggregator.store.engine import Engine
from edge_agent.wire.installation import KEPT_S


@dataclass(frozen=True, slots=True)
class Given:
    """A certificate that was given out."""

    serial: str
    device: str
    ends_s: int


class FleetStore:
    """Claims and certificates."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add_claim(self, connection: sa.Connection, row: dict[str, Any]) -> None:
        """Keep a claim; an older one of that device ends with it."""
        table = schema.claim
        connection.execute(sa.delete(table).where(table.c.device == row["device"]))
        connection.execute(sa.insert(table).values(asked="", answer="", **row))

    def claims(self, connection: sa.Connection, device: str) -> list[sa.Row[Any]]:
        """Return a device's claims, the newest first; others who ask wait for this transaction."""
        table = schema.claim
        query = sa.select(table).where(table.c.device == device).order_by(table.c.id.desc())
        return list(connection.execute(query.with_for_update()).fetchall())

    def answer(self, connection: sa.Connection, claim: int, asked: str, answer: str) -> None:
        """Note what a claim was used for, and what it was answered."""
        table = schema.claim
        connection.execute(
            sa.update(table).where(table.c.id == claim).values(asked=asked, answer=answer)
        )

    def give(self, connection: sa.Connection, given: Given) -> None:
        """Note a certificate."""
        row = {"serial": given.serial, "device": given.device, "ends_s": given.ends_s}
        connection.execute(sa.insert(schema.certificate).values(**row))

    def knows(self, connection: sa.Connection, serial: str, device: str) -> bool:
        """Return whether a certificate is ours, and not revoked."""
        table = schema.certificate
        query = sa.select(table.c.serial).where(
            table.c.serial == serial, table.c.device == device, table.c.revoked_s.is_(None)
        )
        return connection.execute(query).first() is not None

    def revoke(self, connection: sa.Connection, device: str, now_s: int) -> int:
        """Revoke a device's certificates and claims; return how many certificates."""
        table = schema.certificate
        connection.execute(sa.delete(schema.claim).where(schema.claim.c.device == device))
        done = connection.execute(
            sa.update(table)
            .where(table.c.device == device, table.c.revoked_s.is_(None))
            .values(revoked_s=now_s)
        )
        return done.rowcount

    def propose(self, connection: sa.Connection, device: str, body: str, now_s: int) -> None:
        """Keep a device's proposal of its installation; the one before is gone with it."""
        self._engine.put(
            connection, schema.installation, [{"device": device, "at_s": now_s, "body": body}]
        )

    def proposals(self, now_s: int) -> list[sa.Row[Any]]:
        """Return the proposals of the last day, the newest first."""
        table = schema.installation
        query = sa.select(table).where(table.c.at_s > now_s - KEPT_S).order_by(table.c.at_s.desc())
        with self._engine.connect() as connection:
            return list(connection.execute(query).fetchall())

    def forget_proposals(self, connection: sa.Connection, now_s: int) -> int:
        """Delete proposals, with their pictures, that are a day old."""
        table = schema.installation
        return connection.execute(sa.delete(table).where(table.c.at_s <= now_s - KEPT_S)).rowcount

    def revoked(self, now_s: int) -> list[tuple[str, int]]:
        """Return serial and instant of what was revoked and has not ended by itself."""
        table = schema.certificate
        query = sa.select(table.c.serial, table.c.revoked_s).where(
            table.c.revoked_s.is_not(None), table.c.ends_s > now_s
        )
        with self._engine.connect() as connection:
            return [(r.serial, r.revoked_s) for r in connection.execute(query)]
