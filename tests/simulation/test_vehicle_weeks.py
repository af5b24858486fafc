"""Three simulated weeks of a bus: ignition cut at any step, minutes of 4G a day, a week without.

Publisher, ledger, spool, release rules, signatures and the city's server are the real ones; what is
simulated is time, the engine, and the network. Four doors are four lines of one device.
"""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.core.verdict import Accepted, Device, judge
from aggregator.store.database import Database, Incoming
from aggregator.store.registry import Place
from edge_agent import config as configuration
from edge_agent import publisher as module
from edge_agent.core.release import Release, Speaker
from edge_agent.core.tally import LineTally
from edge_agent.core.windows import ClosedWindow
from edge_agent.io import clock
from edge_agent.io.packets import Kind, Packet
from edge_agent.publisher import About, Publisher
from edge_agent.wire import codec, signature, topics
from edge_agent.wire.declaration import Line
from edge_agent.wire.messages import Receipt
from tests.records import KEY, a_declaration, an_agent

pytestmark = pytest.mark.slow
DOORS = ("front", "middle", "rear", "driver")
FIRST = datetime(2026, 11, 2, tzinfo=UTC)
WEEKS, LENGTH_S = 3, 900
OFFLINE_WEEK = 2


class IgnitionOffError(Exception):
    """The driver turned the key."""


