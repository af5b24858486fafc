"""What is known of devices: keys, names, declarations, presence and daily health."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from aggregator.core.alerts import Target
from aggregator.core.verdict import Device
from aggregator.store import schema
from aggregator.store.engine import Engine
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import Health, Presence

MOST_REMEMBERED = 100_000
"""Declarations kept in memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device hangs, as pages say it.

    Attributes:
        vehicle_line: the line that its bus serves, if it is in one.
        tags: words that rules and pages can choose it by.
    """

    site: str
    label: str
    vehicle_line: str = ""
    tags: tuple[str, ...] = ()


class Registry:
    """The tables `device`, `scope`, `declaration`, `presence` and `health`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._declared: dict[tuple[str, str], Declaration] = {}

    def add(self, device: Device, place: Place, now_s: int) -> bool:
        """Register a device; return False where its id is taken."""
        with self._engine.begin() as connection:
            return self.add_within(connection, device, place, now_s)

    def add_within(
        self, connection: sa.Connection, device: Device, place: Place, now_s: int
    ) -> bool:
        """Register a device within a transaction; return False where its id is taken."""
        row = {
            "id": device.id, "public_key": device.public_key, "added_s": now_s,
            **asdict(place), "tags": " ".join(place.tags),
        }  # fmt: skip
        return self._engine.insert_once(connection, schema.device, row)

    def move(self, device: str, place: Place) -> bool:
        """Say anew where a device hangs; return False where there is no such device."""
        table = schema.device
        row = {**asdict(place), "tags": " ".join(place.tags)}
        with self._engine.begin() as connection:
            done = connection.execute(sa.update(table).where(table.c.id == device).values(**row))
        return done.rowcount == 1

    def name_scope(self, device: str, scope: str, label: str) -> None:
        """Give a device's line a label."""
        row = {"device": device, "scope": scope, "label": label}
        with self._engine.begin() as connection:
            self._engine.put(connection, schema.scope, [row])

    def revoke(self, device: str, now_s: int) -> bool:
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
        return self.some([name]).get(name)

    def some(self, names: Iterable[str]) -> dict[str, Device]:
        """Return what the registry knows of devices, by id."""
        table = schema.device
        query = sa.select(table.c.id, table.c.public_key, table.c.revoked_s)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(table.c.id.in_(list(names))))
            return {r.id: Device(r.id, bytes(r.public_key), r.revoked_s is not None) for r in rows}

    def all(self) -> list[sa.Row[Any]]:
        """Return the registry's rows, by id."""
        with self._engine.connect() as connection:
            return list(connection.execute(sa.select(schema.device).order_by(schema.device.c.id)))

    def declare(self, declared: Declaration, now_s: int) -> bool:
        """Keep what an operator declares of a device; return False where there is no such device.

        What was declared once is kept for ever: old records are held to it.
        """
        with self._engine.begin() as connection:
            return self.declare_within(connection, declared, now_s)

    def declare_within(self, connection: sa.Connection, declared: Declaration, now_s: int) -> bool:
        """Keep a declaration within a transaction; return False where there is no such device."""
        row = {
            "device": declared.device, "fingerprint": declared.fingerprint(),
            "body": declared.canonical().decode(), "added_s": now_s,
        }  # fmt: skip
        known = sa.select(schema.device.c.id).where(schema.device.c.id == declared.device)
        if connection.scalar(known) is None:
            return False
        self._engine.insert_once(connection, schema.declaration, row)
        return True

    def declaration(self, device: str, fingerprint: str) -> Declaration | None:
        """Return what was declared under a fingerprint; that never changes, and is remembered."""
        if (device, fingerprint) in self._declared:
            return self._declared[device, fingerprint]
        table = schema.declaration
        query = sa.select(table.c.body).where(
            table.c.device == device, table.c.fingerprint == fingerprint
        )
        with self._engine.connect() as connection:
            body = connection.scalar(query)
        if body is None:
            return None
        if len(self._declared) >= MOST_REMEMBERED:
            self._declared.clear()
        return self._declared.setdefault((device, fingerprint), _declaration(body))

    def newest_declarations(self) -> dict[str, Declaration]:
        """Return what was declared last of each device."""
        table = schema.declaration
        newest = (
            sa.select(table.c.device, sa.func.max(table.c.added_s).label("at"))
            .group_by(table.c.device)
            .subquery()
        )
        query = sa.select(table.c.body).join(
            newest, (newest.c.device == table.c.device) & (newest.c.at == table.c.added_s)
        )
        with self._engine.connect() as connection:
            bodies = connection.scalars(query.order_by(table.c.fingerprint)).all()
        return {d.device: d for d in (_declaration(body) for body in bodies)}

    def targets(self, devices: Iterable[str] | None = None) -> dict[tuple[str, str], Target]:
        """Return every scope of devices, and each device itself under an empty scope.

        Args:
            devices: whose; all there are where none are named.
        """
        device, scope = schema.device, schema.scope
        every, labelled = sa.select(device), sa.select(scope)
        if devices is not None:
            names = sorted(set(devices))
            every = every.where(device.c.id.in_(names))
            labelled = labelled.where(scope.c.device.in_(names))
        with self._engine.connect() as connection:
            places = {r.id: r for r in connection.execute(every) if r.revoked_s is None}
            labels = connection.execute(labelled).fetchall()
        named = [(r.device, r.scope, r.label) for r in labels if r.device in places]
        named += [(name, "", row.label) for name, row in places.items()]
        return {
            (name, part): Target(
                name, part, places[name].site, label, places[name].vehicle_line,
                tuple(places[name].tags.split()),
            )
            for name, part, label in named
        }  # fmt: skip

    # -- presence and health

    def take_presence(self, connection: sa.Connection, said: Presence, now_s: int) -> None:
        """Keep whether a device is connected, and which stops it obeys."""
        row = {
            "device": said.device, "state": said.state, "at_s": now_s,
            "fleet_stop": said.fleet_stop, "own_stop": said.own_stop,
        }  # fmt: skip
        self._engine.put(connection, schema.presence, [row])

    def take_health(self, connection: sa.Connection, said: Health, now_s: int) -> None:
        """Keep a device's newest daily word on itself."""
        row = said.model_dump(exclude={"v"})
        row["day"] = said.day.toordinal()
        ends = said.certificate_ends
        row["certificate_ends"] = None if ends is None else ends.toordinal()
        self._engine.put(connection, schema.health, [{**row, "received_s": now_s}])

    def fleet(self) -> list[sa.Row[Any]]:
        """Return each device with its presence, its health and its newest record."""
        device, presence, health = schema.device, schema.presence, schema.health
        record, scope = schema.record, schema.scope
        # The index finds the newest of each scope; there is no need to read all records.
        newest = (
            sa.select(record.c.id)
            .where(record.c.device == scope.c.device, record.c.scope == scope.c.scope)
            .order_by(record.c.window_s.desc())
            .limit(1)
            .correlate(scope)
            .scalar_subquery()
        )
        of_scopes = sa.select(scope.c.device, newest.label("id")).subquery()
        ids = (
            sa.select(of_scopes.c.device, sa.func.max(of_scopes.c.id).label("id"))
            .group_by(of_scopes.c.device)
            .subquery()
        )
        last = sa.select(record).join(ids, ids.c.id == record.c.id).subquery()
        query = (
            sa.select(
                device.c.id, device.c.site, device.c.label, device.c.vehicle_line, device.c.tags,
                device.c.added_s, device.c.revoked_s, presence.c.state,
                presence.c.at_s.label("presence_s"),
                presence.c.fleet_stop, presence.c.own_stop,
                health.c.day, health.c.certificate_ends, health.c.confined, health.c.latency,
                health.c.kept_up, health.c.disk, health.c.clock,
                last.c.received_s, last.c.status, last.c.config, last.c.build, last.c.development,
            )
            .outerjoin(presence, presence.c.device == device.c.id)
            .outerjoin(health, health.c.device == device.c.id)
            .outerjoin(last, last.c.device == device.c.id)
            .order_by(device.c.site, device.c.id)
        )  # fmt: skip
        with self._engine.connect() as connection:
            return list(connection.execute(query))


@lru_cache(maxsize=MOST_REMEMBERED)
def _declaration(body: str) -> Declaration:
    return Declaration.model_validate_json(body)
