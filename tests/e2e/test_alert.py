"""One crowded quarter-hour: from a device's signed record, over real servers, to an SMS."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.store.database import Database
from deploy.local import load
from deploy.local.processes import answers, free_port
from edge_agent.io.keys import DeviceKey
from edge_agent.wire import codec, topics
from edge_agent.wire.messages import Total
from tests.records import KEY, a_record

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RULES = """
people:
- {name: marie, sms: +33612345678, language: fr}
rules:
- {name: crowd, measure: passages, at_least: 100, where: {site: Gare}, notify: [marie],
   channels: [sms]}
"""


@pytest.fixture
def city(town: Any) -> Iterator[Any]:
    """Yield a running broker, server and SMS centre, and one registered device."""
    port, town.sms = free_port(), town.folder / "sms.jsonl"
    town.sms.touch()
    command = [sys.executable, "-m", "tests.integration.smsc", str(port), str(town.sms)]
    centre = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    secret = town.folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    with town.aggregator_config.open("a") as config:
        config.write(
            f'[sms]\nprovider = "smpp"\nhost = "127.0.0.1"\nport = {port}\nsystem_id = "city"\n'
            f'password_file = "{secret}"\nsender = "Ville"\n'
        )
    database = Database(f"sqlite:///{town.folder}/city.db")
    town.camera = load.cameras(2, load.midnight(1), 2)[1]
    assert isinstance(KEY, DeviceKey)
    load.register(database, [town.camera], KEY.modulus, 0)
    database.close()
    rules = town.folder / "rules.yaml"
    rules.write_text(RULES)
    applied = town.run(
        "dizaine-aggregator", "rules", "apply", str(rules), "--config", str(town.aggregator_config)
    )
    assert applied.returncode == 0, applied.stderr
    while not answers(port):
        time.sleep(0.05)
    town.broker.start()
    town.aggregator.start()
    yield town
    centre.kill()
    centre.wait()


def say(town: Any, total: int) -> bool:
    """Offer the record of the quarter-hour that has just ended; return whether it is stored."""
    ended_s = int(time.time()) // 900 * 900
    record = a_record(
        device=town.camera.name,
        window=datetime.fromtimestamp(ended_s, UTC) - timedelta(minutes=15),
        config=town.camera.declared.fingerprint(), status="ok", passages=Total(total=total),
    )  # fmt: skip
    sealed = codec.seal(record, KEY.sign)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=town.camera.name)
    client.connect("127.0.0.1", town.broker_port)
    client.loop_start()
    client.publish(topics.record(record.device, record.scope), sealed, 1).wait_for_publish(10)
    client.loop_stop()
    client.disconnect()
    time.sleep(0.5)
    return town.stored() != []


def test_a_crowded_quarter_hour_becomes_one_sms_with_its_receipt(
    city: Any, wait_until: Any
) -> None:
    # As a device does: again and again until it is stored.
    wait_until(lambda: say(city, 120), 30, "a receipt")
    wait_until(lambda: city.sms.read_text() != "", 60, "an SMS")
    (sent,) = [json.loads(line) for line in city.sms.read_text().splitlines()]
    assert sent["to"] == "33612345678"
    # The server dies and comes back: what was sent is not sent again.
    city.aggregator.kill()
    city.aggregator.start()
    database = Database(f"sqlite:///{city.folder}/city.db")
    wait_until(lambda: database.alerts.count_open() == 1, 10, "the alert")
    time.sleep(6.0)
    assert len(city.sms.read_text().splitlines()) == 1
    (message,) = database.deliveries.newest(9)
    assert message.state in ("sent", "delivered")
    assert "Gare" in message.body
    assert f"/alerts/{database.alerts.newest(1)[0].id}" in message.body
    assert database.trail.check()[1] is None
    database.close()
