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
from datetime import UTC, date, datetime
from pathlib import Path

from edge_agent.config import AgentConfig
from edge_agent.io import packets
from edge_agent.io.clock import is_set
from edge_agent.io.keys import certificate_end, command_check
from edge_agent.io.ledger import Cost, Ledger, LedgerError
from edge_agent.io.mqtt import Connection
from edge_agent.io.packets import Kind, Packet
from edge_agent.io.spool import Spool, SpoolFullError
from edge_agent.wire import codec
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import FLEET, OBJECTIONS, Health, Receipt

log = logging.getLogger(__name__)

TICK_S = 0.5
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3600.0
LARGEST_STEP_S = 5.0
"""A wall clock that departs further from the steady one within a day was not set well."""
MOST_IN_FLIGHT = 64
"""Records offered at a time; the rest wait for receipts, so that a long backlog is no flood."""


class PublisherError(RuntimeError):
    """The publisher cannot start; the message is one line that says what to do."""


@dataclass(slots=True)
class _Offer:
    """When a record is to be offered again, and how long to wait after that."""

    again_at_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class About:
    """What the device says of itself once a day, besides what changes.

    Attributes:
        build: the program's fingerprint.
        confined: the surroundings are safe and the sandbox is closed.
    """

    build: str
    confined: bool


