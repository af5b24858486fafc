"""The server: what its configuration gives it to do, in one process."""

import logging
import socket
from contextlib import ExitStack
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import uvicorn
from prometheus_client import start_http_server

from aggregator.alerting import Alerting
from aggregator.config import AggregatorConfig
from aggregator.core.wording import Writer
from aggregator.delivering import Delivering
from aggregator.io import channels
from aggregator.io.amqp import AmqpIngest
from aggregator.io.ingest import Ingest
from aggregator.store.database import Database
from aggregator.web.site import build

log = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """The server cannot start; the message is one line that says what to do."""


def serve(config: AggregatorConfig) -> None:
    """Serve until asked to stop.

    Raises:
        ServerError: a port is in use or not ours to take.
        DatabaseError: the database cannot be used.
        MqttError: the certificates cannot be read.
        ConfigError: a secret is missing.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_bind(config.web.host, config.web.port))
        database = Database(config.database, config.timezone)
        stack.callback(database.close)
        ingest = _ingest(config, database) if config.workers.ingest else None
        parts = [part for part in (ingest, *_workers(config, database)) if part is not None]
        app = build(
            config, database, lambda: ingest is None or ingest.is_up, lambda: datetime.now(UTC)  # noqa: TID251
        )  # fmt: skip
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False,
                timeout_graceful_shutdown=5,
            )
        )  # fmt: skip
        if config.metrics:
            _serve_metrics(config.metrics.host, config.metrics.port)
        # Not before: a port that answers is a server that serves. Nor later: of two servers that
        # begin at once, one alone speaks to the broker.
        _listen(listener)
        for part in parts:
            part.start()
            stack.callback(part.stop)
        log.info("event=started web=http://%s:%d/", config.web.host, config.web.port)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            log.info("event=interrupted")
    log.info("event=stopped")


def _ingest(config: AggregatorConfig, database: Database) -> Ingest | AmqpIngest:
    if config.amqp is not None:
        return AmqpIngest(config.amqp, database)
    return Ingest(config.mqtt, database)


def _workers(config: AggregatorConfig, database: Database) -> list[Alerting | Delivering]:
    found: list[Alerting | Delivering] = []
    address = config.web.address or f"http://{config.web.host}:{config.web.port}/"
    if config.workers.alerts:
        with database.engine.begin() as connection:
            database.alerts.start_at_the_end(connection)
        found.append(
            Alerting(
                database, Writer(ZoneInfo(config.timezone), address),
                lambda: datetime.now(UTC),  # noqa: TID251
                alerts_days=config.retention.alerts_days,
                trail_days=config.retention.trail_days,
            )
        )  # fmt: skip
    if config.workers.delivery:
        ways = channels.build(config)
        if ways:
            found.append(Delivering(database, ways))
        else:
            log.warning("event=no_channel; messages wait until [mail] or [sms] is configured")
    return found


def _serve_metrics(host: str, port: int) -> None:
    try:
        start_http_server(port, host)
    except OSError as error:
        raise ServerError(f"metrics: {host}:{port} cannot be listened on ({error})") from None


def _bind(host: str, port: int) -> socket.socket:
    """Take the pages' port, so that nothing is begun where it is somebody else's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from None
    return listener


def _listen(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(128)
    except OSError as error:
        raise _taken(host, port, error) from None


def _taken(host: str, port: int, error: OSError) -> ServerError:
    return ServerError(
        f"web: {host}:{port} cannot be listened on ({error.strerror});"
        " set web.port to another, or stop its user"
    )
