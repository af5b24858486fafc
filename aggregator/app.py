"""The server: ingest and pages in one process."""

import logging
import socket
from datetime import UTC, datetime

import uvicorn

from aggregator.config import AggregatorConfig
from aggregator.io.ingest import Ingest
from aggregator.store.database import Database
from aggregator.web.pages import build

log = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """The server cannot start; the message is one line that says what to do."""


def serve(config: AggregatorConfig) -> None:
    """Serve until asked to stop.

    Raises:
        ServerError: the port is in use or not ours to take.
        DatabaseError: the database cannot be used.
        MqttError: the certificates cannot be read.
    """
    listener = _listen(config.web.host, config.web.port)
    database = Database(config.database)
    ingest = Ingest(config.mqtt, database)
    app = build(config, database, lambda: ingest.is_up, lambda: datetime.now(UTC))  # noqa: TID251
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
    )
    ingest.start()
    log.info("event=started web=http://%s:%d/", config.web.host, config.web.port)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        log.info("event=interrupted")
    finally:
        ingest.stop()
        database.close()
        log.info("event=stopped")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServerError(
            f"web: {host}:{port} cannot be listened on ({error.strerror});"
            " set web.port to another, or stop its user"
        ) from None
    listener.listen(128)
    return listener
