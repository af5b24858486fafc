"""The city's database: every table, by what it is about."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from aggregator.core.rollup import Clock
from aggregator.core.verdict import Reason
from aggregator.store import schema
from aggregator.store.accounts import Accounts
from aggregator.store.alerts import Alerts
from aggregator.store.deliveries import Deliveries
from aggregator.store.engine import JOURNAL_LOCK, DatabaseError, Engine, reason_of
from aggregator.store.figures import Figures
from aggregator.store.fleet import FleetStore
from aggregator.store.journal import Journal
from aggregator.store.records import Incoming, Outcome, Records
from aggregator.store.registry import Registry
from aggregator.store.stops import Stops
from aggregator.store.trail import Trail
from edge_agent.wire.messages import Health, Presence

log = logging.getLogger(__name__)

_SUMS_ZONE = "sums_timezone"


@dataclass(frozen=True, slots=True)
class News:
    """What came from devices besides records, to be stored with them."""

    presence: Sequence[Presence] = ()
    health: Sequence[Health] = ()


class Database:
    """One SQLite file or PostgreSQL database."""

    def __init__(self, url: str, timezone: str = "Europe/Paris") -> None:
        """Open the database, bring its schema up to date, and its sums to the city's time zone.

        Raises:
            DatabaseError: it cannot be reached, or belongs to a newer version.
        """
        self.engine = Engine(url)
        self.clock = Clock(ZoneInfo(timezone))
        self.journal = Journal(self.engine)
        self.registry = Registry(self.engine)
        self.records = Records(self.engine, self.journal, self.clock)
        self.figures = Figures(self.engine, self.registry)
        self.trail = Trail(self.engine)
        self.alerts = Alerts(self.engine)
        self.deliveries = Deliveries(self.engine)
        self.accounts = Accounts(self.engine)
        self.stops = Stops(self.engine)
        self.fleet = FleetStore(self.engine)
        try:
            self._sum_up(timezone)
        except sa.exc.SQLAlchemyError as error:
            raise DatabaseError(f"{self.engine.name}: {reason_of(error)}") from None

    def _sum_up(self, timezone: str) -> None:
        """Make the sums again where they were made for another time zone, or never."""
        table = schema.setting
        query = sa.select(table.c.value).where(table.c.name == _SUMS_ZONE)
        with self.engine.connect() as connection:
            if connection.scalar(query) == timezone:
                return
        with self.engine.begin() as connection:
            self.engine.lock(connection, JOURNAL_LOCK)
            if connection.scalar(query) == timezone:
                return
            log.info("event=making_sums timezone=%s; a minute for some millions", timezone)
            done = self.records.sum_all_again(connection)
            self.engine.put(connection, table, [{"name": _SUMS_ZONE, "value": timezone}])
        if done:
            log.info("event=sums_made_again timezone=%s scopes=%d", timezone, done)

    def store(
        self,
        batch: Sequence[Incoming],
        refused: Sequence[Reason],
        now_s: int,
        news: News | None = None,
    ) -> list[Outcome]:
        """Store a batch in one transaction; when this returns, it is committed.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: nothing of it was stored.
        """
        with self.engine.begin() as connection:
            outcomes = self.records.store(connection, batch, refused, now_s)
            for presence in news.presence if news else ():
                self.registry.take_presence(connection, presence, now_s)
            for health in news.health if news else ():
                self.registry.take_health(connection, health, now_s)
        return outcomes

    def close(self) -> None:
        """Close all connections."""
        self.engine.close()


__all__ = ["Database", "DatabaseError", "Incoming", "News", "Outcome"]
