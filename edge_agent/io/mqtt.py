"""The publisher's connection to the broker (release rules R11 and R15).

QoS 1, nothing retained, one topic a scope, a last will that is always the same. Whether a record is
stored is told by the city's receipt alone; what the broker acknowledges means nothing here.
Besides records, presence and one health message a day are published; neither moves with the crowd.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent import config
from edge_agent.wire import codec, topics
from edge_agent.wire.messages import FLEET, Health, Presence, Receipt

log = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 60
MOST_QUEUED = 256
"""Messages the client may hold; the spool holds the rest."""
GOODBYE_WITHIN_S = 2.0
_QOS = 1


class MqttError(RuntimeError):
    """The broker cannot be talked to as configured; the message says what to do."""


class Connection:
    """A connection that comes back by itself, with back-off."""

    def __init__(
        self,
        settings: config.Mqtt,
        device: str,
        on_receipt: Callable[[Receipt], None],
        on_connect: Callable[[], None],
        on_stop: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """Prepare the connection; all callbacks are called from its own thread.

        Raises:
            MqttError: a certificate or key cannot be read.
        """
        self._settings = settings
        self._device = device
        self._on_receipt = on_receipt
        self._on_connect = on_connect
        self._on_stop = on_stop
        self._obeyed = (0, 0)
        self._was_up: bool | None = None
        self._thread: threading.Thread | None = None
        client = _client(settings, device)
        client.reconnect_delay_set(1, LONGEST_BACKOFF_S)
        client.max_queued_messages_set(MOST_QUEUED)
        client.will_set(topics.presence(device), self._presence("offline"), _QOS, retain=False)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._unreachable
        client.on_message = self._message
        self._client = client

    def _presence(self, state: str, obeyed: tuple[int, int] = (0, 0)) -> bytes:
        fleet, own = obeyed
        fields = {"device": self._device, "state": state, "fleet_stop": fleet, "own_stop": own}
        return codec.canonical(Presence.model_validate(fields))

    def obeys(self, fleet: int, own: int) -> None:
        """Say which stop commands are obeyed; again whenever that changes."""
        if (fleet, own) != self._obeyed:
            self._obeyed = (fleet, own)
            if self.is_up:
                self._client.publish(
                    topics.presence(self._device), self._presence("online", self._obeyed), _QOS
                )

    def tell_health(self, health: Health) -> bool:
        """Publish a day's word on the device; return whether it was handed to the network."""
        if not self.is_up:
            return False
        payload = codec.encode_health(health)
        sent = self._client.publish(topics.health(self._device), payload, _QOS, retain=False)
        return sent.rc == paho.MQTT_ERR_SUCCESS

    @property
    def is_up(self) -> bool:
        """Return whether the broker is connected now."""
        return self._client.is_connected()

    def start(self) -> None:
        """Connect in the background and keep trying."""
        settings = self._settings
        self._client.connect_async(settings.host, settings.port, settings.keepalive_s)
        # Not `loop_start`: its wake-up is a TCP connection to ourselves, which the sandbox forbids.
        self._thread = threading.Thread(
            target=self._client.loop_forever,
            kwargs={"retry_first_connection": True},
            name="mqtt",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Say that the device goes, and disconnect."""
        if self.is_up:
            gone = self._client.publish(
                topics.presence(self._device), self._presence("offline"), _QOS
            )
            try:
                gone.wait_for_publish(GOODBYE_WITHIN_S)
            except (RuntimeError, ValueError):
                log.info("event=left_without_goodbye")
        self._client.disconnect()
        if self._thread:
            self._thread.join(GOODBYE_WITHIN_S)

    def publish(self, scope: str, sealed: bytes) -> bool:
        """Offer one sealed record; return whether it was handed to the network."""
        topic = topics.record(self._device, scope)
        return self._client.publish(topic, sealed, _QOS, retain=False).rc == paho.MQTT_ERR_SUCCESS

    def _connected(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._say(up=False, why=str(reason))
            return
        self._say(up=True)
        heard = (topics.receipt(self._device), topics.stop(self._device), topics.stop(FLEET))
        client.subscribe([(topic, _QOS) for topic in heard])
        online = self._presence("online", self._obeyed)
        client.publish(topics.presence(self._device), online, _QOS)
        self._on_connect()

    def _disconnected(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._say(up=False, why=str(reason))

    def _unreachable(self, _client: paho.Client, _data: Any) -> None:
        self._say(up=False, why="unreachable")

    def _say(self, *, up: bool, why: str = "") -> None:
        """Log a change of state, once."""
        if up == self._was_up:
            return
        self._was_up = up
        where = f"{self._settings.host}:{self._settings.port}"
        if up:
            log.info("event=broker_connected broker=%s", where)
        else:
            log.warning("event=broker_lost broker=%s why=%r; records wait on disk", where, why)

    def _message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic in (topics.stop(self._device), topics.stop(FLEET)):
            self._on_stop(bytes(message.payload))
            return
        try:
            receipt = codec.decode_receipt(bytes(message.payload))
        except codec.WireError as error:
            log.warning("event=bad_receipt why=%r", str(error))
            return
        self._on_receipt(receipt)


def _client(settings: config.Mqtt, name: str) -> paho.Client:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, protocol=paho.MQTTv311
    )
    if settings.ca:
        try:
            context = ssl.create_default_context(cafile=settings.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(str(settings.certificate), str(settings.key))
        except (OSError, ssl.SSLError) as error:
            raise MqttError(
                f"mqtt: expected readable PEM files in ca, certificate and key: {error}"
            ) from None
        client.tls_set_context(context)
    return client


def probe(settings: config.Mqtt, device: str, within_s: float = 5.0) -> None:
    """Connect once and leave again, beside a publisher that may be running.

    Raises:
        MqttError: the broker did not accept the connection in time.
    """
    up = threading.Event()
    client = _client(settings, f"{device}-probe")  # two of one name would throw each other out

    def connected(
        _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if not reason.is_failure:
            up.set()

    client.on_connect = connected
    client.connect_async(settings.host, settings.port)
    client.loop_start()
    try:
        if not up.wait(within_s):
            raise MqttError(
                f"mqtt: no broker answered at {settings.host}:{settings.port} within"
                f" {within_s:.0f} s; check mqtt.host, mqtt.port and the certificates"
            )
    finally:
        client.disconnect()
        client.loop_stop()


def answers(settings: config.Mqtt, within_s: float = 2.0) -> bool:
    """Return whether anything listens where the broker should be; who, is not asked."""
    try:
        socket.create_connection((settings.host, settings.port), within_s).close()
    except OSError:
        return False
    return True
