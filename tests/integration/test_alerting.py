"""From a released record to a message in somebody's hand, and what must not make one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from aggregator import commands
from aggregator.alerting import GROUP_WAIT_S, Alerting
from aggregator.config import AggregatorConfig, Commands
from aggregator.core.followup import DONE, SEEN
from aggregator.core.rules import Where
from aggregator.core.verdict import Accepted, Device
from aggregator.core.wording import Writer
from aggregator.delivering import Delivering
from aggregator.io.channels import Message, Receipt, SendError
from aggregator.rulebook import parse
from aggregator.store import schema
from aggregator.store.database import Database, Incoming
from aggregator.store.deliveries import LEASE_S, Draft
from aggregator.store.registry import Place
from edge_agent.wire import codec
from edge_agent.wire.declaration import Declaration, Module
from edge_agent.wire.messages import Directed, Health, Total
from tests.records import NO_SIGNATURE, a_declaration, a_record

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
RULES = """
people:
- {name: marie, email: m@ville.fr, sms: +33612345678, language: fr}
- {name: chief, sms: +33612345679, language: en}
rules:
- name: crowd
  measure: passages
  at_least: 100
  clear: 50
  cool_down_min: 0
  notify: [marie]
  channels: [sms, email]
  escalate: {after_min: 15, notify: [chief], channels: [sms]}
- {name: silent, measure: device_silent, at_least: 60, notify: [marie], tell_resolved: false}
- {name: ill, measure: device_unhealthy, notify: [marie]}
"""
ALERTS = Module(
    name="alerts", legal_basis="an order of the mayor", purpose="crowding", contact="dpo@ville.fr",
    start=NOON - timedelta(days=1), end=NOON + timedelta(days=1),
)  # fmt: skip


class City:
    """A database, a clock that is moved by hand, and one alerting leader."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOON
        self.declared = a_declaration(modules=(ALERTS,))
        for name in ("bus-1", "bus-2"):
            device = Device(name, bytes(32), revoked=False)
            database.registry.add(device, Place("Halle", "Bus"), int(NOON.timestamp()))
            database.registry.declare(self.of(name), 1)
        writer = Writer(ZoneInfo("Europe/Paris"), "https://ville.example/")
        self.alerting = Alerting(database, writer, lambda: self.now, alerts_days=30, trail_days=400)
        self.rules(RULES)
        with database.engine.begin() as connection:
            database.alerts.start_at_the_end(connection)

    def of(self, device: str) -> Declaration:
        return self.declared.model_copy(update={"device": device})

    def rules(self, text: str) -> None:
        with self.database.engine.begin() as connection:
            book = parse(text)
            now_s = int(self.now.timestamp())
            self.database.alerts.set_book(connection, text, book, "test", now_s)

    def say(self, index: int, total: int | None, device: str = "bus-1", **changes: Any) -> None:
        """Store the batch of a quarter-hour after noon, just after it has ended."""
        window = NOON + index * timedelta(minutes=15)
        self.now = max(self.now, window + timedelta(minutes=15, seconds=30))
        said: dict[str, Any] = {"status": "low"}
        if total is not None:
            said = {"status": "ok", "passages": Total(total=total)}
        record = a_record(
            device=device, window=window, config=self.of(device).fingerprint(),
            **{**said, **changes},
        )  # fmt: skip
        sealed = codec.seal(record, lambda _: NO_SIGNATURE)
        incoming = Incoming(Accepted(record, codec.digest(sealed)), sealed)
        self.database.store([incoming], [], int(self.now.timestamp()))

    def turn(self, later_s: float = 0.0) -> None:
        self.now += timedelta(seconds=later_s)
        self.alerting.turn()

    def told(self) -> list[tuple[str, str, str]]:
        """Return occasion, channel and person of every message, in order."""
        return [
            (m.occasion, m.channel, m.person) for m in reversed(self.database.deliveries.newest(99))
        ]

    def states(self) -> list[tuple[str, str]]:
        return [(a.rule, a.state) for a in reversed(self.database.alerts.newest(99))]


@pytest.fixture
def city(url: str) -> Iterator[City]:
    """Yield a city on an empty database."""
    database = Database(url)
    yield City(database)
    database.close()


