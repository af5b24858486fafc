"""Three RabbitMQ nodes, PostgreSQL and two workers: killed in turn, every record is stored once."""

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import sqlalchemy as sa
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.store import schema
from aggregator.store.database import Database
from deploy.local import load
from deploy.local.processes import free_port
from edge_agent.wire import audit, codec
from tests.conftest import BIN, Part
from tests.integration import rabbit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
DEVICES, WINDOWS = 12, 60


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[rabbit.Node]]:
    """Yield a running cluster."""
    if not rabbit.available():
        pytest.skip("rabbitmq-server is not installed")
    with rabbit.cluster(tmp_path) as started:
        yield started


class Device:
    """A device's publisher: it offers each record until it has its receipt, to any node."""

    def __init__(self, name: str, sealed: list[load.Sealed], ports: list[int]) -> None:
        self.name, self.ports = name, ports
        self.waiting = {codec.digest(one.payload): one for one in sealed}
        self.receipts: queue.Queue[str] = queue.Queue()
        self.stopping = threading.Event()
        self.sends = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        turn = 0
        while self.waiting and not self.stopping.is_set():
            turn += 1
            client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.name)
            gone = threading.Event()
            client.on_disconnect = lambda *_: gone.set()  # noqa: B023
            client.on_message = self._heard
            try:
                client.connect("127.0.0.1", self.ports[turn % len(self.ports)], 10)
            except OSError:
                time.sleep(0.3)
                continue
            client.loop_start()
            client.subscribe(f"dizaine/1/{self.name}/receipt", 1)
            self._offer(client, gone)
            client.disconnect()
            client.loop_stop()

    def _heard(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        receipt = codec.decode_receipt(bytes(message.payload))
        assert receipt.outcome == "stored"
        self.receipts.put(receipt.digest)

    def _offer(self, client: paho.Client, gone: threading.Event) -> None:
        again_s = 0.0
        while self.waiting and not gone.is_set() and not self.stopping.is_set():
            if time.monotonic() >= again_s:
                for one in list(self.waiting.values()):
                    client.publish(one.topic, one.payload, 1)
                    self.sends += 1
                again_s = time.monotonic() + 8.0
            try:
                self.waiting.pop(self.receipts.get(timeout=0.2), None)
            except queue.Empty:
                continue


def worker(folder: Path, name: str, url: str, nodes: list[rabbit.Node], first: int) -> Part:
    """Return one of the identical workers; each begins with another node."""
    order = [*nodes[first:], *nodes[:first]]
    urls = ", ".join(f'"amqp://127.0.0.1:{node.amqp}"' for node in order)
    port = free_port()
    (folder / "guest").write_text("guest")
    (folder / "guest").chmod(0o600)
    config = folder / f"{name}.toml"
    config.write_text(
        f'database = "{url}"\n[amqp]\nurls = [{urls}]\npassword_file = "{folder}/guest"\n'
        f"[web]\nport = {port}\npublic = true\n"
    )
    command = [str(BIN / "dizaine-aggregator"), "run", "--config", str(config)]
    return Part(command, folder / f"{name}.log", port)


def test_nodes_and_workers_are_killed_and_every_record_is_stored_exactly_once(
    nodes: list[rabbit.Node], postgres_url: str, tmp_path: Path, wait_until: Any
) -> None:
    database = Database(postgres_url)
    start = load.midnight(1)
    city = load.cameras(DEVICES, start, 1)
    secret, modulus = load.make_key()
    load.register(database, city, modulus, 0)
    sealed = load.seal(secret, city, start, WINDOWS)
    total = sum(map(len, sealed))
    workers = [worker(tmp_path, f"worker-{n}", postgres_url, nodes, n) for n in range(2)]
    for part in workers:
        part.start()
    ports = [node.mqtt for node in nodes]
    devices = [Device(camera.name, own, ports) for camera, own in zip(city, sealed, strict=True)]

    def stored() -> int:
        with database.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(schema.record)) or 0

    try:
        for device in devices:
            device.thread.start()
        wait_until(lambda: stored() > total // 10, 60, "the first records")
        workers[0].kill()
        nodes[2].kill()
        wait_until(lambda: stored() > total // 3, 120, "records without them")
        workers[0].start()
        workers[1].kill()
        nodes[2].start()
        wait_until(lambda: not any(d.waiting for d in devices), 240, "all receipts")
    finally:
        for device in devices:
            device.stopping.set()
        for part in workers:
            if part.process is not None and part.process.poll() is None:
                part.stop()
    assert stored() == total
    findings = list(audit.check(database.journal.lines()))
    assert [str(f) for f in findings if isinstance(f, audit.Finding) and f.grave] == []
    with database.engine.connect() as connection:
        said = connection.scalar(sa.select(sa.func.sum(schema.day_sum.c.batches)))
        record = schema.record
        own = sa.func.coalesce(record.c.total, record.c.forward).is_not(None)
        batches = connection.scalar(sa.select(sa.func.count()).where(own))
    assert said == batches
    assert sum(d.sends for d in devices) >= total
    assert datetime.now(UTC) > start
    database.close()
