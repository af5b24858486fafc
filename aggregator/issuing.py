"""The fleet's authority: claims, certificates, and the list of what is revoked.

The root key signs the fleet's key once and is then kept offline; the fleet's key, on this server,
signs devices. A device's certificate says its id and nothing else; what it may do at the broker
follows from that name (docs/city.md).
"""

import base64
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aggregator.commands import load_key
from aggregator.config import AggregatorConfig, ConfigError
from aggregator.core.verdict import Device
from aggregator.io import certificates
from aggregator.store.database import Database
from aggregator.store.fleet import Given
from aggregator.store.registry import Place
from aggregator.store.trail import SERVER
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.enrolment import (
    RENEWAL_CONTEXT,
    SECRET_BYTES,
    Claim,
    Enrolment,
    Renewal,
    Welcome,
    claim_key,
    is_proven,
)
from edge_agent.wire.installation import CONTEXT as INSTALLATION_CONTEXT
from edge_agent.wire.installation import Signed as SignedProposal
from edge_agent.wire.signature import (
    CONFIGURATION_CONTEXT,
    EXPONENT,
    MODULUS_BITS,
    SIGNATURE_SIZE,
)

REVOKED_LIST_DAYS = 30
MOST_HOURS = 24 * 30


class IssuingError(RuntimeError):
    """A device does not get what it asks for; the message says why."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A configuration as its operator signed it, and what it declares."""

    content: bytes
    signature: bytes
    operator: str
    declared: Declaration


