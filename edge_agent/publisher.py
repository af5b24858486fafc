"""The process that owns the network: it keeps sealed records until the city has stored them.

It has no camera and never sees a number below k: what reaches it is sealed, and always as large.
"""

import logging
import queue
import selectors
import signal
import socket
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config import AgentConfig
from edge_agent.io import packets
from edge_agent.io.ledger import Ledger, LedgerError
from edge_agent.io.mqtt import Connection
from edge_agent.io.packets import Kind, Packet
from edge_agent.io.spool import Spool, SpoolFullError
from edge_agent.wire import codec
from edge_agent.wire.messages import Receipt

log = logging.getLogger(__name__)

SOCKET_NAME = "agent.sock"
TICK_S = 0.5
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3600.0
MOST_IN_FLIGHT = 64
"""Records offered at a time; the rest wait for receipts, so that a long backlog is no flood."""


class PublisherError(RuntimeError):
    """The publisher cannot start; the message is one line that says what to do."""


@dataclass(slots=True)
class _Offer:
    """When a record is to be offered again, and how long to wait after that."""

    again_at_s: float
    wait_s: float


class Publisher:
    """Ledger, spool and broker behind one socket."""

    def __init__(self, config: AgentConfig) -> None:
        """Open ledger, spool and socket.

        Raises:
            PublisherError: one of them cannot be used.
            MqttError: the certificates cannot be read.
        """
        folder = config.data_dir
        self._ledger, self._spool, self._listener = _open(folder)
        self._waiting = {kept.digest: kept.sealed for kept in self._spool.all()}
        self._offers: dict[str, _Offer] = {}
        self._events: queue.SimpleQueue[Receipt | None] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._link: socket.socket | None = None
        self._disk_full = False
        self._stopping = False
        self._broker = Connection(config.mqtt, config.device, self._post, lambda: self._post(None))

    def run(self) -> None:
        """Serve until asked to stop."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        log.info("event=started waiting_records=%d", len(self._waiting))
        self._broker.start()
        while not self._stopping:
            for key, _ in self._selector.select(TICK_S):
                self._readable(key.fileobj)
            self._offer()
        self._broker.stop()
        self._ledger.close()
        self._spool.close()
        log.info("event=stopped waiting_records=%d", len(self._waiting))

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def _post(self, event: Receipt | None) -> None:
        """Take a receipt, or None for a new connection, over from the broker's thread."""
        self._events.put(event)
        try:
            self._wake_in.send(b"!")
        except BlockingIOError:
            return

    def _readable(self, ready: object) -> None:
        if ready is self._listener:
            self._accept()
        elif ready is self._wake_out:
            self._wake_out.recv(4096)
            while not self._events.empty():
                self._take(self._events.get())
        elif self._link is not None:
            self._answer(self._link)

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        if not packets.is_ours(link):
            log.warning("event=stranger_refused")
            link.close()
            return
        self._hang_up()
        self._link = link
        self._selector.register(link, selectors.EVENT_READ)

    def _hang_up(self) -> None:
        if self._link is not None:
            self._selector.unregister(self._link)
            self._link.close()
            self._link = None

    def _answer(self, link: socket.socket) -> None:
        try:
            data = link.recv(packets.PACKET_SIZE + 1)
            if not data:
                self._hang_up()
                return
            link.send(self._reply(packets.unpack(data)).pack())
        except (OSError, packets.PacketError) as error:
            log.warning("event=vision_lost why=%r", str(error))
            self._hang_up()

    def _reply(self, said: Packet) -> Packet:
        """Do what vision asks, durably, before answering."""
        try:
            kind, window_s = self._do(said)
        except (sqlite3.OperationalError, SpoolFullError) as error:
            if not self._disk_full:
                log.error("event=disk_refused why=%r; windows wait in memory", str(error))  # noqa: TRY400
            self._disk_full = True
            return Packet(Kind.LATER, said.scope, said.window_s)
        self._disk_full = False
        return Packet(kind, said.scope, window_s)

    def _do(self, said: Packet) -> tuple[Kind, int]:
        if said.kind is Kind.ASK:
            last = self._ledger.last(said.scope)
            return Kind.LAST, -1 if last is None else last
        if said.kind is Kind.BURN:
            burnt = self._ledger.burn(said.scope, said.window_s)
            return (Kind.BURNT if burnt else Kind.REFUSED), said.window_s
        if said.kind is Kind.RECORD:
            self._spool.add(said.sealed)
            self._waiting.setdefault(codec.digest(said.sealed), said.sealed)
            return Kind.SPOOLED, said.window_s
        raise packets.PacketError(f"expected ASK, BURN or RECORD, got {said.kind.name}")

    def _take(self, event: Receipt | None) -> None:
        """Take a receipt in; after a new connection everything waiting is offered at once."""
        if event is None:
            self._offers.clear()
        elif event.outcome == "stored":
            try:
                self._spool.remove(event.digest)
            except sqlite3.OperationalError as error:
                log.warning("event=disk_refused why=%r; the record is offered again", str(error))
                return
            self._waiting.pop(event.digest, None)
            self._offers.pop(event.digest, None)
        elif event.digest in self._waiting:
            log.warning(
                "event=record_refused retry_s=%d; see the aggregator's log", LONGEST_RETRY_S
            )
            later_s = time.monotonic() + LONGEST_RETRY_S
            self._offers[event.digest] = _Offer(later_s, LONGEST_RETRY_S)

    def _offer(self) -> None:
        """Publish what waits and is due, oldest first."""
        if not self._broker.is_up:
            return
        now_s = time.monotonic()
        in_flight = sum(offer.wait_s < LONGEST_RETRY_S for offer in self._offers.values())
        for name, sealed in self._waiting.items():
            offer = self._offers.get(name)
            if offer is None and in_flight >= MOST_IN_FLIGHT:
                break
            if offer is not None and now_s < offer.again_at_s:
                continue
            if not self._broker.publish(codec.unseal(sealed).record.scope, sealed):
                break
            in_flight += offer is None
            wait_s = FIRST_RETRY_S if offer is None else min(2 * offer.wait_s, LONGEST_RETRY_S)
            self._offers[name] = _Offer(now_s + wait_s, wait_s)


def _open(folder: Path) -> tuple[Ledger, Spool, socket.socket]:
    """Open what the publisher owns on disk.

    Raises:
        PublisherError: something cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        listener = packets.listen(folder / SOCKET_NAME)
        if (folder / "spool.db").exists() and not (folder / "ledger.db").exists():
            raise PublisherError(
                f"{folder}: the spool is there and the ledger is not; without it the device could"
                " say a window twice: enrol it as a new device"
            )
        ledger = Ledger(folder / "ledger.db")
    except LedgerError as error:
        raise PublisherError(str(error)) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise PublisherError(f"data_dir {folder}: cannot be used ({reason})") from None
    try:
        spool = Spool(folder / "spool.db")
    except sqlite3.DatabaseError as error:
        aside = folder / f"spool.damaged-{int(time.monotonic())}.db"
        (folder / "spool.db").rename(aside)
        log.error("event=spool_damaged why=%r moved_to=%s", str(error), aside.name)  # noqa: TRY400
        spool = Spool(folder / "spool.db")
    return ledger, spool, listener
