"""From the broker into the database, and receipts back, in that order.

A message is acknowledged to the broker, and a receipt sent, only after the database has committed.
While the database cannot commit nothing is acknowledged: the same messages are tried again.
"""

import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
import sqlalchemy.exc
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from aggregator import metrics
from aggregator.config import Mqtt
from aggregator.io.intake import STOPS_EVERY_S, Intake, Letter, utc_now
from aggregator.store.database import Database
from edge_agent.wire import topics

log = logging.getLogger(__name__)

MOST_QUEUED = 4096
"""Messages held in memory; beyond, the broker is not read and holds them itself."""
MOST_TOGETHER = 1024
"""Messages stored in one transaction; a busy worker's sums are written once for all of them."""
GATHER_S = 0.01
RETRY_S = 1.0
_QOS = 1


class MqttError(RuntimeError):
    """The broker cannot be talked to as configured; the message says what to do."""


class Ingest:
    """One connection to the broker and one writer."""

    def __init__(
        self, settings: Mqtt, database: Database, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Prepare both.

        Raises:
            MqttError: a certificate or key cannot be read.
        """
        self._settings = settings
        self._intake = Intake(database, now)
        self._queue: queue.Queue[paho.MQTTMessage | None] = queue.Queue(MOST_QUEUED)
        self._stopping = threading.Event()
        self._was_up: bool | None = None
        self._client = self._make_client()
        self._writer = threading.Thread(target=self._write, name="ingest", daemon=True)

    def _make_client(self) -> paho.Client:
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=settings.client_id, clean_session=False,
            protocol=paho.MQTTv311, manual_ack=True,
        )  # fmt: skip
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._unreachable
        client.on_message = self._arrived
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

    @property
    def is_up(self) -> bool:
        """Return whether the broker is connected now."""
        return self._client.is_connected() and self._writer.is_alive()

    def start(self) -> None:
        """Connect in the background and keep trying."""
        self._writer.start()
        self._client.connect_async(self._settings.host, self._settings.port, 60)
        self._client.loop_start()

    def stop(self) -> None:
        """Finish what is being written, then disconnect."""
        self._stopping.set()
        self._queue.put(None)
        self._writer.join(10.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        self._say(up=not reason.is_failure, why=str(reason))
        if not reason.is_failure:
            ours = (topics.ALL_RECORDS, topics.ALL_PRESENCE, topics.ALL_HEALTH)
            client.subscribe([(topic, _QOS) for topic in ours])

    def _disconnected(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._say(up=False, why=str(reason))

    def _unreachable(self, _client: paho.Client, _data: Any) -> None:
        self._say(up=False, why="unreachable")

    def _say(self, *, up: bool, why: str) -> None:
        if up == self._was_up:
            return
        self._was_up = up
        metrics.BROKER_UP.set(up)
        where = f"{self._settings.host}:{self._settings.port}"
        if up:
            log.info("event=broker_connected broker=%s", where)
        else:
            log.warning("event=broker_lost broker=%s why=%r; trying again", where, why)

    def _arrived(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(message, timeout=1.0)
            except queue.Full:
                continue
            return

    def _write(self) -> None:
        while not self._stopping.is_set():
            self._send(self._intake.stops())
            try:
                first = self._queue.get(timeout=STOPS_EVERY_S)
            except queue.Empty:
                continue
            if first is None:
                return
            batch = [first]
            deadline_s = time.monotonic() + GATHER_S
            while len(batch) < MOST_TOGETHER and (left_s := deadline_s - time.monotonic()) > 0:
                try:
                    message = self._queue.get(timeout=left_s)
                except queue.Empty:
                    break
                if message is None:
                    self._stopping.set()
                    break
                batch.append(message)
            self._store(batch)

    def _store(self, batch: list[paho.MQTTMessage]) -> None:
        """Store a batch, then answer and acknowledge it."""
        letters = [Letter(_topic_of(message), bytes(message.payload)) for message in batch]
        while True:
            try:
                with metrics.COMMIT_S.time():
                    answers = self._intake.take(letters)
                break
            except sqlalchemy.exc.SQLAlchemyError as error:
                self._intake.tell_database(error)
                if self._stopping.wait(RETRY_S):
                    return
        self._intake.tell_database(None)
        self._send(answers)
        for message in batch:
            self._client.ack(message.mid, message.qos)

    def _send(self, letters: list[Letter]) -> None:
        for letter in letters:
            self._client.publish(letter.topic, letter.payload, _QOS)


def _topic_of(message: paho.MQTTMessage) -> str:
    """Return a message's topic; nothing where it is no text, which is then refused."""
    try:
        return str(message.topic)
    except UnicodeDecodeError:
        return ""
