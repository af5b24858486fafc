"""How a new device becomes one of the fleet: a claim, a request, an answer; and how it stays one.

1. The city makes a *claim*: a secret for one device, good once and for some hours. A technician
   puts it on the card.
2. The device makes its keys, which never leave it, and sends a *request* that only somebody who
   holds the claim could have made. Online, or as a file on a stick.
3. The city answers with a certificate and the configuration that its operator signed.

Whoever holds a claim can enrol one device and learn its configuration, and nothing more. Nothing in
these messages says anything about people.
"""

import hashlib
import hmac
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from edge_agent.wire.messages import DeviceId, Message

CONTEXT = b"dizaine enrolment 1\n"
RENEWAL_CONTEXT = b"dizaine renewal 1\n"
SECRET_BYTES = 32

_BLOCK = r"-----BEGIN [A-Z ]{3,40}-----\n[A-Za-z0-9+/=\n]{1,12000}-----END [A-Z ]{3,40}-----\n"
Pem = Annotated[str, StringConstraints(pattern=rf"^({_BLOCK}){{1,4}}$", max_length=20_000)]
Hex = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){1,512}$")]
Address = Annotated[
    str,
    StringConstraints(
        pattern=r"^(https://[a-zA-Z0-9.:\[\]-]{1,200}|http://(127\.0\.0\.1|localhost)(:\d{1,5})?)/$"
    ),
]
"""The city's server; without TLS on this machine only."""
Packed = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=200_000)]
"""Bytes in base64."""


class Claim(Message):
    """What is put on a card, for one device.

    Attributes:
        url: where the city answers.
        authority: who signed that server's certificate, where it is not a public authority.
        operator: the public key of whoever signs configurations: the card is where trust begins.
        secret: base64url.
        until_s: when it ends, seconds since 1970 UTC.
    """

    v: Literal[1] = 1
    device: DeviceId
    url: Address
    authority: Pem | None
    operator: Pem
    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
    until_s: Annotated[int, Field(ge=0)]


class Enrolment(Message):
    """What a device asks with.

    Attributes:
        request: certificate request (PKCS #10) of the key it speaks to the broker with.
        record_key: public half of the key that signs records.
        proof: that whoever made this holds the claim's secret.
    """

    v: Literal[1] = 1
    device: DeviceId
    request: Pem
    record_key: Pem
    proof: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Renewal(Message):
    """What a device asks with before its certificate ends.

    Attributes:
        request: certificate request of a new key.
        certificate: the one that it has.
        signature: of the request, by that one's key.
    """

    v: Literal[1] = 1
    device: DeviceId
    request: Pem
    certificate: Pem
    signature: Hex


class Welcome(Message):
    """What the city answers.

    Attributes:
        certificate: the device's, and that of who signed it.
        authority: who signed the broker's certificate.
        commands: public key of stop commands, where there is one.
        configuration: agent.toml, base64; empty in the answer to a renewal.
        signature: of the configuration, by the operator.
    """

    v: Literal[1] = 1
    device: DeviceId
    certificate: Pem
    authority: Pem
    commands: Pem | None = None
    configuration: Packed = ""
    signature: Hex | None = None


def claim_key(secret: str) -> bytes:
    """Return the key that proves a claim; the city keeps this, and not the secret."""
    return hashlib.sha256(CONTEXT + secret.encode()).digest()


def proof(key: bytes, device: str, request: str, record_key: str) -> str:
    """Return the proof that a request is of whoever holds the claim."""
    said = CONTEXT + "\n".join((device, request, record_key)).encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()


def is_proven(key: bytes, asked: Enrolment) -> bool:
    """Return whether a request is of whoever holds the claim."""
    expected = proof(key, asked.device, asked.request, asked.record_key)
    return hmac.compare_digest(expected, asked.proof)