def test_a_batch_over_the_threshold_is_told_once_by_every_channel_and_its_end_too(
    city: City,
) -> None:
    city.say(0, 100)
    city.turn()
    assert city.told() == []
    city.turn(GROUP_WAIT_S + 1)
    city.turn(60)
    assert city.told() == [("fired", "sms", "marie"), ("fired", "email", "marie")]
    city.say(1, 120)
    city.say(2, 40)
    city.turn()
    city.turn(60)
    assert city.told()[2:] == [("resolved", "sms", "marie"), ("resolved", "email", "marie")]
    (alert,) = city.database.alerts.newest(9)
    # What it was about is the last value that fired, and not the one that ended it.
    assert (alert.state, alert.low, alert.high) == ("over", 117.5, 122.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "low", "passages": None},
        {"status": "defect", "passages": None},
        {"status": "closed", "passages": None},
    ],
)
def test_what_is_not_said_neither_fires_nor_clears(city: City, changes: dict[str, Any]) -> None:
    city.say(0, 100)
    city.turn()
    city.say(1, 100, **changes)
    city.turn(60)
    assert ("crowd", "open") in city.states()


def test_an_alert_about_people_needs_a_declared_legal_basis_in_force(city: City) -> None:
    city.declared = a_declaration()
    for name in ("bus-1", "bus-2"):
        city.database.registry.declare(city.of(name), 2)
    city.say(0, 200)
    city.turn(60)
    ended = ALERTS.model_copy(update={"end": NOON + timedelta(minutes=20)})
    city.declared = a_declaration(modules=(ended,), number=3)
    for name in ("bus-1", "bus-2"):
        city.database.registry.declare(city.of(name), 3)
    city.say(1, 200)
    city.turn(60)
    assert city.states() == []


def test_a_backlog_alerts_nobody(city: City) -> None:
    city.now = NOON + timedelta(hours=5)
    for index in range(4):
        city.say(index, 200)
    city.turn(60)
    assert [rule for rule, _ in city.states() if rule == "crowd"] == []


def test_two_devices_of_a_site_go_into_one_message(city: City) -> None:
    city.say(0, 100, "bus-1")
    city.say(0, 110, "bus-2")
    city.turn()
    city.turn(GROUP_WAIT_S + 1)
    assert city.told() == [("fired", "sms", "marie"), ("fired", "email", "marie")]
    email = city.database.deliveries.newest(1)[0]
    assert email.body.count("/alerts/") == 2


def test_an_alert_that_nobody_takes_goes_to_the_next_and_one_that_is_taken_does_not(
    city: City,
) -> None:
    city.say(0, 100)
    city.turn()
    city.turn(GROUP_WAIT_S + 1)
    city.turn(15 * 60)
    city.turn(15 * 60)
    assert city.told()[2:] == [("escalated", "sms", "chief")]
    city.say(4, 10)
    city.turn()
    city.say(5, 100)
    city.turn()
    city.turn(GROUP_WAIT_S + 1)
    number = city.database.alerts.newest(1)[0].id
    with city.database.engine.begin() as connection:
        assert city.database.alerts.take(connection, number, "paul", 1)
        assert not city.database.alerts.take(connection, number, "anna", 2)
    before = len(city.told())
    city.turn(30 * 60)
    assert len(city.told()) == before


def test_a_silence_disturbs_nobody_and_what_goes_on_after_it_is_told(city: City) -> None:
    now_s = int(city.now.timestamp())
    with city.database.engine.begin() as connection:
        place = Where(site="Halle")
        city.database.alerts.silence(connection, place, now_s, now_s + 1800, "paul")
    city.say(0, 100)
    city.turn()
    city.turn(60)
    assert (city.states(), city.told()) == ([("crowd", "open")], [])
    city.turn(1800)
    assert [told[0] for told in city.told()] == ["fired", "fired"]


def test_a_device_that_falls_silent_or_ill_is_told_and_says_nothing_of_people(city: City) -> None:
    city.say(0, 20)
    city.turn()
    health = Health(
        device="bus-1", day=NOON.date(), config="0" * 16, build="0" * 16, confined=True,
        certificate_ends=None, latency=True, kept_up=True, disk=False, clock=True,
    )  # fmt: skip
    with city.database.engine.begin() as connection:
        city.database.registry.take_health(connection, health, 1)
    city.turn()
    city.turn(3600)
    city.turn(GROUP_WAIT_S + 1)
    rules = {rule for rule, _ in city.states()}
    assert rules == {"silent", "ill"}
    assert {told[1] for told in city.told()} == {"email"}


