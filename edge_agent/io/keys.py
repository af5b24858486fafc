"""Two kinds of key: the device's own signs records, the operator's signs configurations.

Of the operator's, a device has the public half alone.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

from edge_agent.wire.signature import (
    CONFIGURATION_CONTEXT,
    EXPONENT,
    MODULUS_BITS,
    SIGNATURE_SIZE,
)

Kind = Literal["device", "operator"]


class KeyFileError(RuntimeError):
    """The key cannot be used; the message is one line that says what to do."""


class DeviceKey:
    """The key that signs records: RSA-3072, whose signatures are unique (`wire.signature`)."""

    def __init__(self, private: RSAPrivateKey) -> None:
        self._private = private

    def sign(self, data: bytes) -> bytes:
        """Return the one signature of the data."""
        return self._private.sign(data, PKCS1v15(), SHA256())

    @property
    def modulus(self) -> bytes:
        """The public key: 384 bytes, big endian."""
        return modulus(self._private.public_key())


def make(path: Path, kind: Kind) -> Path:
    """Make a key, readable by its owner alone, and its public half beside it; return the latter.

    Raises:
        KeyFileError: a file is there already, or cannot be written.
    """
    key = generate_private_key(EXPONENT, MODULUS_BITS) if kind == "device" else None
    pair = key or Ed25519PrivateKey.generate()
    secret = pair.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = pair.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_suffix(".pub.pem")
    with ExitStack() as made:
        for target, content, mode in ((path, secret, 0o600), (beside, public, 0o644)):
            try:
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                made.callback(target.unlink)
                with os.fdopen(descriptor, "wb") as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
            except FileExistsError:
                raise KeyFileError(f"{target}: a key is there already; give another file") from None
            except OSError as error:
                raise KeyFileError(
                    f"{target}: cannot be written ({error.strerror}); give another file"
                ) from None
        made.pop_all()  # both are whole
    return beside


def load(path: Path) -> DeviceKey:
    """Read the device's key.

    Raises:
        KeyFileError: there is none, others may read it, or it is another kind of key.
    """
    hint = "make one with: dizaine-agent keygen --out FILE"
    key = _private(path, hint)
    if not isinstance(key, RSAPrivateKey) or key.key_size != MODULUS_BITS:
        raise KeyFileError(f"{path}: expected an RSA private key of {MODULUS_BITS} bits; {hint}")
    return DeviceKey(key)


def sign_as_operator(path: Path, content: bytes, context: bytes = CONFIGURATION_CONTEXT) -> bytes:
    """Return the operator's signature, by default of a configuration's bytes.

    Raises:
        KeyFileError: the operator's private key cannot be used.
    """
    hint = "make one with: dizaine-agent keygen --operator --out FILE"
    key = _private(path, hint)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: expected an operator's private key (Ed25519); {hint}")
    return key.sign(context + content)


def is_signed(
    public: Path, signature: bytes, content: bytes, context: bytes = CONFIGURATION_CONTEXT
) -> bool:
    """Return whether a signature is the operator's, by default of a configuration's bytes.

    Raises:
        KeyFileError: the operator's public key cannot be used.
    """
    try:
        key = serialization.load_pem_public_key(public.read_bytes())
    except OSError as error:
        raise KeyFileError(
            f"{public}: no operator's public key ({error.strerror}); put it there, or name it with"
            " --operator-key"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{public}: expected an operator's public key (Ed25519) in PEM")
    try:
        key.verify(signature, context + content)
    except InvalidSignature:
        return False
    return True


def command_check(public: Path) -> Callable[[bytes, bytes], bool]:
    """Return what tells whether the city's command key signed: (signature, signed bytes).

    Raises:
        KeyFileError: the public key cannot be used.
    """
    try:
        key = serialization.load_pem_public_key(public.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{public}: no command key ({error.strerror})") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(
            f"{public}: expected the public half of the city's command key (Ed25519), from"
            " dizaine-aggregator command-key"
        )
    checked = key

    def is_signed(signature: bytes, signed: bytes) -> bool:
        try:
            checked.verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    return is_signed


def certificate_end(path: Path) -> date:
    """Return the last day of a certificate.

    Raises:
        KeyFileError: it cannot be read.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path}: expected a certificate in PEM ({error})") from None
    return certificate.not_valid_after_utc.date()


def _private(path: Path, hint: str) -> object:
    try:
        found = path.stat()
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: no key ({error.strerror}); {hint}") from None
    # A service manager's credential is root's, with an entry for its unit alone (acl(5)), which
    # shows as the group's.
    is_credential = (found.st_uid, found.st_gid) == (0, 0) and not found.st_mode & stat.S_IWGRP
    if found.st_mode & (stat.S_IRWXO | (0 if is_credential else stat.S_IRWXG)):
        raise KeyFileError(f"{path}: others may read this key; run: chmod 600 {path}")
    try:
        return serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def modulus(key: RSAPublicKey) -> bytes:
    """Return what a record's signature is checked with: 384 bytes, big endian."""
    return key.public_numbers().n.to_bytes(SIGNATURE_SIZE)


def fingerprint(public: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a public key, for labels."""
    return hashlib.sha256(public).hexdigest()[:16]
