"""What pages and exports ask: every answer is a function of released records alone (R10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from aggregator.core.day import Stored
from aggregator.core.rollup import NAMES, Day, Sums
from aggregator.store import schema
from aggregator.store.engine import Engine
from aggregator.store.records import STORED
from aggregator.store.registry import Registry
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import OBJECTIONS

Kind = Literal["line", "zone", "vehicle"]
Heat = Literal["passages", "masks", "people", "distance"]
"""What an hour can be shown by."""
_PASSAGES = ("said", "batches", "minutes", "low", "covered", "defect", "closed")
_MASKS = ("masks_low", "masks_high", "masks_n")
_OF_HEAT: dict[Heat, tuple[str, ...]] = {
    "passages": ("said", "batches", "minutes", "low", "covered"),
    "masks": _MASKS,
    "people": ("people", "people_n"),
    "distance": ("distance_cm", "distance_n"),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """A line, a zone or a vehicle of a registered device, as pages name it."""

    device: str
    scope: str
    site: str
    label: str
    kind: Kind = "line"
    vehicle_line: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which scopes are meant: all that is given must hold."""

    site: str = ""
    device: str = ""
    scope: str = ""
    vehicle_line: str = ""
    tag: str = ""

    def includes(self, one: Scope) -> bool:
        """Return whether a scope is meant."""
        return (
            self.site in ("", one.site)
            and self.device in ("", one.device)
            and self.scope in ("", one.scope)
            and self.vehicle_line in ("", one.vehicle_line)
            and (not self.tag or self.tag in one.tags)
        )


