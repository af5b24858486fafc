"""An operator stops a device, a module or the fleet: at once, after a restart, until lifted."""

import json
import sqlite3
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edge_agent import config as configuration
from edge_agent.io import keys
from edge_agent.io.ledger import Ledger
from edge_agent.io.packets import Kind, Packet
from edge_agent.io.stops import Stops
from edge_agent.publisher import About, Publisher
from edge_agent.wire import codec
from edge_agent.wire.messages import Stop

pytestmark = pytest.mark.slow


def rows(town: Any, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{town.folder}/city.db?mode=ro", uri=True, timeout=10) as city:
        return city.execute(query).fetchall()


@pytest.fixture
def stoppable(town: Any, grey_film: Path) -> Any:
    """Return a running town whose device obeys its command key, and whose day is nearly over."""
    key = town.folder / "command.pem"
    made = town.run("dizaine-aggregator", "command-key", "--out", str(key))
    assert made.returncode == 0, made.stderr
    with town.aggregator_config.open("a") as config:
        config.write(f'[commands]\nkey_file = "{key}"\n')
    town.broker.start()
    town.agent = town.device("bus-1", grey_film, 0.1)  # hardly looked at: windows pass quickly
    text = town.agent_config.read_text().replace("T08:00:00Z", "T23:30:00Z")
    town.agent_config.write_text(f'{text}[commands]\npublic_key = "{made.stdout.strip()}"\n')
    town.aggregator.start()
    town.agent.start()
    return town


def command(town: Any, *arguments: str) -> None:
    config = str(town.aggregator_config)
    done = town.run("dizaine-aggregator", *arguments, "--config", config)
    assert done.returncode == 0, done.stderr


def obeyed(town: Any, column: str) -> int:
    found = rows(town, f"SELECT {column} FROM presence WHERE state = 'online'")
    return found[0][0] if found else -1


def test_a_stop_is_obeyed_at_once_and_after_a_restart_until_it_is_lifted(
    stoppable: Any, wait_until: Any
) -> None:
    town = stoppable
    wait_until(lambda: len(town.stored()) >= 3, 60, "three windows")
    command(town, "stop", "bus-1", "--everything")
    wait_until(lambda: obeyed(town, "own_stop") == 1, 30, "obedience")
    time.sleep(2.0)
    before = len(town.stored())
    time.sleep(5.0)
    assert len(town.stored()) == before
    town.agent.kill()
    town.agent.start()
    wait_until(lambda: "camera stays closed" in town.agent.log.read_text(), 60, "obedience")
    time.sleep(5.0)
    assert len(town.stored()) == before
    command(town, "lift", "bus-1")
    wait_until(lambda: len(town.stored()) > before, 60, "counting again")
    wait_until(lambda: obeyed(town, "own_stop") == 2, 30, "obedience")
    command(town, "stop", "fleet", "--module", "masks")
    wait_until(lambda: obeyed(town, "fleet_stop") == 1, 60, "the fleet's obedience")
    acts = [(act, json.loads(what)) for act, what in rows(town, "SELECT act, what FROM trail")]
    told = [(act, what["target"]) for act, what in acts if "target" in what]
    assert told == [("stopped", "bus-1"), ("lifted", "bus-1"), ("stopped", "fleet")]


def test_a_device_speaks_of_itself_once_a_day(stoppable: Any, wait_until: Any) -> None:
    query = "SELECT device, latency, disk, clock, confined FROM health"
    wait_until(lambda: rows(stoppable, query) != [], 120, "a day's word")
    device, _, disk, clock, confined = rows(stoppable, query)[0]
    assert (device, disk, clock, confined) == ("bus-1", 1, 1, 0)


def test_before_the_clock_is_set_a_device_says_nothing_of_its_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys.make(tmp_path / "device.pem", "device")
    config = tmp_path / "agent.toml"
    config.write_text(
        f'device = "bus-1"\ndata_dir = "{tmp_path}"\nkey_file = "device.pem"\n'
        '[camera]\nsource = "film.mkv"\n[mqtt]\nhost = "127.0.0.1"\nport = 1\n'
        '[[lines]]\nid = "door"\nstart = [0.0, 0.5]\nend = [1.0, 0.5]\n'
    )
    loaded = configuration.parse(config.read_bytes(), str(config), signed=False)
    about = About(build="0" * 64, confined=True)
    publisher = Publisher(loaded.agent, loaded.declared, tmp_path / "calls", about)
    for day in (date(1970, 1, 2).toordinal(), 0):
        publisher._take_health(Packet(Kind.HEALTH, "lk", day))
    assert [r.message for r in caplog.records if "no_health" in r.message] != []


@pytest.fixture
def signing(tmp_path: Path) -> Any:
    """Return a command key's signature, and the check of it."""
    from aggregator import commands

    public = commands.make_key(tmp_path / "command.pem")
    return commands.load_key(tmp_path / "command.pem").sign, keys.command_check(public)


def a_stop(number: int, target: str = "bus-1", everything: bool = True) -> Stop:
    return Stop(target=target, number=number, everything=everything)


def test_a_stop_that_is_old_for_another_or_not_signed_is_left_out(signing: Any) -> None:
    sign, check = signing
    stops = Stops("bus-1", check)
    assert stops.take("bus-1", codec.seal_stop(a_stop(2), sign))
    assert not stops.take("bus-1", codec.seal_stop(a_stop(1, everything=False), sign))
    assert not stops.take("bus-1", codec.seal_stop(a_stop(9, "bus-2", False), sign))
    assert not stops.take(
        "bus-1", codec.seal_stop(a_stop(9, everything=False), lambda _: bytes(64))
    )
    forged = bytearray(codec.seal_stop(a_stop(9, everything=False), sign))
    forged[-1] ^= 1
    assert not stops.take("bus-1", bytes(forged))
    assert stops.everything
    assert stops.take("bus-1", codec.seal_stop(a_stop(3, everything=False), sign))
    assert not stops.everything


def test_what_the_fleet_or_the_device_stops_is_stopped(signing: Any) -> None:
    sign, check = signing
    stops = Stops("bus-1", check)
    masks = Stop(target="fleet", number=1, everything=False, modules=("masks",))
    distance = Stop(target="bus-1", number=1, everything=False, modules=("distance",))
    assert stops.take("fleet", codec.seal_stop(masks, sign))
    assert stops.take("bus-1", codec.seal_stop(distance, sign))
    assert stops.modules == {"masks", "distance"}


def test_without_a_command_key_nothing_is_asked_and_nothing_believed(signing: Any) -> None:
    sign, _ = signing
    stops = Stops("bus-1", None)
    assert stops.targets == ()
    assert not stops.take("bus-1", codec.seal_stop(a_stop(1), sign))


def test_the_ledger_keeps_the_newest_stop_over_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.take_stop("fleet", 2, b"two")
    assert not ledger.take_stop("fleet", 1, b"one")
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    assert again.stop("fleet") == b"two"
    assert again.stop("bus-1") == b""
    again.close()