def test_a_rule_that_is_changed_closes_its_alerts(city: City) -> None:
    city.say(0, 100)
    city.turn()
    city.rules(RULES.replace("at_least: 100", "at_least: 300"))
    assert city.states() == [("crowd", "closed")]
    city.turn(60)
    assert city.told() == []


def a_commander(city: City, folder: Path) -> commands.Commander:
    commands.make_key(folder / "c.pem")
    key = Commands(key_file=folder / "c.pem")
    config = AggregatorConfig(database="sqlite:///x", commands=key)
    return commands.Commander(config, city.database)


def test_alerts_that_are_stopped_do_not_fire(city: City, tmp_path: Path) -> None:
    commander = a_commander(city, tmp_path)
    commander.stop("fleet", everything=False, modules=("alerts",), by="paul", now_s=1)
    city.say(0, 200)
    city.turn(60)
    assert city.states() == []


def test_of_an_alert_that_is_open_when_alerts_are_stopped_nobody_is_told_more(
    city: City, tmp_path: Path
) -> None:
    city.say(0, 100)
    city.turn()
    city.turn(GROUP_WAIT_S + 1)
    assert len(city.told()) == 2
    commander = a_commander(city, tmp_path)
    commander.stop("bus-1", everything=False, modules=("alerts",), by="paul", now_s=1)
    city.turn(16 * 60)
    city.say(1, 10)
    city.turn(60)
    assert len(city.told()) == 2


def test_a_stop_adds_to_what_is_stopped_and_only_lifting_takes_away(
    city: City, tmp_path: Path
) -> None:
    commander = a_commander(city, tmp_path)
    commander.stop("fleet", everything=True, modules=(), by="paul", now_s=1)
    second = commander.stop("fleet", everything=False, modules=("masks",), by="anne", now_s=2)
    assert (second.number, second.everything, second.modules) == (2, True, ("masks",))
    lifted = commander.lift("fleet", by="paul", now_s=3)
    assert (lifted.number, lifted.everything, lifted.modules) == (3, False, ())


def test_the_alerts_of_a_revoked_device_are_closed(city: City) -> None:
    city.say(0, 100)
    city.turn()
    city.database.registry.revoke("bus-1", int(city.now.timestamp()))
    city.turn(61)
    assert city.states() == [("crowd", "closed")]


def test_an_alert_is_not_kept_beyond_its_time_because_it_is_open(city: City) -> None:
    city.turn(120 * 60)
    assert city.states() == [("silent", "open")] * 2
    city.turn(31 * 86_400)
    city.turn(3601)
    oldest_s = int(city.now.timestamp()) - 30 * 86_400
    # The devices are silent still, and new alerts say so.
    assert [a.opened_s > oldest_s for a in city.database.alerts.newest(99)] == [True, True]


def test_everything_that_is_over_is_forgotten_after_its_time(city: City) -> None:
    city.say(0, 100)
    city.turn()
    city.turn(GROUP_WAIT_S + 1)
    number = city.database.alerts.newest(1)[0].id
    with city.database.engine.begin() as connection:
        city.database.alerts.follow_up(
            connection, number, "paul", seen=SEEN[0], done=DONE[0], now_s=1
        )
    city.say(1, 10)
    city.turn()
    city.turn(31 * 86_400)
    left = [city.database.alerts.newest(9, only_open=False), city.database.alerts.register()]
    assert [a.rule for a in left[0] if a.rule == "crowd"] == []
    assert left[1] == []


def test_what_another_leader_has_evaluated_is_not_evaluated_again(city: City) -> None:
    city.say(0, 100)
    other = Alerting(
        city.database, Writer(ZoneInfo("UTC"), "https://x/"), lambda: city.now, alerts_days=30,
        trail_days=400,
    )  # fmt: skip
    city.turn()
    other.turn()
    city.turn(GROUP_WAIT_S + 1)
    other.turn()
    assert city.states() == [("crowd", "open")]
    assert len(city.told()) == 2


def test_one_process_leads_and_another_takes_over_when_it_dies(url: str) -> None:
    program = (
        "import sys, time\nfrom aggregator.store.engine import Engine\n"
        "engine = Engine(sys.argv[1])\nassert engine.lead()\nprint('leads', flush=True)\n"
        "time.sleep(60)\n"
    )
    database = Database(url)
    process = subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"leads\n"
    assert not database.engine.lead()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while not database.engine.lead():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    database.close()


# -- the trail


