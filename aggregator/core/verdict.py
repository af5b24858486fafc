"""Accept, refuse or set aside: what becomes of one message from a device.

This module does not store, answer or verify cryptography itself: what is known of the device, what
is stored already and the check of a signature come in as arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from edge_agent.wire import codec, topics
from edge_agent.wire.messages import Record

FUTURE_TOLERANCE = timedelta(minutes=2)
"""How far a device's clock may run ahead of ours."""


class Reason(StrEnum):
    """Why a message was refused."""

    OVERSIZE = "oversize"
    WRONG_VERSION = "wrong version"
    MALFORMED = "malformed"
    WRONG_TOPIC = "wrong topic"
    UNKNOWN_DEVICE = "unknown device"
    REVOKED_DEVICE = "revoked device"
    BAD_SIGNATURE = "bad signature"
    FUTURE_WINDOW = "future window"


@dataclass(frozen=True, slots=True)
class Device:
    """What the registry knows of a device; `public_key` is what `wire.signature` takes."""

    id: str
    public_key: bytes
    revoked: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that may be stored, if nothing is stored for its key yet."""

    record: Record
    digest: str


Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, signed bytes) to whether the signature is valid."""


def judge(  # noqa: PLR0911 - one return a reason
    payload: bytes,
    topic: str,
    registry: Callable[[str], Device | None],
    verify: Verify,
    now: datetime,
) -> Accepted | Reason:
    """Judge one message on a record topic.

    1. It has the one size there is, and says that it is of our version.
    2. It is a record, in its canonical encoding.
    3. It came on its own device's and scope's topic.
    4. The device is known and not revoked.
    5. The signature is that device's.
    6. Its window has ended.
    """
    # 1.
    if len(payload) > codec.SEALED_SIZE:
        return Reason.OVERSIZE
    if not payload.startswith(codec.MAGIC):
        return Reason.WRONG_VERSION if payload[:3] == codec.MAGIC[:3] else Reason.MALFORMED
    # 2.
    try:
        unsealed = codec.unseal(payload)
    except codec.WireError:
        return Reason.MALFORMED
    record = unsealed.record
    # 3.
    if topic != topics.record(record.device, record.scope):
        return Reason.WRONG_TOPIC
    # 4.
    device = registry(record.device)
    if device is None:
        return Reason.UNKNOWN_DEVICE
    if device.revoked:
        return Reason.REVOKED_DEVICE
    # 5.
    if not verify(device.public_key, unsealed.signature, unsealed.signed):
        return Reason.BAD_SIGNATURE
    # 6.
    if record.window + timedelta(minutes=record.window_min) > now + FUTURE_TOLERANCE:
        return Reason.FUTURE_WINDOW
    return Accepted(record, codec.digest(payload))
