"""What becomes of messages from devices, by whichever way they came; and what is answered.

`take` returns only after the database has committed, so whoever called it may then acknowledge.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy.exc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from aggregator import metrics
from aggregator.core.verdict import Accepted, Device, Reason, judge
from aggregator.store.database import Database, Incoming, News
from aggregator.store.engine import reason_of
from edge_agent.wire import codec, topics
from edge_agent.wire.messages import Health, Presence, Receipt
from edge_agent.wire.signature import EXPONENT, SIGNATURE_SIZE

log = logging.getLogger(__name__)

SAY_REFUSALS_S = 60.0
"""A flood is told in one line a reason and minute, not one a message."""
STOPS_EVERY_S = 2.0
REPEAT_STOPS_S = 30.0
MOST_KEYS = 65536
_DEVICE = re.compile(r"[a-z0-9-]{3,32}")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to or from a broker."""

    topic: str
    payload: bytes


class Verifier:
    """Checks records' signatures as `wire.signature` does, with OpenSSL; keys are parsed once."""

    def __init__(self) -> None:
        self._keys: dict[bytes, RSAPublicKey] = {}

    def __call__(self, modulus: bytes, signature: bytes, signed: bytes) -> bool:
        """Return whether a signature is the one of these bytes under a public key."""
        if len(modulus) != SIGNATURE_SIZE or len(signature) != SIGNATURE_SIZE:
            return False
        key = self._keys.get(modulus)
        try:
            if key is None:
                key = RSAPublicNumbers(EXPONENT, int.from_bytes(modulus)).public_key()
                if len(self._keys) >= MOST_KEYS:
                    self._keys.clear()
                self._keys[modulus] = key
            key.verify(signature, signed, PKCS1v15(), SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(slots=True)
class _Sorted:
    """A batch of messages, judged."""

    accepted: list[Incoming] = field(default_factory=list)
    refused: list[Reason] = field(default_factory=list)
    answers: list[Letter] = field(default_factory=list)
    presence: dict[str, Presence] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)


class Intake:
    """Judges, stores and answers; and says what must be stopped."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._is_valid = Verifier()
        self._blocked = False
        self._unsaid: Counter[str] = Counter()
        self._said_s = -SAY_REFUSALS_S
        self._looked_s = 0.0
        self._sent: dict[str, tuple[int, float]] = {}

    def take(self, letters: Sequence[Letter]) -> list[Letter]:
        """Store what messages say; return the answers to them.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: nothing was stored; give the same messages again.
        """
        now = self._now()
        names = {topics.device_of(letter.topic) or "" for letter in letters}
        # A name that is none is not even asked for: no engine has to make sense of it.
        known = self._database.registry.some(filter(_DEVICE.fullmatch, names))
        found = _Sorted()
        for letter in letters:
            if "/record/" in letter.topic:
                self._judge(letter, known, now, found)
            else:
                self._hear(letter, known, found)
        news = News(list(found.presence.values()), list(found.health.values()))
        now_s = int(now.timestamp())
        outcomes = self._database.store(found.accepted, found.refused, now_s, news)
        for incoming, outcome in zip(found.accepted, outcomes, strict=True):
            record = incoming.accepted.record
            if not outcome.stored:
                log.warning("event=quarantined device=%s", record.device)
            what = "stored" if outcome.fresh else "again" if outcome.stored else "set aside"
            metrics.RECORDS.labels(what).inc()
            receipt = Receipt(
                digest=incoming.accepted.digest, outcome="stored" if outcome.stored else "refused"
            )
            found.answers.append(_receipt(record.device, receipt))
        for reason in found.refused:
            metrics.REFUSED.labels(reason.value).inc()
        self._tell_refusals(found.refused)
        return found.answers

    def _judge(
        self, letter: Letter, known: dict[str, Device], now: datetime, found: _Sorted
    ) -> None:
        payload = letter.payload
        verdict = judge(payload, letter.topic, known.get, self._is_valid, now)
        if isinstance(verdict, Accepted):
            found.accepted.append(Incoming(verdict, payload))
            return
        found.refused.append(verdict)
        device = topics.device_of(letter.topic)
        if device is not None and len(payload) == codec.SEALED_SIZE:
            receipt = Receipt(digest=codec.digest(payload), outcome="refused")
            found.answers.append(_receipt(device, receipt))

    @staticmethod
    def _hear(letter: Letter, known: dict[str, Device], found: _Sorted) -> None:
        """Take in what a device says of itself; what is none, or another's, is left out."""
        said: Presence | Health
        try:
            if letter.topic.endswith("/health"):
                said = codec.decode_health(letter.payload)
            else:
                said = codec.decode_presence(letter.payload)
        except codec.WireError:
            found.refused.append(Reason.MALFORMED)
            return
        device = known.get(said.device)
        if letter.topic not in (topics.presence(said.device), topics.health(said.device)):
            found.refused.append(Reason.WRONG_TOPIC)
        elif device is None or device.revoked:
            unknown = device is None
            found.refused.append(Reason.UNKNOWN_DEVICE if unknown else Reason.REVOKED_DEVICE)
        elif isinstance(said, Presence):
            found.presence[said.device] = said
        else:
            found.health[said.device] = said

    def _tell_refusals(self, refused: Sequence[Reason]) -> None:
        self._unsaid.update(reason.value for reason in refused)
        if self._unsaid and time.monotonic() - self._said_s >= SAY_REFUSALS_S:
            self._said_s = time.monotonic()
            for reason, count in sorted(self._unsaid.items()):
                log.warning("event=refused reason=%r messages=%d", reason, count)
            self._unsaid.clear()

    def tell_database(self, error: sqlalchemy.exc.SQLAlchemyError | None) -> None:
        """Log, once, that the database refuses, or takes again, what comes."""
        metrics.DATABASE_UP.set(error is None)
        if error is None and self._blocked:
            log.info("event=database_back")
        elif error is not None and not self._blocked:
            log.error("event=database_refused why=%r; nothing is acknowledged", reason_of(error))
        self._blocked = error is not None

    def stops(self) -> list[Letter]:
        """Return the stop commands that are new, or not obeyed yet by somebody who is there."""
        now_s = time.monotonic()
        if now_s - self._looked_s < STOPS_EVERY_S:
            return []
        self._looked_s = now_s
        letters = []
        try:
            waiting = self._database.stops.waiting()
        except sqlalchemy.exc.SQLAlchemyError as error:
            self.tell_database(error)
            return []
        for target, (number, sealed) in waiting.items():
            sent = self._sent.get(target)
            if sent is None or sent[0] != number or now_s - sent[1] >= REPEAT_STOPS_S:
                self._sent[target] = (number, now_s)
                letters.append(Letter(topics.stop(target), sealed))
        self._sent = {target: sent for target, sent in self._sent.items() if target in waiting}
        return letters


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)  # noqa: TID251 - the clock comes in here


def _receipt(device: str, receipt: Receipt) -> Letter:
    return Letter(topics.receipt(device), codec.canonical(receipt))
