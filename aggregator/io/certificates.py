"""Keys and certificates of the fleet's authority, as files."""

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from aggregator.config import ConfigError
from aggregator.io.files import OPEN, SECRET, write_new

ROOT_YEARS, FLEET_YEARS, SERVER_DAYS = 20, 5, 397
CLOCK_SKEW = timedelta(hours=1)
HINT = "make one with: dizaine-aggregator authority --out FOLDER"


def make_authority(folder: Path, name: str, now: datetime) -> None:
    """Make a root, which goes offline, and the fleet's key, which it signs.

    Raises:
        ConfigError: something is there already, or cannot be written.
    """
    root_key, fleet_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    begin = now - CLOCK_SKEW
    subjects = [_name(f"{name} {what}") for what in ("root", "fleet")]
    root = _authority_certificate(
        root_key, root_key, (subjects[0], subjects[0]), 1, begin, ROOT_YEARS
    )
    fleet = _authority_certificate(
        fleet_key, root_key, (subjects[1], subjects[0]), 0, begin, FLEET_YEARS
    )
    _write(folder, {
        "root.key": _secret(root_key), "root.pem": text(root),
        "fleet.key": _secret(fleet_key), "fleet.pem": text(fleet),
        "broker-ca.pem": text(root) + text(fleet),
    })  # fmt: skip


def make_server(folder: Path, host: str, out: Path, now: datetime) -> None:
    """Make a certificate for the broker, or for the city's server, signed by the root.

    Raises:
        ConfigError: the root's key is not there, or something cannot be written.
    """
    root_key, root = load(folder, "root")
    key = ec.generate_private_key(ec.SECP256R1())
    period = (now - CLOCK_SKEW, now + timedelta(days=SERVER_DAYS))
    made = (
        certificate(host, key.public_key(), x509.random_serial_number(), period, root)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    _write(out, {f"{host}.key": _secret(key), f"{host}.pem": text(made)})


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    period: tuple[datetime, datetime],
    issuer: x509.Certificate,
) -> x509.CertificateBuilder:
    """Return what every certificate of ours that is no authority's begins with."""
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_identifier(issuer), critical=False)
    )


def _identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Name the issuer's key: strict verifiers (RFC 5280) refuse a certificate without it."""
    extension = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)


def _authority_certificate(  # noqa: PLR0917 - each is needed once
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    names: tuple[x509.Name, x509.Name],
    path_length: int,
    begin: datetime,
    years: int,
) -> x509.Certificate:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(own, critical=False)
        .add_extension(issuer, critical=False)
        .sign(by, hashes.SHA256())
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    """Return what a key is for: an authority's for certificates, any other for what it says."""
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def text(made: x509.Certificate) -> str:
    """Return a certificate in PEM."""
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _secret(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}); choose another folder"
        ) from None
    write_new({
        folder / name: (content, SECRET if name.endswith(".key") else OPEN)
        for name, content in files.items()
    })  # fmt: skip


def load(folder: Path, name: str = "fleet") -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Read an authority's key and certificate.

    Raises:
        ConfigError: they cannot be used.
    """
    path = folder / f"{name}.key"
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"{path}: everybody may read this key; run: chmod o-rwx {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        found = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be used ({error.strerror}); {HINT}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: expected a key and a certificate in PEM; {HINT}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or found.public_key() != key.public_key():
        raise ConfigError(f"{path}: expected the key of {name}.pem, got another; {HINT}")
    return key, found