def test_the_trail_holds_and_the_database_refuses_to_change_it(city: City) -> None:
    city.say(0, 100)
    city.turn()
    count, broken = city.database.trail.check()
    assert (count > 0, broken) == (True, None)
    for deed in (sa.update(schema.trail).values(who="nobody"), sa.delete(schema.trail)):
        with pytest.raises(sa.exc.DBAPIError, match="cannot be edited"):  # noqa: SIM117
            with city.database.engine.begin() as connection:
                connection.execute(deed)
    assert city.database.trail.check() == (count, None)


def test_a_trail_that_was_changed_behind_our_back_is_told(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'city.db'}")
    with database.engine.begin() as connection:
        for index in range(3):
            database.trail.note(connection, index, "paul", "deed", n=index)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER trail_fixed")
        connection.exec_driver_sql("UPDATE trail SET who = 'anna' WHERE n = 2")
    assert database.trail.check() == (2, 2)
    database.close()


# -- delivery


class Counting:
    """A channel that notes what it was asked to send, and fails as told."""

    def __init__(self, *failures: SendError) -> None:
        self.sent: list[str] = []
        self.failures = list(failures)
        self.lock = threading.Lock()

    def send(self, message: Message) -> str:
        with self.lock:
            if self.failures:
                raise self.failures.pop(0)
            self.sent.append(message.key)
        return f"ref-{message.key}"

    def receipts(self, awaited: list[str]) -> list[Receipt]:
        return [Receipt(reference, True) for reference in awaited]

    def close(self) -> None:
        return


def queue(database: Database, count: int) -> None:
    with database.engine.begin() as connection:
        drafts = [
            Draft(f"k{n}", None, "fired", "sms", "marie", "+33612345678", "", "x")
            for n in range(count)
        ]
        database.deliveries.queue(connection, drafts, 0)


def test_many_workers_send_each_message_once(city: City) -> None:
    queue(city.database, 60)
    channel = Counting()
    workers = [Delivering(city.database, {"sms": channel}) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda w=worker: [w.turn() for _ in range(40)])
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(channel.sent) == sorted(f"k{n}" for n in range(60))


def test_a_message_queued_twice_is_one(city: City) -> None:
    queue(city.database, 2)
    queue(city.database, 3)
    assert city.database.deliveries.count() == {"waiting": 3}


def test_a_provider_that_is_down_loses_nothing(city: City) -> None:
    queue(city.database, 1)
    channel = Counting(SendError("away"), SendError("away"))
    worker = Delivering(city.database, {"sms": channel})
    waits = []
    for _ in range(3):
        worker.turn()
        (row,) = city.database.deliveries.newest(1)
        waits.append(row.next_s - int(time.time()))
        with city.database.engine.begin() as connection:
            connection.execute(sa.update(schema.delivery).values(next_s=0))
    assert channel.sent == ["k0"]
    assert 0 < waits[0] < waits[1]


def test_a_message_that_can_never_arrive_is_given_up_and_says_why(city: City) -> None:
    queue(city.database, 1)
    worker = Delivering(city.database, {"sms": Counting(SendError("no such", for_good=True))})
    worker.turn()
    (row,) = city.database.deliveries.newest(1)
    assert (row.state, row.why) == ("failed", "no such")


def test_receipts_are_noted(city: City) -> None:
    queue(city.database, 1)
    worker = Delivering(city.database, {"sms": Counting()})
    worker.turn()
    worker._asked_s = -1000.0
    worker.turn()
    assert city.database.deliveries.count() == {"delivered": 1}


def test_a_worker_that_dies_in_mid_send_leaves_its_message_to_another(city: City) -> None:
    queue(city.database, 1)
    program = (
        "import sys, time\nfrom aggregator.store.database import Database\n"
        "database = Database(sys.argv[1])\n"
        "one = database.deliveries.take('dead', ['sms'], int(time.time()))\n"
        "print(one.key, flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, city.database.engine.url], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"k0\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deliveries, now_s = city.database.deliveries, int(time.time())
    assert deliveries.take("alive", ["sms"], now_s + 1) is None
    again = deliveries.take("alive", ["sms"], now_s + LEASE_S + 1)
    assert again is not None
    assert (again.key, again.attempts) == ("k0", 2)


def test_directions_count_together(city: City) -> None:
    city.say(0, None, status="ok", passages=Directed(forward=60, backward=60))
    city.turn()
    assert city.states() == [("crowd", "open")]
