"""Messages to bytes and back; the exact bytes that are signed.

This module does not sign, verify, send or keep anything: a caller passes a signing function in.

A sealed record always has the same size (release rule R1), and can be read by eye::

    0        4                  388                                    1024
    | "DZN1" | RSA-3072 (384 B) | {"before":"…","build":"…",…} + spaces |
    | magic  | signature        | body, 636 B: canonical JSON, padded   |

The signature is over ``SIGNING_CONTEXT + body``, padding included, and it is the only one that is
valid for them (`signature`): a record has no bit that its reader cannot account for.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from edge_agent.wire.messages import Health, Message, Presence, Receipt, Record, Stop
from edge_agent.wire.signature import SIGNATURE_SIZE

MAGIC = b"DZN1"
BODY_SIZE = 636
SEALED_SIZE = len(MAGIC) + SIGNATURE_SIZE + BODY_SIZE
SMALL_MESSAGE_LIMIT = 512
"""Largest receipt or presence message that is looked at, in bytes."""
SIGNING_CONTEXT = b"dizaine record 1\n"
"""Keeps a signature of a record from being valid for anything else that the key signs."""


COMMAND_MAGIC = b"DZC1"
COMMAND_SIGNATURE_SIZE = 64
COMMAND_BODY_SIZE = 256
COMMAND_SIZE = len(COMMAND_MAGIC) + COMMAND_SIGNATURE_SIZE + COMMAND_BODY_SIZE
COMMAND_CONTEXT = b"dizaine command 1\n"
HEALTH_SIZE = 320
"""A health message is padded to this, so that its size says nothing."""

M = TypeVar("M", bound=Message)


class WireError(ValueError):
    """The bytes are not a message of this contract."""


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A sealed record taken apart; nothing is verified yet.

    Attributes:
        record: what the body says.
        signature: 384 bytes.
        signed: the bytes that the signature must be valid for.
    """

    record: Record
    signature: bytes
    signed: bytes


def canonical(message: Message) -> bytes:
    """Return the one JSON encoding of a message: sorted keys, no spaces, ASCII."""
    fields = message.model_dump(mode="json")
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def seal(record: Record, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the record as `SEALED_SIZE` bytes, signed.

    Raises:
        WireError: the body is longer than `BODY_SIZE`, or the signature has another size.
    """
    body = canonical(record)
    if len(body) > BODY_SIZE:
        raise WireError(f"expected a body of at most {BODY_SIZE} bytes, got {len(body)}")
    body = body.ljust(BODY_SIZE)
    signature = sign(SIGNING_CONTEXT + body)
    if len(signature) != SIGNATURE_SIZE:
        raise WireError(f"expected a signature of {SIGNATURE_SIZE} bytes, got {len(signature)}")
    return MAGIC + signature + body


def unseal(sealed: bytes) -> Unsealed:
    """Take a sealed record apart without verifying its signature.

    1. Size and magic.
    2. The body is a record.
    3. The body is the canonical encoding of that record: one record, one body.

    Raises:
        WireError: with the first of these that does not hold.
    """
    # 1.
    if len(sealed) != SEALED_SIZE:
        raise WireError(f"expected {SEALED_SIZE} bytes, got {len(sealed)}")
    if not sealed.startswith(MAGIC):
        raise WireError(f"expected a message that starts with {MAGIC!r} (wire version 1)")
    body = sealed[len(MAGIC) + SIGNATURE_SIZE :]
    # 2.
    record = _decode(Record, body)
    # 3.
    if canonical(record).ljust(BODY_SIZE) != body:
        raise WireError("expected the canonical encoding of the record, got another one")
    return Unsealed(
        record, sealed[len(MAGIC) : len(MAGIC) + SIGNATURE_SIZE], SIGNING_CONTEXT + body
    )


def digest(sealed: bytes) -> str:
    """Return the name of a sealed record: the SHA-256 of its bytes, in hexadecimal."""
    return hashlib.sha256(sealed).hexdigest()


def decode_receipt(payload: bytes) -> Receipt:
    """Return the receipt in a payload.

    Raises:
        WireError: it is none.
    """
    return _decode(Receipt, _small(payload))


def decode_presence(payload: bytes) -> Presence:
    """Return the presence message in a payload.

    Raises:
        WireError: it is none.
    """
    return _decode(Presence, _small(payload))


def encode_health(health: Health) -> bytes:
    """Return a health message, padded to its one size.

    Raises:
        WireError: it is longer.
    """
    body = canonical(health)
    if len(body) > HEALTH_SIZE:
        raise WireError(f"expected a health message of at most {HEALTH_SIZE} bytes")
    return body.ljust(HEALTH_SIZE)


def decode_health(payload: bytes) -> Health:
    """Return the health message in a payload.

    Raises:
        WireError: it is none.
    """
    return _decode(Health, _small(payload))


def seal_stop(stop: Stop, sign: Callable[[bytes], bytes]) -> bytes:
    """Return a stop command as `COMMAND_SIZE` bytes, signed with the city's command key (Ed25519).

    Raises:
        WireError: the signature has another size.
    """
    body = canonical(stop).ljust(COMMAND_BODY_SIZE)
    signature = sign(COMMAND_CONTEXT + body)
    if len(signature) != COMMAND_SIGNATURE_SIZE or len(body) != COMMAND_BODY_SIZE:
        raise WireError("expected an Ed25519 signature and a body that fits")
    return COMMAND_MAGIC + signature + body


def unseal_stop(sealed: bytes, is_signed: Callable[[bytes, bytes], bool]) -> Stop:
    """Return the stop command in bytes.

    Args:
        sealed: the message.
        is_signed: (signature, signed bytes) to whether the city's command key signed them.

    Raises:
        WireError: it is none, or nobody signed it who may.
    """
    if len(sealed) != COMMAND_SIZE or not sealed.startswith(COMMAND_MAGIC):
        raise WireError(f"expected {COMMAND_SIZE} bytes that start with {COMMAND_MAGIC!r}")
    start = len(COMMAND_MAGIC) + COMMAND_SIGNATURE_SIZE
    signature, body = sealed[len(COMMAND_MAGIC) : start], sealed[start:]
    if not is_signed(signature, COMMAND_CONTEXT + body):
        raise WireError("expected a signature of the city's command key")
    return _decode(Stop, body)


def _small(payload: bytes) -> bytes:
    if len(payload) > SMALL_MESSAGE_LIMIT:
        raise WireError(f"expected at most {SMALL_MESSAGE_LIMIT} bytes, got {len(payload)}")
    return payload


def _decode(model: type[M], payload: bytes) -> M:
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise WireError(f"{model.__name__}: {where}: {first['msg']}") from None