class Publisher:
    """Ledger, spool and broker, and the call to vision."""

    def __init__(
        self, config: AgentConfig, declared: Declaration, calls: Path, about: About
    ) -> None:
        """Open ledger and spool; `calls` is the socket that vision listens on.

        Raises:
            PublisherError: one of them cannot be used, or an older configuration came back.
            MqttError, KeyFileError: certificates or keys cannot be read.
        """
        self._declared = declared
        self._socket, self._by_group = calls, config.link is not None
        self._ledger, self._spool = _open(config.data_dir, declared)
        self._waiting = {kept.digest: kept.sealed for kept in self._spool.all()}
        self._offers: dict[str, _Offer] = {}
        self._events: queue.SimpleQueue[Receipt | bytes | None] = queue.SimpleQueue()
        key = config.commands.public_key
        self._is_signed = command_check(key) if key else None
        self._obeyed = {FLEET: 0, declared.device: 0}
        self._about = about
        self._certificate_ends = (
            certificate_end(config.mqtt.certificate) if config.mqtt.certificate else None
        )
        self._health: Health | None = None
        self._disk_was_full = False
        self._clocks = (time.time(), time.monotonic())  # noqa: TID251 - both clocks come in
        self._selector = selectors.DefaultSelector()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._link: socket.socket | None = None
        self._disk_full = False
        self._stopping = False
        self._broker = Connection(
            config.mqtt, config.device, self._post, lambda: self._post(None), self._post
        )

    def run(self) -> None:
        """Serve until asked to stop."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        log.info("event=started waiting_records=%d", len(self._waiting))
        speaking = False
        while not self._stopping:
            if not speaking and is_set(time.time()):  # noqa: TID251 - the clock comes in
                speaking = True
                self._broker.start()
            self._call()
            for key, _ in self._selector.select(TICK_S):
                self._readable(key.fileobj)
            self._offer()
        self._broker.stop()
        self._ledger.close()
        self._spool.close()
        log.info("event=stopped waiting_records=%d", len(self._waiting))

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def _post(self, event: Receipt | bytes | None) -> None:
        """Take a receipt, a command or None for a new connection over from the broker's thread."""
        self._events.put(event)
        try:
            self._wake_in.send(b"!")
        except BlockingIOError:
            return

    def _readable(self, ready: object) -> None:
        if ready is self._wake_out:
            self._wake_out.recv(4096)
            while not self._events.empty():
                event = self._events.get()
                if isinstance(event, bytes):
                    self._take_stop(event)
                else:
                    self._take(event)
        elif self._link is not None:
            self._answer(self._link)

    def _call(self) -> None:
        """Call vision unless we are connected; it may not be there yet, or be gone."""
        if self._link is not None:
            return
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            link.connect(str(self._socket))
        except OSError:
            link.close()
            return
        if not packets.is_ours(link, group=self._by_group):
            log.warning("event=stranger_refused")
            link.close()
            return
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
            return self._do(said)
        except (sqlite3.OperationalError, SpoolFullError) as error:
            if not self._disk_full:
                log.error("event=disk_refused why=%r; windows wait in memory", str(error))  # noqa: TRY400
            self._disk_full = self._disk_was_full = True
            return Packet(Kind.LATER, said.scope, said.window_s)

    def _do(self, said: Packet) -> Packet:
        if said.kind is Kind.ASK:
            last = self._ledger.last(said.scope)
            return Packet(Kind.LAST, said.scope, -1 if last is None else last)
        if said.kind is Kind.BURN:
            answer = self._burn(said)
        elif said.kind is Kind.RECORD:
            answer = self._keep(said)
        else:
            return self._hear(said)
        self._disk_full = False
        return answer

    def _hear(self, said: Packet) -> Packet:
        """Answer what is not about records: stops and health."""
        if said.kind is Kind.STOPS and said.scope in self._obeyed:
            self._obeyed[said.scope] = max(0, said.window_s)
            self._broker.obeys(self._obeyed[FLEET], self._obeyed[self._declared.device])
            return Packet(Kind.STOP, said.scope, sealed=self._ledger.stop(said.scope))
        if said.kind is Kind.HEALTH:
            self._take_health(said)
            return Packet(Kind.SPOOLED, said.scope, said.window_s)
        raise packets.PacketError(f"expected a question, got {said.kind.name}")

    def _take_stop(self, sealed: bytes) -> None:
        """Keep a stop command that the city signed, for vision to obey now and after a restart."""
        if self._is_signed is None:
            log.warning("event=stop_ignored why='no commands.public_key'")
            return
        try:
            stop = codec.unseal_stop(sealed, self._is_signed)
            if stop.target in self._obeyed and self._ledger.take_stop(
                stop.target, stop.number, sealed
            ):
                log.warning("event=stop_command target=%s number=%d", stop.target, stop.number)
        except codec.WireError as error:
            log.warning("event=stop_ignored why=%r", str(error))
        except sqlite3.OperationalError as error:
            # The city repeats it until it is obeyed.
            log.error("event=disk_refused why=%r", str(error))  # noqa: TRY400

    def _take_health(self, said: Packet) -> None:
        """Compose the day's word on the device (R11); it is sent as soon as there is a broker.

        Of a day before the clock was set nothing is said.
        """
        wall_s, steady_s = time.time(), time.monotonic()  # noqa: TID251
        drift_s = (wall_s - self._clocks[0]) - (steady_s - self._clocks[1])
        self._clocks = (wall_s, steady_s)
        try:
            self._health = Health(
                device=self._declared.device,
                day=date.fromordinal(said.window_s),
                config=self._declared.fingerprint(),
                build=self._about.build,
                confined=self._about.confined,
                certificate_ends=self._certificate_ends,
                latency="l" in said.scope,
                kept_up="k" in said.scope,
                disk=not self._disk_was_full,
                clock=abs(drift_s) <= LARGEST_STEP_S,
            )
        except (ValueError, OverflowError):
            log.warning("event=no_health why='the clock was not set'")
        self._disk_was_full = self._disk_full

    def _burn(self, said: Packet) -> Packet:
        """R9: burn a window's number and what its release costs, then name the record before."""
        dp, cost = self._declared.dp, None
        if dp is not None and said.scope != OBJECTIONS:
            start = datetime.fromtimestamp(said.window_s, UTC)
            day = self._declared.service.day_of(start)
            cost = Cost(day, dp.epsilon_milli, dp.day_budget_milli)
        length_s = 60 * self._declared.window_min
        outcome = self._ledger.burn(said.scope, said.window_s, length_s, cost)
        if outcome == "refused":
            return Packet(Kind.REFUSED, said.scope, said.window_s)
        kind = Kind.BURNT if outcome == "burnt" else Kind.SPENT
        newest = self._spool.newest(said.scope)
        return Packet(kind, said.scope, said.window_s, before=newest.digest if newest else "")

    def _keep(self, said: Packet) -> Packet:
        """Spool a record, unless it is not what it should be.

        1. The same bytes again, because our answer was lost, are kept once.
        2. It is a record of this device, and of the window that was burnt last.
        3. It names the record before it; so there is one record a window, whatever vision sends.
        """
        kept = Packet(Kind.SPOOLED, said.scope, said.window_s)
        name = codec.digest(said.sealed)
        newest = self._spool.newest(said.scope)
        # 1.
        if newest is not None and name == newest.digest:
            return kept
        try:
            record = codec.unseal(said.sealed).record
        except codec.WireError:
            record = None
        if (
            # 2.
            record is None
            or record.device != self._declared.device
            or record.scope != said.scope
            or int(record.window.timestamp()) != said.window_s
            or said.window_s != self._ledger.last(said.scope)
            # 3.
            or record.before != (newest.digest if newest else None)
            or (newest is not None and newest.window_s >= said.window_s)
        ):
            log.error("event=record_not_kept why='not a record of the window that was burnt last'")
            return Packet(Kind.REFUSED, said.scope, said.window_s)
        self._spool.add(record.scope, said.window_s, said.sealed)
        self._waiting[name] = said.sealed
        return kept

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
        if self._health is not None and self._broker.tell_health(self._health):
            self._health = None
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


def _open(folder: Path, declared: Declaration) -> tuple[Ledger, Spool]:
    """Open what the publisher owns on disk.

    Raises:
        PublisherError: something cannot be used.
    """
    try:
        if (folder / "spool.db").exists() and not (folder / "ledger.db").exists():
            raise PublisherError(
                f"{folder}: the spool is there and the ledger is not; without it the device could"
                " say a window twice: enrol it as a new device"
            )
        ledger = Ledger(folder / "ledger.db")
        if declared.signed:
            ledger.take_configuration(declared.number, declared.fingerprint())
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
    return ledger, spool