class Figures:
    """Queries over records and their sums."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    def scopes(self, choice: Choice | None = None) -> list[Scope]:
        """Return every scope, by site and label. What it is, its declaration says, or its records.

        One that was declared away, and has never said anything, is none.
        """
        device, scope = schema.device, schema.scope
        query = (
            sa.select(
                scope.c.device, scope.c.scope, device.c.site, scope.c.label,
                device.c.vehicle_line, device.c.tags,
            )
            .join(device, device.c.id == scope.c.device)
            .where(scope.c.scope != OBJECTIONS)
            .order_by(device.c.site, scope.c.label, scope.c.device)
        )  # fmt: skip
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        declared = self._registry.newest_declarations()
        undeclared = {r.device for r in rows} - declared.keys()
        measured = self._measured(undeclared) if undeclared else set()
        found = []
        for r in rows:
            kind = _kind(r.scope, declared.get(r.device), (r.device, r.scope) in measured)
            one = Scope(
                r.device, r.scope, r.site, r.label, kind, r.vehicle_line, tuple(r.tags.split())
            )
            if choice is None or choice.includes(one):
                found.append(one)
        return found

    def _measured(self, devices: set[str]) -> set[tuple[str, str]]:
        """Return the scopes that have said how many people there were, or how near."""
        table = schema.day_sum
        some = sa.or_(table.c.people_n > 0, table.c.distance_n > 0)
        query = sa.select(table.c.device, table.c.scope).distinct()
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(table.c.device.in_(sorted(devices)), some))
            return {(row[0], row[1]) for row in rows}

    def stretch(self, one: Scope, start_s: int, end_s: int) -> list[Stored]:
        """Return a scope's records of a stretch of time, by window."""
        return self.stretches([one], start_s, end_s).get((one.device, one.scope), [])

    def stretches(
        self, scopes: Sequence[Scope], start_s: int, end_s: int
    ) -> dict[tuple[str, str], list[Stored]]:
        """Return the records of scopes, by device and scope, each by window."""
        table = schema.record
        query = (
            sa.select(table.c.device, table.c.scope, *STORED)
            .where(table.c.window_s >= start_s, table.c.window_s < end_s)
            .where(table.c.device.in_(sorted({one.device for one in scopes})))
            .order_by(table.c.window_s)
        )
        wanted = {(one.device, one.scope) for one in scopes}
        found: dict[tuple[str, str], list[Stored]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                if (row[0], row[1]) in wanted:
                    found.setdefault((row[0], row[1]), []).append(Stored(*row[2:]))
        return found

    def newest_of(self, scopes: Sequence[Scope], since_s: int) -> dict[tuple[str, str], Stored]:
        """Return the newest record of each scope since an instant, by device and scope."""
        table, scope = schema.record, schema.scope
        # The index finds each; there is no need to read a day of them.
        newest = (
            sa.select(table.c.id)
            .where(table.c.device == scope.c.device, table.c.scope == scope.c.scope)
            .where(table.c.window_s >= since_s)
            .order_by(table.c.window_s.desc())
            .limit(1)
            .correlate(scope)
            .scalar_subquery()
        )
        ids = sa.select(newest.label("id")).select_from(scope).subquery()
        query = sa.select(table.c.device, table.c.scope, *STORED).join(ids, ids.c.id == table.c.id)
        wanted = {(one.device, one.scope) for one in scopes}
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        return {(r[0], r[1]): Stored(*r[2:]) for r in rows if (r[0], r[1]) in wanted}

    def days(
        self, scopes: Sequence[Scope], first: int, last: int
    ) -> dict[tuple[str, str], dict[int, Day]]:
        """Return the sums of days, both ends included, by device and scope and by day."""
        table = schema.day_sum
        query = sa.select(table).where(table.c.day >= first, table.c.day <= last)
        query = self._of(query, table, scopes)
        wanted = {(one.device, one.scope) for one in scopes}
        found: dict[tuple[str, str], dict[int, Day]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                key = (row.device, row.scope)
                if key in wanted:
                    sums = Sums(*(getattr(row, name) for name in NAMES))
                    day = Day(sums, row.runs, row.run, row.newest_s)
                    found.setdefault(key, {})[row.day] = day
        return found

    def total_by_day(
        self, scopes: Sequence[Scope], first: int, last: int
    ) -> dict[int, tuple[Sums, int]]:
        """Return, by day, the sum over scopes of passages and masks, and the stretches withheld."""
        table, names = schema.day_sum, (*_PASSAGES, *_MASKS)
        by = [table.c.day, sa.func.sum(table.c.runs)]
        query = self._of(_summed(table, by, names), table, scopes)
        query = query.where(table.c.day >= first, table.c.day <= last).group_by(table.c.day)
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        return {int(r[0]): (_sums(names, r[2:]), int(r[1])) for r in rows}

    def total_by_scope(
        self, scopes: Sequence[Scope], first: int, last: int
    ) -> dict[tuple[str, str], tuple[Sums, int]]:
        """Return, by device and scope, the sum over days and how many stretches were withheld."""
        table = schema.day_sum
        by = [table.c.device, table.c.scope]
        query = self._of(_summed(table, [*by, sa.func.sum(table.c.runs)], NAMES), table, scopes)
        query = query.where(table.c.day >= first, table.c.day <= last).group_by(*by)
        wanted = {(one.device, one.scope) for one in scopes}
        with self._engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        return {
            (r[0], r[1]): (Sums(*map(int, r[3:])), int(r[2]))
            for r in rows
            if (r[0], r[1]) in wanted
        }

    def hours(
        self, scopes: Sequence[Scope], first_month: int, last_month: int, measure: Heat
    ) -> dict[int, Sums]:
        """Return, by hour of the week (0 to 167, Monday first), a measure's sum over months."""
        table, names = schema.hour_sum, _OF_HEAT[measure]
        query = self._of(_summed(table, [table.c.cell], names), table, scopes)
        query = query.where(table.c.month >= first_month, table.c.month <= last_month)
        # Month by month, as the table is ordered, so that nothing is sorted.
        query = query.group_by(table.c.month, table.c.cell)
        found: dict[int, Sums] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                cell = int(row[0])
                found[cell] = found.get(cell, Sums()) + _sums(names, row[1:])
        return found

    def hours_of_lines(self, first_month: int, last_month: int) -> dict[str, list[Sums]]:
        """Return, for each bus line, what each hour of the day (0 to 23) adds up to."""
        table, device = schema.hour_sum, schema.device
        names = (*_OF_HEAT["passages"], *_OF_HEAT["people"], *_OF_HEAT["distance"])
        hour = table.c.cell % 24
        query = (
            _summed(table, [device.c.vehicle_line, hour], names)
            .join(device, device.c.id == table.c.device)
            .where(table.c.month >= first_month, table.c.month <= last_month)
            .where(device.c.vehicle_line != "")
            .group_by(device.c.vehicle_line, hour)
        )
        found: dict[str, list[Sums]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                own = found.setdefault(row[0], [Sums()] * 24)
                own[int(row[1])] = _sums(names, row[2:])
        return dict(sorted(found.items()))

    def _of(
        self, query: sa.Select[Any], table: sa.Table, scopes: Sequence[Scope]
    ) -> sa.Select[Any]:
        """Narrow a query to scopes; to all of them is no narrowing."""
        if len(scopes) >= self._how_many():
            return query
        by_device: dict[str, set[str]] = {}
        for one in scopes:
            by_device.setdefault(one.device, set()).add(one.scope)
        names: dict[frozenset[str], list[str]] = {}
        for device, own in by_device.items():
            names.setdefault(frozenset(own), []).append(device)
        either = [
            sa.and_(table.c.device.in_(sorted(devices)), table.c.scope.in_(sorted(own)))
            for own, devices in names.items()
        ]
        return query.where(sa.or_(sa.false(), *either))

    def _how_many(self) -> int:
        table = schema.scope
        query = sa.select(sa.func.count()).where(table.c.scope != OBJECTIONS)
        with self._engine.connect() as connection:
            return connection.scalar(query) or 0

    def newest(self) -> int | None:
        """Return the end of the newest window stored, seconds since 1970 UTC."""
        table = schema.record
        end = table.c.window_s + 60 * table.c.window_min
        query = sa.select(end).order_by(table.c.window_s.desc()).limit(1)
        with self._engine.connect() as connection:
            found: int | None = connection.scalar(query)
        return found

    def newest_day(self) -> int | None:
        """Return the newest day that has a sum."""
        with self._engine.connect() as connection:
            found: int | None = connection.scalar(sa.select(sa.func.max(schema.day_sum.c.day)))
        return found

    def after(self, row_id: int, limit: int) -> list[dict[str, Any]]:
        """Return stored records in the order of their arrival."""
        return list(self._export(schema.record.c.id > row_id, limit))

    def between(self, start_s: int, end_s: int) -> Iterator[dict[str, Any]]:
        """Yield the records of a stretch of time by arrival, read in pages."""
        table, last = schema.record, 0
        inside = sa.and_(table.c.window_s >= start_s, table.c.window_s < end_s)
        while True:
            page = list(self._export(sa.and_(inside, table.c.id > last), 5000))
            yield from page
            if len(page) < 5000:
                return
            last = page[-1]["id"]

    def _export(self, where: sa.ColumnElement[bool], limit: int) -> Iterator[dict[str, Any]]:
        table, device, scope = schema.record, schema.device, schema.scope
        columns = [c for c in table.c if c.name != "received_s"]
        query = (
            sa.select(*columns, device.c.site, scope.c.label)
            .join(device, device.c.id == table.c.device)
            .join(scope, (scope.c.device == table.c.device) & (scope.c.scope == table.c.scope))
            .where(where)
            .order_by(table.c.id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            for row in connection.execute(query):
                yield dict(row._mapping)


def _summed(table: sa.Table, by: list[Any], names: Sequence[str]) -> sa.Select[Any]:
    return sa.select(*by, *(sa.func.sum(table.c[name]) for name in names)).select_from(table)


def _sums(names: Sequence[str], values: Sequence[Any]) -> Sums:
    return Sums(**dict(zip(names, map(int, values), strict=True)))


def _kind(scope: str, declared: Declaration | None, measured: bool) -> Kind:
    if declared is not None:
        if declared.vehicle is not None and declared.vehicle.id == scope:
            return "vehicle"
        if scope in {zone.id for zone in declared.zones}:
            return "zone"
        if scope in {line.id for line in declared.lines}:
            return "line"
    return "zone" if measured else "line"
