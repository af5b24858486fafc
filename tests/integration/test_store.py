"""One schema on SQLite and PostgreSQL: the same records in, the same answers out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from aggregator.core.verdict import Accepted, Device, Reason
from aggregator.store.database import Database, DatabaseError, Incoming
from aggregator.store.registry import Place
from aggregator.store.schema import metadata
from edge_agent.wire import codec
from edge_agent.wire.declaration import Door, Vehicle
from edge_agent.wire.messages import Directed
from tests.records import NO_SIGNATURE, a_declaration, a_record

WINDOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def incoming(index: int, forward: int = 15) -> Incoming:
    record = a_record(
        window=WINDOW + index * timedelta(minutes=15),
        status="ok", passages=Directed(forward=forward, backward=10),
    )  # fmt: skip
    sealed = codec.seal(record, lambda _: NO_SIGNATURE)
    return Incoming(Accepted(record, codec.digest(sealed)), sealed)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Yield an open database with one device."""
    opened = Database(url)
    opened.registry.add(Device("bus-1", bytes(32), revoked=False), Place("Halle", "Bus"), 0)
    yield opened
    opened.close()


def test_the_migrations_give_the_schema_that_the_code_uses(url: str) -> None:
    Database(url).close()
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    for table in metadata.sorted_tables:
        columns = {
            column["name"]: column["nullable"] for column in inspector.get_columns(table.name)
        }
        assert columns == {column.name: column.nullable for column in table.columns}
    engine.dispose()


def test_a_database_is_opened_twice_and_keeps_what_it_has(url: str, database: Database) -> None:
    database.store([incoming(0)], [], 1)
    again = Database(url)
    assert len(list(again.figures.after(0, 10))) == 1
    again.close()


def test_one_window_is_stored_once_and_another_body_never_overwrites(database: Database) -> None:
    outcomes = database.store([incoming(0), incoming(0), incoming(0, forward=20)], [], 1)
    assert [(o.stored, o.fresh) for o in outcomes] == [(True, True), (True, False), (False, False)]
    (only,) = database.figures.after(0, 10)
    assert only["forward"] == 15


def test_a_transaction_that_failed_leaves_no_line_without_its_name(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(database.records, "add_up", power_cut)
        with pytest.raises(OSError, match="power cut"):
            database.store([incoming(0)], [], 1)
    assert database.figures.scopes() == []
    database.store([incoming(0)], [], 1)
    assert [line.label for line in database.figures.scopes()] == ["main"]


def test_a_days_records_come_back_in_order(database: Database) -> None:
    database.store([incoming(index) for index in (3, 1, 2)], [], 1)
    (line,) = database.figures.scopes()
    assert (line.site, line.label) == ("Halle", "main")
    start_s = int(WINDOW.timestamp())
    found = database.figures.stretch(line, start_s, start_s + 86400)
    assert [record.window_s for record in found] == [start_s + index * 900 for index in (1, 2, 3)]
    assert database.figures.newest() == start_s + 4 * 900


def test_what_a_device_declares_as_a_vehicle_is_one_though_it_never_said_anything(
    database: Database,
) -> None:
    bus = Vehicle(id="on-board", doors=(Door(line="main", inward="forward"),), capacity=80)
    assert database.registry.declare(a_declaration(vehicle=bus), 1)
    silent = a_record(window=WINDOW, scope="on-board", status="defect", passages=None)
    sealed = codec.seal(silent, lambda _: NO_SIGNATURE)
    quiet = Incoming(Accepted(silent, codec.digest(sealed)), sealed)
    database.store([incoming(0), quiet], [], 1)
    kinds = {one.scope: one.kind for one in database.figures.scopes()}
    assert kinds == {"main": "line", "on-board": "vehicle"}


def test_refusals_are_counted_by_reason(database: Database, url: str) -> None:
    database.store([], [Reason.MALFORMED, Reason.MALFORMED, Reason.OVERSIZE], 5)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT reason, count FROM refusal ORDER BY reason"))
        assert [tuple(row) for row in rows] == [("malformed", 2), ("oversize", 1)]
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    Database(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(DatabaseError, match="newer version"):
        Database(url)
