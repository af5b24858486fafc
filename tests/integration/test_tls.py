"""The publisher and the city's server over TLS with client certificates, and a broker's ACL."""

from pathlib import Path
from typing import Any

import pytest

from edge_agent import config
from edge_agent.io.mqtt import Connection, MqttError, probe
from edge_agent.wire import topics
from tests.integration.certificates import certify


@pytest.fixture
def secure(town: Any) -> Any:
    """Return a town whose broker asks for certificates and gives each device its own topics."""
    authority = certify(town.folder, "ca", None)
    for name in ("server", "bus-1", "bus-2"):
        certify(town.folder, name, authority)
    certify(town.folder, "stranger", certify(town.folder, "other-ca", None))
    (town.folder / "acl").write_text(
        "pattern write dizaine/1/%u/record/+\npattern write dizaine/1/%u/presence\n"
        "pattern write dizaine/1/%u/health\npattern read dizaine/1/%u/stop\n"
        "topic read dizaine/1/fleet/stop\n"
        "pattern read dizaine/1/%u/receipt\nuser bus-2\ntopic read dizaine/#\n"
    )
    (town.folder / "broker.conf").write_text(
        f"listener {town.broker_port} 127.0.0.1\ncafile {town.folder}/ca.pem\n"
        f"certfile {town.folder}/server.pem\nkeyfile {town.folder}/server.key\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n"
        f"acl_file {town.folder}/acl\nuser root\n"
    )
    town.broker.command = [town.broker.command[0], "-c", str(town.folder / "broker.conf")]
    town.broker.start()
    return town


def settings(town: Any, name: str, ca: str = "ca") -> config.Mqtt:
    return config.Mqtt(
        host="localhost",
        port=town.broker_port,
        ca=town.folder / f"{ca}.pem",
        certificate=town.folder / f"{name}.pem",
        key=town.folder / f"{name}.key",
    )


def test_a_device_with_its_certificate_is_let_in(secure: Any) -> None:
    probe(settings(secure, "bus-1"), "bus-1")


@pytest.mark.parametrize(("name", "ca"), [("stranger", "ca"), ("bus-1", "other-ca")])
def test_a_stranger_is_kept_out_and_a_false_broker_is_not_believed(
    secure: Any, name: str, ca: str
) -> None:
    with pytest.raises(MqttError, match="no broker answered"):
        probe(settings(secure, name, ca), "bus-1", within_s=2.0)


def test_a_device_is_heard_on_its_own_topics_alone(secure: Any, wait_until: Any) -> None:
    heard: list[str] = []
    listener = Connection(settings(secure, "bus-2"), "bus-2", lambda _: None, lambda: None)
    listener._client.on_message = lambda _c, _d, message: heard.append(message.topic)
    listener.start()
    wait_until(lambda: listener.is_up)
    listener._client.subscribe(topics.ALL_RECORDS, 1)
    device = Connection(settings(secure, "bus-1"), "bus-1", lambda _: None, lambda: None)
    device.start()
    wait_until(lambda: device.is_up)
    device._client.publish(topics.record("bus-9", "main"), b"not mine", 1)
    device.publish("main", b"mine")
    wait_until(lambda: bool(heard))
    device.stop()
    listener.stop()
    assert heard == [topics.record("bus-1", "main")]


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    broken = config.Mqtt(
        host="localhost", ca=tmp_path / "a", certificate=tmp_path / "b", key=tmp_path / "c"
    )
    with pytest.raises(MqttError, match="readable PEM files"):
        Connection(broken, "bus-1", lambda _: None, lambda: None)
