"""Vision's end of the socket: burns, seals and hands records over, in a thread of its own.

Counting goes on while the publisher is away: drafts wait here in memory, unsealed, in order. The
publisher calls; vision only ever answers a call, and can open no connection itself.
"""

import logging
import math
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable

from edge_agent.core.release import Draft
from edge_agent.io import packets
from edge_agent.io.packets import PACKET_SIZE, Kind, Packet, PacketError, unpack
from edge_agent.io.stops import Stops
from edge_agent.wire import codec

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 10.0
RETRY_S = 0.5
MOST_WAITING = 4096
ASK_STOPS_S = 1.0


class Outlet:
    """Where records leave vision."""

    def __init__(
        self,
        listener: socket.socket,
        sign: Callable[[bytes], bytes],
        stops: Stops,
        *,
        by_group: bool = False,
    ) -> None:
        """Take calls from this user, or, `by_group`, from its group."""
        self._by_group = by_group
        self._listener = listener
        self._listener.settimeout(RETRY_S)
        self._sign = sign
        self._stops = stops
        self._asked_s = -math.inf
        self._obeyed: dict[str, int] = {}
        self._health: Packet | None = None
        self.changed = threading.Event()
        """Set once something has been stopped or lifted since `obey`."""
        self._link: socket.socket | None = None
        self._waiting: queue.Queue[tuple[float, Draft] | None] = queue.Queue(MOST_WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="outlet", daemon=True)

    def last_burnt_s(self, scope: str) -> int | None:
        """Ask the publisher which window of a scope was burnt last; waits until it answers.

        Only before `start`.
        """
        answer = self._exchange(Packet(Kind.ASK, scope))
        return None if answer is None or answer.window_s < 0 else answer.window_s

    def ask_stops(self) -> None:
        """Ask the publisher what is stopped; waits until it answers. Only before `start`."""
        self._ask_stops()

    def obey(self) -> None:
        """Note that all commands known by now are obeyed, and let the publisher know."""
        self.changed.clear()
        self._obeyed = {target: self._stops.number(target) for target in self._stops.targets}
        self._asked_s = -math.inf

    def tell_health(self, day: int, *, latency: bool, kept_up: bool) -> None:
        """Hand over a day's two flags; `day` is an ordinal."""
        flags = ("l" if latency else "") + ("k" if kept_up else "")
        self._health = Packet(Kind.HEALTH, flags, day)

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def say(self, draft: Draft, not_before_s: float) -> None:
        """Queue a draft; it is burnt once the monotonic clock has reached `not_before_s` (R1)."""
        self._waiting.put((not_before_s, draft))

    def finish(self, within_s: float) -> None:
        """Hand over what waits, for so long at most, then stop."""
        self._waiting.put(None)
        self._thread.join(within_s)
        self._stop.set()
        self._hang_up()
        self._listener.close()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._tend()
            try:
                item = self._waiting.get(timeout=ASK_STOPS_S)
            except queue.Empty:
                continue
            if item is None:
                self._tend()
                return
            not_before_s, draft = item
            while (left_s := not_before_s - time.monotonic()) > 0:
                if self._stop.wait(min(left_s, ASK_STOPS_S)):
                    return
                self._tend()
            self._hand_over(draft)

    def _tend(self) -> None:
        """Do what is due besides records."""
        if self._health is not None:
            self._exchange(self._health)
            self._health = None
        if time.monotonic() - self._asked_s >= ASK_STOPS_S:
            self._ask_stops()

    def _ask_stops(self) -> None:
        self._asked_s = time.monotonic()
        for target in self._stops.targets:
            answer = self._exchange(Packet(Kind.STOPS, target, self._obeyed.get(target, 0)))
            if answer is not None and answer.kind is Kind.STOP and answer.sealed:
                before = self._stops.number(target)
                if self._stops.take(target, answer.sealed):
                    self.changed.set()
                elif self._stops.number(target) != before and not self.changed.is_set():
                    # It says the same as the one before: there is nothing to do for it.
                    self._obeyed[target] = self._stops.number(target)

    def _hand_over(self, draft: Draft) -> None:
        """Say one record.

        1. R9: burn the window's number; one that is burnt already says nothing.
        2. Only now draw noise, where there is any, and seal.
        3. Hand over until it is spooled; a second copy of the same bytes is kept once.
        """
        # 1.
        answer = self._exchange(Packet(Kind.BURN, draft.scope, draft.window_s))
        if answer is None or answer.kind not in (Kind.BURNT, Kind.SPENT):
            log.warning("event=window_already_burnt window_s=%d", draft.window_s)
            return
        # 2.
        record = draft.record(
            secrets.randbelow, answer.before or None, within_budget=answer.kind is Kind.BURNT
        )
        sealed = codec.seal(record, self._sign)
        # 3.
        self._exchange(Packet(Kind.RECORD, draft.scope, draft.window_s, sealed=sealed))

    def _exchange(self, packet: Packet) -> Packet | None:
        """Send a packet and return its answer; again and again until there is one, or we stop.

        A BURN whose answer was lost may have been burnt: sent again it is refused, and the window
        stays unsaid, which is the safe side.
        """
        while not self._stop.is_set():
            try:
                link = self._connected()
                link.send(packet.pack())
                data = link.recv(PACKET_SIZE + 1)
                if data:
                    answer = unpack(data)
                    if answer.kind is not Kind.LATER:
                        return answer
                else:
                    self._hang_up()
            except TimeoutError:
                self._hang_up()
                continue
            except (OSError, PacketError):
                self._hang_up()
            self._stop.wait(RETRY_S)
        return None

    def _connected(self) -> socket.socket:
        """Return the publisher's call, waiting for one `RETRY_S` at most."""
        if self._link is None:
            link, _ = self._listener.accept()
            if not packets.is_ours(link, group=self._by_group):
                log.warning("event=stranger_refused")
                link.close()
                raise OSError("expected the publisher, got somebody else")
            link.settimeout(ANSWER_WITHIN_S)
            self._link = link
        return self._link

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
