"""From RabbitMQ's quorum queue into the database: any number of identical workers share it.

Devices speak MQTT to any node; the queue keeps what they say on a majority of nodes. A message is
acknowledged after the database has committed; what a worker had in hand when it died goes to
another.
"""

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pika
import pika.exceptions
import sqlalchemy.exc

from aggregator import metrics
from aggregator.config import Amqp, ConfigError, secret
from aggregator.io.intake import Intake, Letter, utc_now
from aggregator.store.database import Database

log = logging.getLogger(__name__)

EXCHANGE = "amq.topic"
"""Where RabbitMQ's MQTT plugin puts what devices publish, and takes what they receive."""
_KEYS = ("dizaine.1.*.record.*", "dizaine.1.*.presence", "dizaine.1.*.health")
MOST_TOGETHER = 1024
"""Messages stored in one transaction; a busy worker's sums are written once for all of them."""
PREFETCH = 2 * MOST_TOGETHER
IDLE_S = 0.05
RETRY_S = 1.0


class AmqpIngest:
    """One connection at a time to one of the nodes, and one writer."""

    def __init__(
        self, settings: Amqp, database: Database, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Read the secret.

        Raises:
            ConfigError: it is missing, or an address is none.
        """
        self._settings = settings
        self._intake = Intake(database, now)
        self._stopping = threading.Event()
        self._up: bool | None = None
        self._nodes = list(self._parameters())
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    def _parameters(self) -> Iterator[pika.URLParameters]:
        settings = self._settings
        password = secret("amqp.password", settings.password_file)
        for url in settings.urls:
            if not url.startswith(("amqp://", "amqps://")):
                raise ConfigError(f"amqp.urls: expected amqps://HOST:5671, got {url}")
            node = pika.URLParameters(url)
            node.credentials = pika.PlainCredentials(settings.user, password)
            node.heartbeat = 30
            node.blocked_connection_timeout = 60
            if url.startswith("amqps://"):
                trust = ssl.create_default_context(cafile=settings.ca)
                node.ssl_options = pika.SSLOptions(trust, node.host)
            yield node

    @property
    def is_up(self) -> bool:
        """Return whether a node is connected now."""
        return self._up is True and self._thread.is_alive()

    def start(self) -> None:
        """Connect in the background and keep trying."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being written, then disconnect."""
        self._stopping.set()
        self._thread.join(20.0)

    def _run(self) -> None:
        turn = 0
        while not self._stopping.is_set():
            node = self._nodes[turn % len(self._nodes)]
            turn += 1
            try:
                connection = pika.BlockingConnection(node)
            except (pika.exceptions.AMQPError, OSError) as error:
                self._say(node, up=False, why=str(error) or type(error).__name__)
                self._stopping.wait(RETRY_S)
                continue
            try:
                self._serve(connection, node)
            except (pika.exceptions.AMQPError, OSError) as error:
                self._say(node, up=False, why=str(error) or type(error).__name__)
            finally:
                self._close(connection)

    @staticmethod
    def _close(connection: pika.BlockingConnection) -> None:
        try:
            connection.close()
        except (pika.exceptions.AMQPError, OSError):
            log.debug("event=node_was_gone")

    def _say(self, node: pika.URLParameters, *, up: bool, why: str = "") -> None:
        if up != self._up:
            where = f"{node.host}:{node.port}"
            if up:
                log.info("event=broker_connected broker=%s", where)
            else:
                log.warning("event=broker_lost broker=%s why=%r; trying the next", where, why)
        self._up = up
        metrics.BROKER_UP.set(up)

    def _serve(self, connection: pika.BlockingConnection, node: pika.URLParameters) -> None:
        channel = connection.channel()
        queue = self._settings.queue
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        for key in _KEYS:
            channel.queue_bind(queue, EXCHANGE, key)
        channel.basic_qos(prefetch_count=PREFETCH)
        self._say(node, up=True)
        batch: list[tuple[int, Letter]] = []
        for method, _, body in channel.consume(queue, inactivity_timeout=IDLE_S):
            if method is not None:
                topic = method.routing_key.replace(".", "/")
                batch.append((method.delivery_tag, Letter(topic, body)))
            if batch and (method is None or len(batch) >= MOST_TOGETHER):
                if not self._store(connection, channel, batch):
                    return
                batch = []
            if method is None:
                self._send(channel, self._intake.stops())
            if self._stopping.is_set() and not batch:
                channel.cancel()
                return

    def _store(
        self, connection: pika.BlockingConnection, channel: Any, batch: list[tuple[int, Letter]]
    ) -> bool:
        """Store a batch, then answer and acknowledge it; return False where we stop before."""
        while True:
            try:
                with metrics.COMMIT_S.time():
                    answers = self._intake.take([letter for _, letter in batch])
                break
            except sqlalchemy.exc.SQLAlchemyError as error:
                self._intake.tell_database(error)
                connection.sleep(RETRY_S)  # keeps answering the node meanwhile
                if self._stopping.is_set():
                    return False
        self._intake.tell_database(None)
        self._send(channel, answers)
        channel.basic_ack(batch[-1][0], multiple=True)
        return True

    @staticmethod
    def _send(channel: Any, letters: list[Letter]) -> None:
        for letter in letters:
            channel.basic_publish(EXCHANGE, letter.topic.replace("/", "."), letter.payload)
