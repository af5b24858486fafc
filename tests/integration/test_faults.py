"""What goes wrong around the server: nothing is stored twice, nothing acknowledged and lost."""

import contextlib
import logging
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.core.verdict import Reason
from aggregator.io.intake import Intake, Letter, Verifier
from aggregator.store import schema
from aggregator.store.database import Database
from deploy.local import load
from edge_agent.wire import codec, topics
from edge_agent.wire.messages import Receipt, Total
from edge_agent.wire.signature import is_valid
from tests.records import KEY, a_record

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def city() -> tuple[list[load.Camera], bytes, list[Letter]]:
    """Return devices, their public key, and two days of what they say, in order."""
    start = NOON.replace(hour=0)
    cameras = load.cameras(4, start, 2)
    secret, modulus = load.make_key()
    sealed = load.seal(secret, cameras, start, 2 * 96)
    letters = [Letter(one.topic, one.payload) for own in sealed for one in own]
    return cameras, modulus, letters


def opened(url: str, city: Any) -> Database:
    database = Database(url)
    load.register(database, city[0], city[1], 0)
    return database


def later() -> datetime:
    return NOON + timedelta(days=5)


def everything(database: Database, table: sa.Table) -> list[tuple[Any, ...]]:
    own = [c for c in table.c if c.name not in ("id", "received_s")]
    with database.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(sa.select(*own)))


def outcomes(answers: list[Letter]) -> list[str]:
    return [codec.decode_receipt(answer.payload).outcome for answer in answers]


