"""A device becomes one of the fleet, online or by a stick, and renews its certificate.

Each step may be cut off and done again: keys are made once, the same request gets the same answer,
and nothing is in force before it is whole.
"""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from edge_agent import config
from edge_agent.admission import OPERATOR_KEY
from edge_agent.io import keys
from edge_agent.io.identity import (
    CERTIFICATE,
    CLIENT_KEY,
    Identity,
    IdentityError,
    curve,
    public_pem,
    request_of,
    sign_with,
    write_whole,
)
from edge_agent.wire.enrolment import (
    RENEWAL_CONTEXT,
    Claim,
    Enrolment,
    Renewal,
    Welcome,
    claim_key,
    proof,
)
from edge_agent.wire.installation import CONTEXT, Outcome, Proposal, Signed
from edge_agent.wire.messages import Message

ANSWER_WITHIN_S = 30.0
LARGEST_ANSWER = 1_000_000
RENEW_AT = 1 / 3
"""A certificate is renewed once so little of its life is left."""
_ENROLLED = "enrolled.json"
M = TypeVar("M", bound=Message)


class EnrolmentError(RuntimeError):
    """The device is not enrolled; the message is one line that says what to do."""


def read_claim(path: Path, now: datetime) -> Claim:
    """Read a claim from a card.

    Raises:
        EnrolmentError: it is none, or it has ended.
    """
    claim = read(path, Claim)
    if now.timestamp() > claim.until_s:
        ended = datetime.fromtimestamp(claim.until_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        raise EnrolmentError(f"{path}: this claim ended {ended}; ask the city for another")
    return claim


def read(path: Path, kind: type[M]) -> M:
    """Read a message from a file.

    Raises:
        EnrolmentError: it is none.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EnrolmentError(
            f"{path}: cannot be read ({error.strerror}); give a {kind.__name__.lower()} file"
        ) from None
    except ValidationError as error:
        what = error.errors(include_url=False)[0]
        where = ".".join(map(str, what["loc"])) or "file"
        raise EnrolmentError(
            f"{path}: expected a {kind.__name__.lower()} file; {where}: {what['msg']}"
        ) from None


def request(claim: Claim, identity: Identity) -> Enrolment:
    """Return what this device asks with; its keys are made now, if they are not there yet."""
    asked = request_of(claim.device, identity.next_key())
    record_key = public_pem(identity.record_key())
    key = claim_key(claim.secret)
    return Enrolment(
        device=claim.device, request=asked, record_key=record_key,
        proof=proof(key, claim.device, asked, record_key),
    )  # fmt: skip


def accept(claim: Claim, welcome: Welcome, identity: Identity, folder: Path) -> None:
    """Put an answer in force: the configuration first, then the certificate.

    1. The configuration is for this device, and signed by the operator whom the claim names.
    2. Its files are written, each whole.
    3. The certificate is put in use: from now on the device is enrolled.

    Raises:
        EnrolmentError: it is for another device, or its configuration is not the operator's.
        IdentityError: its certificate is not of our key.
        ConfigError: the configuration cannot be used.
    """
    # 1.
    if welcome.device != claim.device:
        raise EnrolmentError(f"expected an answer for {claim.device}, got one for {welcome.device}")
    content = base64.b64decode(welcome.configuration)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    operator = folder / OPERATOR_KEY
    write_whole(operator, claim.operator.encode(), 0o644)
    signature = bytes.fromhex(welcome.signature or "")
    if not keys.is_signed(operator, signature, content):
        raise EnrolmentError(
            "the configuration in the answer is not signed by the operator whom the claim names;"
            " ask the city for another claim"
        )
    loaded = config.parse(content, "the configuration in the answer", signed=True)
    if loaded.declared.device != claim.device:
        raise EnrolmentError(f"expected a configuration of {claim.device}, got another device's")
    # 2.
    write_whole(folder / "ca.pem", welcome.authority.encode(), 0o644)
    if welcome.commands:
        write_whole(folder / "commands.pub.pem", welcome.commands.encode(), 0o644)
    write_whole(folder / "agent.toml.sig", signature.hex().encode() + b"\n", 0o644)
    write_whole(folder / "agent.toml", content, 0o644)
    # 3.
    kept = {"device": claim.device, "url": claim.url, "authority": claim.authority}
    write_whole(identity.folder / _ENROLLED, json.dumps(kept).encode(), 0o644)
    identity.take(welcome.certificate)


def is_enrolled(identity: Identity, device: str) -> bool:
    """Return whether this device is enrolled already, under this name."""
    try:
        name = identity.certificate().subject.rfc4514_string()
    except IdentityError:
        return False
    return name == f"CN={device}"


def enrol(claim: Claim, identity: Identity, folder: Path) -> None:
    """Ask the city, and put its answer in force, unless that is done.

    Raises:
        EnrolmentError: it does not answer, or says no.
        IdentityError, ConfigError: as `accept`.
    """
    if is_enrolled(identity, claim.device):
        return
    answer = _ask(claim.url + "enrol", request(claim, identity), claim.authority, Welcome)
    accept(claim, answer, identity, folder)


def is_due(identity: Identity, now: datetime) -> bool:
    """Return whether the certificate in use should be renewed.

    Raises:
        IdentityError: there is none.
    """
    certificate = identity.certificate()
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - now < RENEW_AT * (end - begin)


def renew(identity: Identity) -> None:
    """Get a certificate for a new key, on the word of the old one.

    Raises:
        EnrolmentError: the city does not answer, or says no.
        IdentityError: this device is not enrolled.
    """
    held = credentials_of(identity)
    asked = request_of(held.device, identity.next_key())
    renewal = Renewal(
        device=held.device, request=asked, certificate=held.certificate,
        signature=sign_with(held.key, RENEWAL_CONTEXT + asked.encode()),
    )  # fmt: skip
    answer = _ask(held.url + "renew", renewal, held.authority, Welcome)
    identity.take(answer.certificate)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an enrolled device speaks to the city with.

    Attributes:
        url: where the city answers.
        authority: who signed that server's certificate, where it is not a public authority.
        certificate: the device's own.
        key: of that certificate.
    """

    device: str
    url: str
    authority: str | None
    certificate: str
    key: ec.EllipticCurvePrivateKey


def credentials_of(identity: Identity) -> Credentials:
    """Return an enrolled device's credentials.

    Raises:
        IdentityError: it is not enrolled.
    """
    folder = identity.folder
    return _credentials(folder / _ENROLLED, folder / "tls" / CERTIFICATE, identity.current_key)


def credentials_in(folder: Path) -> Credentials:
    """Return them from a folder that the service manager has opened for this process alone.

    Raises:
        IdentityError: they are not there.
    """
    return _credentials(
        folder / "enrolled", folder / "certificate",
        lambda: curve((folder / CLIENT_KEY).read_bytes(), folder),
    )  # fmt: skip


def _credentials(
    enrolled: Path, certificate: Path, key: Callable[[], ec.EllipticCurvePrivateKey]
) -> Credentials:
    try:
        return Credentials(
            **json.loads(enrolled.read_bytes()), certificate=certificate.read_text(), key=key()
        )
    except (OSError, ValueError, TypeError) as error:
        raise IdentityError(f"{enrolled.parent}: not enrolled yet ({error})") from None


def propose(held: Credentials, proposal: Proposal) -> None:
    """Send a proposal of an installation to the city, on the word of this device's certificate.

    Raises:
        EnrolmentError: the city does not answer, or says no.
    """
    body = proposal.model_dump_json().encode()
    signed = Signed(
        body=base64.b64encode(body).decode(), certificate=held.certificate,
        signature=sign_with(held.key, CONTEXT + body),
    )  # fmt: skip
    _ask(held.url + "installation", signed, held.authority, Outcome)


def _ask(url: str, message: Message, authority: str | None, kind: type[M]) -> M:
    """Send a message and return the answer.

    Raises:
        EnrolmentError: there is none, or it is a no.
    """
    asked = urllib.request.Request(  # noqa: S310 - https, or this machine: the claim's pattern
        url, message.model_dump_json().encode(), {"Content-Type": "application/json"}
    )
    trust = ssl.create_default_context(cadata=authority)
    try:
        with urllib.request.urlopen(asked, timeout=ANSWER_WITHIN_S, context=trust) as answer:  # noqa: S310
            return kind.model_validate_json(answer.read(LARGEST_ANSWER))
    except urllib.error.HTTPError as error:
        try:
            said = json.loads(error.read(LARGEST_ANSWER))["problem"]
        except (ValueError, KeyError, TypeError):
            said = f"status {error.code}"
        raise EnrolmentError(f"{url}: {said}") from None
    except ValidationError:
        raise EnrolmentError(
            f"{url}: expected an answer of Dizaine's; is the address right?"
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise EnrolmentError(
            f"{url}: no answer ({reason}); enrol by a stick, or try again"
        ) from None