class Issuer:
    """Whoever holds the fleet's key."""

    def __init__(self, config: AggregatorConfig, database: Database) -> None:
        """Read the fleet's key.

        Raises:
            ConfigError: there is none, or it cannot be used.
        """
        if config.fleet is None:
            raise ConfigError(
                f"fleet.folder: expected the folder of the fleet's authority; {certificates.HINT}"
            )
        self._settings = config.fleet
        self._database = database
        self._key, self._certificate = certificates.load(config.fleet.folder)
        self._commands = (
            _public(load_key(config.commands.key_file).public_key()) if config.commands else None
        )
        self._address = config.web.address or f"http://127.0.0.1:{config.web.port}/"

    def make_claim(
        self,
        place: Place,
        signed: Signed,
        now: datetime,
        *,
        hours: int,
        authority: str | None,
        by: str,
    ) -> Claim:
        """Make a claim for a device that is not there yet.

        Args:
            place: where it will be.
            signed: its configuration.
            now: when.
            hours: how long the claim is good.
            authority: who signed this server's certificate, where it is not a public authority.
            by: who made the claim.

        Raises:
            IssuingError: there is such a device, or its configuration is not its operator's.
        """
        device = signed.declared.device
        _demand_signed(signed)
        if self._database.registry.device(device) is not None:
            raise IssuingError(f"{device}: there is such a device already; choose another id")
        secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
        until_s = int((now + timedelta(hours=hours)).timestamp())
        row = {
            "device": device, "key": claim_key(secret), "place": json.dumps(asdict(place)),
            "declaration": signed.declared.canonical().decode(), "until_s": until_s,
            "configuration": base64.b64encode(signed.content).decode(),
            "signature": signed.signature.hex(),
        }  # fmt: skip
        with self._database.engine.begin() as connection:
            self._database.fleet.add_claim(connection, row)
            self._database.trail.note(
                connection, int(now.timestamp()), by, "claim-made", device=device, until_s=until_s
            )
        return Claim(
            device=device, url=self._address, authority=authority, operator=signed.operator,
            secret=secret, until_s=until_s,
        )  # fmt: skip

    def enrol(self, asked: Enrolment, by: str, now: datetime) -> Welcome:
        """Answer a request: the device is registered, and its claim is used up.

        A request for the same keys again gets the same answer: the first may have been lost.

        Raises:
            IssuingError: its claim is not known, has ended or was used; or a key is not as it
                should be.
        """
        request = _request(asked.device, asked.request)
        digest = hashlib.sha256(
            request.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            + asked.record_key.encode()
        ).hexdigest()
        now_s = int(now.timestamp())
        with self._database.engine.begin() as connection:
            claims = self._database.fleet.claims(connection, asked.device)
            claim = next((c for c in claims if is_proven(bytes(c.key), asked)), None)
            if claim is not None and claim.asked == digest:
                return Welcome.model_validate_json(claim.answer)
            if claim is None or claim.answer:
                raise IssuingError(
                    f"{asked.device}: no such claim, or it was used before; make another"
                )
            if now_s > claim.until_s:
                raise IssuingError(f"{asked.device}: this claim has ended; make another")
            device = Device(asked.device, _modulus(asked.record_key), revoked=False)
            certificate = self._certify(connection, asked.device, request, now)
            place = json.loads(claim.place)
            place["tags"] = tuple(place["tags"])
            if not self._database.registry.add_within(connection, device, Place(**place), now_s):
                raise IssuingError(f"{asked.device}: there is such a device already")
            declared = Declaration.model_validate_json(claim.declaration)
            self._database.registry.declare_within(connection, declared, now_s)
            answer = Welcome(
                device=asked.device, certificate=certificate, authority=self._authority(),
                commands=self._commands, configuration=claim.configuration,
                signature=claim.signature,
            )  # fmt: skip
            said = answer.model_dump_json()
            self._database.fleet.answer(connection, claim.id, digest, said)
            self._database.trail.note(connection, now_s, by, "device-enrolled", device=asked.device)
        return answer

    def renew(self, asked: Renewal, now: datetime) -> Welcome:
        """Give a device that has a certificate another one, for another key.

        Raises:
            IssuingError: its certificate is not ours, is revoked or has ended; or the request is
                not signed with it.
        """
        said = RENEWAL_CONTEXT + asked.request.encode()
        current = self._vouching(asked.certificate, asked.signature, said)
        request = _request(asked.device, asked.request)
        with self._database.engine.begin() as connection:
            self._demand_ours(connection, current, asked.device, now)
            certificate = self._certify(connection, asked.device, request, now)
            self._database.trail.note(
                connection, int(now.timestamp()), SERVER, "certificate-renewed", device=asked.device
            )
        return Welcome(device=asked.device, certificate=certificate, authority=self._authority())

    def believed(self, said: SignedProposal, now: datetime) -> bytes:
        """Return what a device of this fleet says on the word of its certificate.

        Raises:
            IssuingError: it is not of this fleet, revoked, or not signed with it.
        """
        body = base64.b64decode(said.body)
        current = self._vouching(said.certificate, said.signature, INSTALLATION_CONTEXT + body)
        device = current.subject.rfc4514_string().removeprefix("CN=")
        with self._database.engine.connect() as connection:
            self._demand_ours(connection, current, device, now)
        if json.loads(body).get("device") != device:
            raise IssuingError(f"{device}: expected a message of its own, got another's")
        return body

    def _demand_ours(
        self, connection: sa.Connection, current: x509.Certificate, device: str, now: datetime
    ) -> None:
        serial = format(current.serial_number, "x")
        known = self._database.registry.device(device)
        ours = self._database.fleet.knows(connection, serial, device)
        if not ours or known is None or known.revoked:
            raise IssuingError(f"{device}: this certificate is revoked, or not of this fleet")
        if current.not_valid_after_utc < now:
            raise IssuingError(f"{device}: its certificate has ended; enrol it again")

    def _vouching(self, chain: str, signature: str, said: bytes) -> x509.Certificate:
        """Return the certificate that bytes are signed with; it is of our own making."""
        try:
            current = x509.load_pem_x509_certificates(chain.encode())[0]
            current.verify_directly_issued_by(self._certificate)
            key: Any = current.public_key()  # of ours, all are on P-256
            key.verify(bytes.fromhex(signature), said, ec.ECDSA(hashes.SHA256()))
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise IssuingError("expected a message signed with this fleet's certificate") from None
        return current

    def revoked_list(self, now: datetime) -> bytes:
        """Return the list of revoked certificates that a broker reads, in PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - certificates.CLOCK_SKEW)
            .next_update(now + timedelta(days=REVOKED_LIST_DAYS))
        )
        for serial, at_s in self._database.fleet.revoked(int(now.timestamp())):
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
            at = datetime.fromtimestamp(at_s, UTC)
            builder = builder.add_revoked_certificate(entry.revocation_date(at).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def write_revoked_list(self, path: Path | None, now: datetime) -> Path:
        """Write that list where it is configured, or elsewhere; return where.

        Raises:
            ConfigError: nowhere, or the file cannot be written.
        """
        target = path or self._settings.revoked
        if target is None:
            raise ConfigError("fleet.revoked: expected a file for the broker's list, or --out")
        beside = target.with_name(f".{target.name}.new")
        try:
            beside.write_bytes(self.revoked_list(now))
            beside.replace(target)
        except OSError as error:
            raise ConfigError(f"{target}: cannot be written ({error.strerror})") from None
        return target

    def _certify(
        self,
        connection: sa.Connection,
        device: str,
        request: x509.CertificateSigningRequest,
        now: datetime,
    ) -> str:
        key: Any = request.public_key()
        serial = x509.random_serial_number()
        until = now + timedelta(days=self._settings.certificate_days)
        until = min(until, self._certificate.not_valid_after_utc)
        period = (now - certificates.CLOCK_SKEW, until)
        issuer = self._certificate
        made = certificates.certificate(device, key, serial, period, issuer)
        made = made.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True
        )
        given = Given(format(serial, "x"), device, int(until.timestamp()))
        self._database.fleet.give(connection, given)
        return certificates.text(made.sign(self._key, hashes.SHA256())) + certificates.text(
            self._certificate
        )

    def _authority(self) -> str:
        return (self._settings.folder / "root.pem").read_text()


def _public(key: Ed25519PublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def _request(device: str, pem: str) -> x509.CertificateSigningRequest:
    """Return a device's request for a certificate, after a look whether it is one we sign."""
    try:
        asked = x509.load_pem_x509_csr(pem.encode())
        names = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = asked.public_key()
        fine = (
            asked.is_signature_valid
            and [name.value for name in names] == [device]
            and isinstance(key, ec.EllipticCurvePublicKey)
            and key.curve.name == "secp256r1"
        )
    except (ValueError, UnsupportedAlgorithm):
        fine = False
    if not fine:
        raise IssuingError(f"{device}: expected a certificate request of a P-256 key, for it")
    return asked


def _modulus(pem: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey) or key.key_size != MODULUS_BITS:
        raise IssuingError(f"expected a record key of RSA with {MODULUS_BITS} bits")
    numbers = key.public_numbers()
    if numbers.e != EXPONENT:
        raise IssuingError(f"expected a record key with the exponent {EXPONENT}")
    return numbers.n.to_bytes(SIGNATURE_SIZE)


def _demand_signed(signed: Signed) -> None:
    try:
        key: Any = serialization.load_pem_public_key(signed.operator.encode())
        key.verify(signed.signature, CONFIGURATION_CONTEXT + signed.content)
    except (ValueError, TypeError, AttributeError, InvalidSignature, UnsupportedAlgorithm):
        raise IssuingError(
            f"{signed.declared.device}: the configuration's signature is not by this operator;"
            " sign it again with: dizaine-agent sign"
        ) from None