def test_duplicates_and_another_order_change_nothing(url: str, city: Any, tmp_path: Path) -> None:
    letters = city[2]
    straight = opened(f"sqlite:///{tmp_path / 'straight.db'}", city)
    Intake(straight, later).take(letters)
    tangled = opened(url, city)
    intake = Intake(tangled, later)
    noise = random.Random(1)
    mixed = [*letters, *noise.sample(letters, len(letters) // 2)]
    noise.shuffle(mixed)
    for at in range(0, len(mixed), 100):
        assert set(outcomes(intake.take(mixed[at : at + 100]))) == {"stored"}
    for table in (schema.record, schema.day_sum, schema.hour_sum):
        assert everything(tangled, table) == everything(straight, table), table.name
    straight.close()
    tangled.close()


def test_two_writers_at_once_store_each_record_once(postgres_url: str, city: Any) -> None:
    database = opened(postgres_url, city)
    letters = city[2]
    other = Database(postgres_url)

    def write(own: Database, seed: int) -> None:
        mixed = list(letters)
        random.Random(seed).shuffle(mixed)
        intake = Intake(own, later)
        for at in range(0, len(mixed), 64):
            intake.take(mixed[at : at + 64])

    threads = [
        threading.Thread(target=write, args=[own, seed])
        for seed, own in enumerate((database, other, database))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(everything(database, schema.record)) == len(letters)
    assert database.journal.end()[0] == len(letters)
    again = database.figures.total_by_day(database.figures.scopes(), 0, 10**7)
    with database.engine.begin() as connection:
        database.records.sum_all_again(connection)
    assert database.figures.total_by_day(database.figures.scopes(), 0, 10**7) == again
    other.close()
    database.close()


def test_a_database_that_is_killed_loses_nothing_that_was_acknowledged(
    own_postgres: Any, postgres_url: str, city: Any
) -> None:
    database = opened(postgres_url, city)
    intake, acknowledged = Intake(database, later), 0
    letters = city[2]
    killer = threading.Timer(0.05, own_postgres.kill)
    killer.start()
    failed = 0
    at = 0
    while at < len(letters):
        batch = letters[at : at + 50]
        try:
            intake.take(batch)
        except sa.exc.SQLAlchemyError:
            failed += 1
            killer.join()
            own_postgres.start()
            assert len(everything(database, schema.record)) >= acknowledged
            continue
        acknowledged += len(batch)
        at += 50
    killer.join()
    if not failed:
        own_postgres.start()
    assert len(everything(database, schema.record)) == len(letters) == database.journal.end()[0]
    assert database.trail.check()[1] is None
    database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of three megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_refuses_a_batch_whole_and_goes_on_when_there_is_room(
    small_disk: Path, city: Any
) -> None:
    database = opened(f"sqlite:///{small_disk / 'city.db'}", city)
    ballast = small_disk / "ballast"
    intake, letters = Intake(database, later), city[2]
    intake.take(letters[:50])
    with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while out.write(bytes(4096)):
            continue
    with pytest.raises(sa.exc.SQLAlchemyError):
        intake.take(letters[50:800])
    assert len(everything(database, schema.record)) == 50
    ballast.unlink()
    assert set(outcomes(intake.take(letters[50:800]))) == {"stored"}
    assert len(everything(database, schema.record)) == 800
    database.close()


def one(window: datetime, total: int = 20) -> Letter:
    record = a_record(window=window, status="ok", passages=Total(total=total))
    return Letter(topics.record("bus-1", "main"), codec.seal(record, KEY.sign))


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Database]:
    """Yield a database that knows one device."""
    from aggregator.core.verdict import Device
    from aggregator.store.registry import Place

    database = Database(f"sqlite:///{tmp_path / 'city.db'}")
    device = Device("bus-1", KEY.modulus, revoked=False)
    database.registry.add(device, Place("Halle", "Bus"), 0)
    yield database
    database.close()


def test_a_clock_that_jumps_back_refuses_for_now_and_takes_later(lone: Database) -> None:
    now = NOON + timedelta(hours=1)
    intake = Intake(lone, lambda: now)
    assert outcomes(intake.take([one(NOON)])) == ["stored"]
    now = datetime(1970, 1, 2, tzinfo=UTC)
    assert outcomes(intake.take([one(NOON + timedelta(minutes=15))])) == ["refused"]
    now = NOON + timedelta(days=400)
    assert outcomes(intake.take([one(NOON + timedelta(minutes=15))])) == ["stored"]
    assert len(everything(lone, schema.record)) == 2


def test_a_flood_from_one_device_drowns_nobody_and_fills_no_log(
    lone: Database, caplog: pytest.LogCaptureFixture
) -> None:
    intake = Intake(lone, later)
    junk = [Letter(topics.record("bus-1", "main"), os.urandom(1024)) for _ in range(5000)]
    with caplog.at_level(logging.WARNING):
        for at in range(0, 5000, 250):
            intake.take([*junk[at : at + 250], one(NOON + at // 250 * timedelta(minutes=15))])
    assert len(everything(lone, schema.record)) == 20
    assert len(caplog.records) <= 2
    with lone.engine.connect() as connection:
        count = connection.scalar(sa.select(schema.refusal.c.count))
    assert count == 5000


PREFIX = [topics.record("bus-1", "main"), topics.presence("bus-1"), topics.health("bus-1"), "x"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(topic=st.sampled_from(PREFIX), payload=st.binary(max_size=1100))
def test_whatever_bytes_come_nothing_is_stored_and_nothing_breaks(
    lone: Database, topic: str, payload: bytes
) -> None:
    assert set(outcomes(Intake(lone, later).take([Letter(topic, payload)]))) <= {"refused"}
    assert everything(lone, schema.record) == []


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 1023), value=st.integers(1, 255))
def test_one_changed_byte_is_one_too_many(lone: Database, position: int, value: int) -> None:
    good = one(NOON)
    payload = bytearray(good.payload)
    payload[position] ^= value
    answers = Intake(lone, later).take([Letter(good.topic, bytes(payload))])
    assert "stored" not in outcomes(answers)
    assert everything(lone, schema.record) == []


@given(st.binary(min_size=384, max_size=384), st.binary(max_size=64))
def test_both_ways_to_check_a_signature_agree(signature: bytes, signed: bytes) -> None:
    """The server's is fast, the auditor's stands alone; neither may be laxer."""
    fast = Verifier()
    good = KEY.sign(signed)
    for given_signature in (signature, good, good[1:] + good[:1], good[:-1]):
        assert fast(KEY.modulus, given_signature, signed) == is_valid(
            KEY.modulus, given_signature, signed
        )
    n = int.from_bytes(KEY.modulus)
    larger = int.from_bytes(good) + n
    if larger < 2**3072:
        assert not fast(KEY.modulus, larger.to_bytes(384), signed)


def test_a_device_cannot_speak_for_another(lone: Database) -> None:
    stranger = Letter(topics.presence("bus-2"), b'{"device":"bus-1","state":"online","v":1}')
    Intake(lone, later).take([stranger])
    assert everything(lone, schema.presence) == []
    with lone.engine.connect() as connection:
        reason = connection.scalar(sa.select(schema.refusal.c.reason))
    assert reason == Reason.WRONG_TOPIC.value
    assert Receipt(digest="0" * 64, outcome="refused").outcome == "refused"
