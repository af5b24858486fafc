"""The loop that sends queued messages: any number of workers share the queue."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping

import sqlalchemy.exc

from aggregator import metrics
from aggregator.core.rules import Channel as Name
from aggregator.io.channels import Channel, Message, SendError
from aggregator.store.database import Database
from aggregator.store.engine import reason_of

log = logging.getLogger(__name__)

IDLE_S = 1.0
RECEIPTS_EVERY_S = 5.0
ASK_FOR_S = 2 * 86_400
"""Receipts that have not come by then never will."""


class Delivering:
    """One worker."""

    def __init__(self, database: Database, channels: Mapping[Name, Channel]) -> None:
        self._database = database
        self._channels = channels
        self._name = f"{socket.gethostname()[:16]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._stopping = threading.Event()
        self._asked_s = 0.0
        self._blocked = False
        self._thread = threading.Thread(target=self._run, name="delivering", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the message that is being sent."""
        self._stopping.set()
        self._thread.join(30.0)
        for channel in self._channels.values():
            channel.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                sent = self.turn()
                self._blocked = False
            except sqlalchemy.exc.SQLAlchemyError as error:
                if not self._blocked:
                    log.error("event=delivering_stalled why=%r", reason_of(error))  # noqa: TRY400
                self._blocked, sent = True, False
            if not sent:
                self._stopping.wait(IDLE_S)

    def turn(self) -> bool:
        """Send one message and take receipts in; return whether there was a message."""
        self._take_receipts()
        one = self._database.deliveries.take(self._name, list(self._channels), _now_s())
        if one is None:
            return False
        message = Message(one.key, one.address, one.subject, one.body)
        try:
            reference = self._channels[one.channel].send(message)  # type: ignore[index]
        except SendError as error:
            for_good = error.for_good
            log.warning(
                "event=not_sent delivery=%d channel=%s attempt=%d for_good=%s why=%r",
                one.id, one.channel, one.attempts, for_good, str(error),
            )  # fmt: skip
            self._database.deliveries.fail(one, self._name, str(error), _now_s(), for_good=for_good)
            return True
        log.info("event=sent delivery=%d channel=%s", one.id, one.channel)
        self._database.deliveries.done(one, self._name, reference, _now_s())
        return True

    def _take_receipts(self) -> None:
        if time.monotonic() - self._asked_s < RECEIPTS_EVERY_S:
            return
        self._asked_s = time.monotonic()
        now_s = _now_s()
        for state, count in self._database.deliveries.count().items():
            metrics.DELIVERIES.labels(state).set(count)
        channel = self._channels.get("sms")
        if channel is None:
            return
        try:
            found = channel.receipts(self._database.deliveries.awaiting_receipts(now_s - ASK_FOR_S))
        except SendError as error:
            log.warning("event=no_receipts why=%r", str(error))
            return
        for receipt in found:
            self._database.deliveries.receipt(
                receipt.reference, delivered=receipt.delivered, now_s=now_s
            )


def _now_s() -> int:
    return int(time.time())  # noqa: TID251 - the clock comes in here
