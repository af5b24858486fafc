"""What operators have stopped: one command a target in force, sealed, sent until it is obeyed."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aggregator.store import schema
from aggregator.store.engine import Engine
from edge_agent.wire.messages import FLEET, Stop


@dataclass(frozen=True, slots=True)
class InForce:
    """A command in force, and who gave it."""

    target: str
    number: int
    everything: bool
    modules: tuple[str, ...]
    by: str
    at_s: int
    sealed: bytes


def _in_force(row: sa.Row[Any]) -> InForce:
    modules = tuple(row.modules.split())
    return InForce(
        row.target, row.number, row.everything, modules, row.by, row.at_s, bytes(row.sealed)
    )


class Stops:
    """The table `stop`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(self, connection: sa.Connection, target: str) -> InForce:
        """Return the newest command to a target; before the first, one of number 0 for nothing."""
        query = sa.select(schema.stop).where(schema.stop.c.target == target)
        row = connection.execute(query).first()
        return InForce(target, 0, False, (), "", 0, b"") if row is None else _in_force(row)

    def put(
        self, connection: sa.Connection, stop: Stop, sealed: bytes, by: str, now_s: int
    ) -> None:
        """Put a command in force."""
        row = {
            "target": stop.target, "number": stop.number, "everything": stop.everything,
            "modules": " ".join(stop.modules), "by": by, "at_s": now_s, "sealed": sealed,
        }  # fmt: skip
        self._engine.put(connection, schema.stop, [row])

    def all(self) -> dict[str, InForce]:
        """Return the newest command of each target, by target."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.stop)).fetchall()
        return {row.target: _in_force(row) for row in rows}

    def without_alerts(self) -> set[str]:
        """Return the targets at which alerts about people are stopped."""
        return {
            target
            for target, stop in self.all().items()
            if stop.everything or "alerts" in stop.modules
        }

    def waiting(self) -> dict[str, tuple[int, bytes]]:
        """Return number and command of each target that a connected device does not obey yet."""
        stop, presence = schema.stop, schema.presence
        fleet = sa.and_(stop.c.target == FLEET, presence.c.fleet_stop < stop.c.number)
        own = sa.and_(stop.c.target == presence.c.device, presence.c.own_stop < stop.c.number)
        query = (
            sa.select(stop.c.target, stop.c.number, stop.c.sealed)
            .distinct()
            .join(presence, sa.or_(fleet, own))
            .where(presence.c.state == "online")
        )
        with self._engine.connect() as connection:
            return {r.target: (r.number, bytes(r.sealed)) for r in connection.execute(query)}
