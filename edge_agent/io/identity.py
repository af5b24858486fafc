"""What a device is known by: its keys, which are made here and never leave, and its certificate.

::

    FOLDER/signing-key       signs records; sealed
    FOLDER/tls -> tls-1      key and certificate of the broker's connection, changed together:
      client-key             sealed
      certificate.pem
    FOLDER/enrolled.json     where to ask for the next certificate

Sealed is what systemd-creds encrypts, with the TPM where there is one and this machine's own secret
else; without systemd, a file that its owner alone reads. docs/adr/0024-identity.md.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import NameOID

from edge_agent.io import tpm
from edge_agent.wire.signature import EXPONENT, MODULUS_BITS

SIGNING_KEY, CLIENT_KEY = "signing-key", "client-key"
CERTIFICATE = "certificate.pem"
_CREDS = "systemd-creds"


class IdentityError(RuntimeError):
    """Keys cannot be made or kept; the message is one line that says what to do."""


class PlainSeal:
    """Keeps secrets as files that their owner alone reads."""

    def seal(self, _name: str, secret: bytes, path: Path) -> None:
        """Write a secret."""
        write_whole(path, secret, 0o600)

    def unseal(self, _name: str, path: Path) -> bytes:
        """Read a secret."""
        return path.read_bytes()


class SystemdSeal:
    """Keeps secrets as systemd credentials: useless on another machine."""

    def seal(self, name: str, secret: bytes, path: Path) -> None:
        """Encrypt a secret; with the TPM too, if there is one that power cuts do not lock."""
        usable = not tpm.DEVICE.exists() or tpm.forgive_power_cuts(tpm.exchange)
        keys = "--with-key=auto" if usable else "--with-key=host"
        sealed = self._run(secret, "encrypt", keys, f"--name={name}", "-", "-")
        write_whole(path, sealed, 0o600)

    def unseal(self, name: str, path: Path) -> bytes:
        """Decrypt a secret."""
        return self._run(path.read_bytes(), "decrypt", f"--name={name}", "-", "-")

    @staticmethod
    def _run(data: bytes, *arguments: str) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - a program of the system, no shell
                [_CREDS, *arguments], input=data, capture_output=True, check=True, timeout=60
            )
        except FileNotFoundError:
            raise IdentityError(f"{_CREDS} is missing: leave --sealed away") from None
        except (subprocess.SubprocessError, OSError) as error:
            raise IdentityError(f"{_CREDS} {arguments[0]} failed: {error}") from None
        return done.stdout


Seal = PlainSeal | SystemdSeal


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that after a power cut it is there whole, or as it was before."""
    beside = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    make_durable(path.parent)


def make_durable(folder: Path) -> None:
    """Make sure that what was renamed in a folder stays so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Identity:
    """One folder, which root or the enrolling user alone may read."""

    def __init__(self, folder: Path, seal: Seal) -> None:
        self.folder = folder
        self._seal = seal

    def record_key(self) -> RSAPrivateKey:
        """Return the key that signs records; it is made once."""
        path = self.folder / SIGNING_KEY
        pem = self._kept(
            SIGNING_KEY, path, lambda: _pem(generate_private_key(EXPONENT, MODULUS_BITS))
        )
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, RSAPrivateKey):
            raise IdentityError(f"{path}: expected an RSA key; wipe this device and enrol it again")
        return key

    def next_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key of the certificate that is asked for next; the same until it comes."""
        folder = self.folder / f"tls-{self._number() + 1}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        make = lambda: _pem(ec.generate_private_key(ec.SECP256R1()))  # noqa: E731
        return curve(self._kept(CLIENT_KEY, folder / CLIENT_KEY, make), folder)

    def current_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key of the certificate in use.

        Raises:
            IdentityError: there is none.
        """
        folder = self.folder / "tls"
        try:
            return curve(self._seal.unseal(CLIENT_KEY, folder / CLIENT_KEY), folder)
        except OSError as error:
            raise IdentityError(f"{folder}: not enrolled yet ({error.strerror})") from None

    def certificate(self) -> x509.Certificate:
        """Return the certificate in use.

        Raises:
            IdentityError: there is none.
        """
        path = self.folder / "tls" / CERTIFICATE
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise IdentityError(f"{path}: not enrolled yet ({error})") from None

    def take(self, chain: str) -> None:
        """Put the certificate of the next key in use, both at one instant.

        Raises:
            IdentityError: it is not of that key.
        """
        key, number = self.next_key(), self._number() + 1
        certificate = x509.load_pem_x509_certificate(chain.encode())
        if certificate.public_key() != key.public_key():
            raise IdentityError(
                "expected a certificate of the key that was asked with, got another"
            )
        folder = self.folder / f"tls-{number}"
        write_whole(folder / CERTIFICATE, chain.encode(), 0o644)
        link = self.folder / ".tls.new"
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(folder.name)
        link.replace(self.folder / "tls")
        make_durable(self.folder)
        for old in range(1, number):
            _remove(self.folder / f"tls-{old}")

    def _number(self) -> int:
        link = self.folder / "tls"
        return int(link.readlink().name.removeprefix("tls-")) if link.is_symlink() else 0

    def _kept(self, name: str, path: Path, make: Callable[[], bytes]) -> bytes:
        try:
            return self._seal.unseal(name, path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise IdentityError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._seal.seal(name, secret := make(), path)
        except OSError as error:
            raise IdentityError(f"{path}: cannot be written ({error.strerror})") from None
        return secret


def open_identity(folder: Path, *, sealed: bool) -> Identity:
    """Return the identity in a folder, whose secrets systemd keeps, or plain files."""
    return Identity(folder, SystemdSeal() if sealed else PlainSeal())


def request_of(device: str, key: ec.EllipticCurvePrivateKey) -> str:
    """Return a certificate request: the name is the device's id, and the key is proven."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def sign_with(key: ec.EllipticCurvePrivateKey, said: bytes) -> str:
    """Return a key's word for some bytes, in hexadecimal."""
    return key.sign(said, ec.ECDSA(hashes.SHA256())).hex()


def public_pem(key: RSAPrivateKey) -> str:
    """Return a key's public half."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


def _pem(key: RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def curve(pem: bytes, folder: Path) -> ec.EllipticCurvePrivateKey:
    """Return a key of the broker's connection.

    Raises:
        IdentityError: the bytes are none.
    """
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(
            f"{folder}: expected a key on P-256; wipe this device and enrol it again"
        )
    return key


def _remove(folder: Path) -> None:
    for name in (CLIENT_KEY, CERTIFICATE):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