class FourG:
    """The city behind a network that is there for minutes; answers get lost on their way."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self._database, self._chance = database, chance
        self.up = False
        self.said: dict[tuple[str, datetime], bytes] = {}
        self.times_said: dict[bytes, int] = {}
        self.receipts: list[Receipt] = []
        self.now = FIRST

    def seconds(self) -> float:
        return (self.now - FIRST).total_seconds()

    @property
    def is_up(self) -> bool:
        return self.up

    def publish(self, scope: str, sealed: bytes) -> bool:
        self.times_said[sealed] = self.times_said.get(sealed, 0) + 1
        if self._chance.random() < 0.1:
            return True  # it never arrives
        record = codec.unseal(sealed).record
        known = self.said.setdefault((scope, record.window), sealed)
        assert known == sealed, "one window was said in two ways"
        judged = judge(
            sealed, topics.record("bus-1", scope), self._database.registry.device,
            signature.is_valid, self.now,
        )  # fmt: skip
        assert isinstance(judged, Accepted), judged
        [outcome] = self._database.store([Incoming(judged, sealed)], [], int(self.now.timestamp()))
        assert outcome.stored
        if self._chance.random() > 0.1:
            self.receipts.append(Receipt(digest=judged.digest, outcome="stored"))
        return True

    def tell_health(self, _health: Any) -> bool:
        return False


class Bus:
    """A device in a bus: it starts with the engine, and ends with it."""

    def __init__(self, folder: Path, city: FourG, chance: random.Random) -> None:
        self._folder, self._city, self._chance = folder, city, chance
        self._declared = a_declaration(
            lines=tuple(
                Line(id=door, start=(0.2 * n, 0.0), end=(0.2 * n, 1.0))
                for n, door in enumerate(DOORS, 1)
            )
        )
        self._agent = configuration.parse(
            an_agent(folder=str(folder), more="[mqtt]\nport = 1\n").encode(), "x", signed=False
        ).agent
        self.publisher: Publisher | None = None
        self.spooled: set[tuple[str, datetime]] = set()
        self.cuts = 0

    def ignition_on(self) -> None:
        about = About("0" * 64, confined=True)
        self.publisher = Publisher(self._agent, self._declared, self._folder / "calls", about)
        self.publisher._broker = self._city  # type: ignore[assignment]
        # What a window had counted is gone with the engine: each start begins afresh.
        self.release = Release(self._declared, Speaker("0" * 16, development=False))

    def ignition_off(self) -> None:
        assert self.publisher is not None
        self.cuts += 1
        # Nothing is finished: what SQLite has committed is all there is.
        self.publisher._ledger.close()
        self.publisher._spool.close()
        self.publisher = None

    def window(self, at: datetime, cut_at: int | None) -> None:
        """Say one window of all doors; the engine may stop between any two steps."""
        step = 0

        def next_step() -> None:
            nonlocal step
            if step == cut_at:
                raise IgnitionOffError
            step += 1

        assert self.publisher is not None
        at_s = int(at.timestamp())
        lines = {door: LineTally(self._chance.randrange(30), 3) for door in DOORS}
        closed = ClosedWindow(at_s, LENGTH_S, LENGTH_S, 0, 6300, lines)
        for draft in self.release.decide(closed):
            next_step()
            answer = self.publisher._reply(Packet(Kind.BURN, draft.scope, at_s))
            if answer.kind is not Kind.BURNT:
                continue
            next_step()
            record = draft.record(self._chance.randrange, answer.before or None, within_budget=True)
            sealed = codec.seal(record, KEY.sign)
            next_step()
            kept = self.publisher._reply(Packet(Kind.RECORD, draft.scope, at_s, sealed=sealed))
            assert kept.kind is Kind.SPOOLED
            self.spooled.add((draft.scope, at))

    def talk(self) -> None:
        """Offer what waits, and take receipts in; some minutes of network."""
        assert self.publisher is not None
        self.publisher._take(None)
        for _ in range(200):
            self.publisher._offer()
            if not self._city.receipts:
                break
            for receipt in self._city.receipts:
                self.publisher._take(receipt)
            self._city.receipts.clear()


def test_three_weeks_of_a_bus_lose_nothing_and_say_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(20261121)
    database = Database(f"sqlite:///{tmp_path}/city.db")
    database.registry.add(Device("bus-1", KEY.modulus, revoked=False), Place("Line 12", "Bus"), 1)
    city = FourG(database, chance)
    folder = tmp_path / "bus"
    folder.mkdir()
    bus = Bus(folder, city, chance)
    monkeypatch.setattr(module.time, "monotonic", city.seconds)
    longest = 0
    for day in range(7 * WEEKS):
        midnight = FIRST + timedelta(days=day)
        offline = 7 * (OFFLINE_WEEK - 1) <= day < 7 * OFFLINE_WEEK
        network = set() if offline else {chance.randrange(24, 92) for _ in range(2)}
        bus.ignition_on()
        for quarter in range(24, 92):  # six in the morning to eleven at night
            at = midnight + timedelta(minutes=15 * quarter)
            city.now = at + timedelta(minutes=15, seconds=21)
            cut_at = chance.randrange(12) if chance.random() < 0.15 else None
            try:
                bus.window(at, cut_at)
            except IgnitionOffError:
                bus.ignition_off()
                bus.ignition_on()
            city.up = quarter in network
            if city.up:
                bus.talk()
            assert bus.publisher is not None
            longest = max(longest, len(bus.publisher._waiting))
        bus.ignition_off()
    bus.ignition_on()
    city.up = True
    for _ in range(20):
        city.now += timedelta(hours=2)
        bus.talk()
    assert bus.publisher is not None
    assert bus.publisher._waiting == {}
    bus.ignition_off()
    stored = {(row["scope"], row["window_s"]) for row in database.figures.after(0, 100_000)}
    said = {(scope, window) for scope, window in city.said}
    assert said == bus.spooled, "a record that was kept is in the city, and no other"
    assert len(stored) == len(bus.spooled)
    windows = 7 * WEEKS * 68 * len(DOORS)
    lost = windows - len(bus.spooled)
    # What an engine takes with it is the window that it cuts: four doors at most, each time.
    assert lost <= len(DOORS) * bus.cuts
    assert len(bus.spooled) > 0.9 * windows
    assert bus.cuts > 150
    assert longest > 1900  # a week without a network waited on the disk
    database.close()


def test_before_the_clock_is_set_nothing_begins(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([0.0, 1000.0, clock.EARLIEST_S - 1, clock.EARLIEST_S + 5])
    waits: list[float] = []
    with caplog.at_level("INFO"):
        clock.wait_until_set(lambda: next(times), waits.append)
    assert len(waits) == 3
    assert [record.message.split()[0] for record in caplog.records] == [
        "event=clock_not_set", "event=clock_set",
    ]  # fmt: skip


def test_the_publisher_speaks_to_nobody_before_the_clock_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = configuration.parse(
        an_agent(folder=str(tmp_path), more="[mqtt]\nport = 1\n").encode(), "x", signed=False
    ).agent
    about = About("0" * 64, confined=True)
    publisher = Publisher(agent, a_declaration(), tmp_path / "calls", about)
    started: list[int] = []
    now_s, turns = [0.0], [0]
    monkeypatch.setattr(publisher._broker, "start", lambda: started.append(turns[0]))
    monkeypatch.setattr(module.time, "time", lambda: now_s[0])

    def turn() -> None:
        turns[0] += 1
        if turns[0] == 3:
            now_s[0] = clock.EARLIEST_S + 1
        publisher._stopping = turns[0] >= 5

    monkeypatch.setattr(publisher, "_call", turn)
    monkeypatch.setattr(module, "TICK_S", 0.01)
    publisher.run()
    assert started == [3]
