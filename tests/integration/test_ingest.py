"""The city's server against a real broker: stored once, refused with a reason, never stalled."""

import random
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge_agent.wire import codec, topics
from edge_agent.wire.messages import Receipt, Total
from tests.records import KEY, NO_SIGNATURE, PUBLIC_PEM, a_record

WINDOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


class Device:
    """Somebody who publishes and hears receipts."""

    def __init__(self, town: Any, name: str) -> None:
        self.name = name
        public = town.folder / f"{name}.pub.pem"
        public.write_bytes(PUBLIC_PEM)
        self.added = town.run(
            "dizaine-aggregator", "devices", "add", name, "--public-key", str(public),
            "--site", "Halle", "--config", str(town.aggregator_config), "--scope", "main=Porte",
        )  # fmt: skip
        self.receipts: list[Receipt] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name)
        self.client.on_connect = lambda c, *_: c.subscribe(topics.receipt(name), 1)
        self.client.on_message = lambda _c, _d, message: self.receipts.append(
            codec.decode_receipt(bytes(message.payload))
        )
        self.client.connect("127.0.0.1", town.broker_port)
        self.client.loop_start()

    def record(self, index: int = 0, **changes: Any) -> bytes:
        window = WINDOW + index * timedelta(minutes=15)
        record = a_record(**{"device": self.name, "window": window, **changes})
        return codec.seal(record, KEY.sign)

    def send(self, payload: bytes, topic: str | None = None) -> None:
        self.client.publish(topic or topics.record(self.name, "main"), payload, 1)

    def heard(self) -> dict[str, str]:
        return {receipt.digest: receipt.outcome for receipt in self.receipts}


@pytest.fixture
def device(town: Any) -> Device:
    town.broker.start()
    town.aggregator.start()
    return Device(town, "bus-1")


def refusals(town: Any) -> dict[str, int]:
    with sqlite3.connect(f"file:{town.folder}/city.db?mode=ro", uri=True, timeout=10) as city:
        return dict(city.execute("SELECT reason, count FROM refusal"))


def test_a_record_is_stored_and_answered_and_its_copies_change_nothing(
    town: Any, device: Device, wait_until: Any
) -> None:
    sealed = device.record(status="ok", passages=Total(total=20))
    for _ in range(3):
        device.send(sealed)
    wait_until(lambda: len(device.receipts) == 3)
    assert device.heard() == {codec.digest(sealed): "stored"}
    assert [digest for *_, digest in town.stored()] == [codec.digest(sealed)]


def test_any_order_and_any_copies_give_the_same_store(
    town: Any, device: Device, wait_until: Any
) -> None:
    records = [device.record(index) for index in range(40)]
    deliveries = records * 3
    random.Random(5).shuffle(deliveries)
    for sealed in deliveries:
        device.send(sealed)
    wait_until(lambda: len(device.receipts) == len(deliveries))
    assert [digest for *_, digest in town.stored()] == [codec.digest(sealed) for sealed in records]


def test_another_body_for_the_same_window_is_set_aside_and_overwrites_nothing(
    town: Any, device: Device, wait_until: Any
) -> None:
    first = device.record(status="ok", passages=Total(total=20))
    other = device.record(status="ok", passages=Total(total=25))
    device.send(first)
    wait_until(lambda: len(device.receipts) == 1)
    device.send(other)
    wait_until(lambda: len(device.receipts) == 2)
    assert device.heard() == {codec.digest(first): "stored", codec.digest(other): "refused"}
    assert [digest for *_, digest in town.stored()] == [codec.digest(first)]
    with sqlite3.connect(f"file:{town.folder}/city.db?mode=ro", uri=True) as city:
        assert city.execute("SELECT digest FROM quarantine").fetchall() == [(codec.digest(other),)]


def test_poison_is_counted_by_reason_and_never_stalls_the_stream(
    town: Any, device: Device, wait_until: Any
) -> None:
    good = device.record(7)
    stranger = device.record(device="bus-9")
    future = device.record(window=datetime(2099, 1, 5, 8, 0, tzinfo=UTC))
    for payload in (b"", b"\xff" * 700, b"x" * 5000, device.record(1)[:-1], future):
        device.send(payload)
    device.send(b"DZN9" + good[4:])
    device.send(good[:4] + NO_SIGNATURE + good[388:])
    device.send(stranger, topics.record("bus-9", "main"))
    device.send(stranger)
    device.send(good)
    wait_until(lambda: len(town.stored()) == 1)
    wait_until(lambda: sum(refusals(town).values()) == 9)
    assert refusals(town) == {
        "malformed": 3,
        "oversize": 1,
        "future window": 1,
        "wrong version": 1,
        "bad signature": 1,
        "unknown device": 1,
        "wrong topic": 1,
    }
    wait_until(lambda: device.heard().get(codec.digest(future)) == "refused")


def test_a_revoked_device_is_refused_from_then_on(
    town: Any, device: Device, wait_until: Any
) -> None:
    done = town.run(
        "dizaine-aggregator", "devices", "revoke", "bus-1", "--config", str(town.aggregator_config)
    )
    assert done.returncode == 0
    device.send(device.record())
    wait_until(lambda: refusals(town) == {"revoked device": 1})
    assert town.stored() == []


def test_killed_in_mid_ingest_the_server_loses_nothing_it_answered_for(
    town: Any, device: Device, wait_until: Any
) -> None:
    records = [device.record(index) for index in range(300)]
    for sealed in records:
        device.send(sealed)
    wait_until(lambda: len(device.receipts) > 10)
    town.aggregator.kill()
    answered = set(device.heard())
    assert answered <= {digest for *_, digest in town.stored()}
    town.aggregator.start()
    for sealed in records:
        device.send(sealed)
    wait_until(lambda: len(town.stored()) == 300)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["devices", "add", "BUS 1", "--site", "x", "--public-key", "/nope"], "3 to 32 of a-z"),
        (["devices", "add", "bus-2", "--site", "x", "--public-key", "/nope"], "cannot be read"),
        (["devices", "revoke", "bus-7"], "no such active device"),
        (["run"], "cannot be listened on"),
    ],
)
def test_wrong_input_exits_with_2_and_one_line(
    town: Any, device: Device, arguments: list[str], said: str
) -> None:
    done = town.run("dizaine-aggregator", *arguments, "--config", str(town.aggregator_config))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_same_device_cannot_be_registered_twice(town: Any, device: Device) -> None:
    assert device.added.returncode == 0
    again = Device(town, "bus-1").added
    assert again.returncode == 2
    assert "already" in again.stderr
