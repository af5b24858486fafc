"""The device's signing key: made once on the device, read once by vision."""

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class KeyFileError(RuntimeError):
    """The key cannot be used; the message is one line that says what to do."""


def make(path: Path) -> Path:
    """Make a key, readable by its owner alone, and its public half beside it; return the latter.

    Raises:
        KeyFileError: a file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = public_pem(key.public_key())
    beside = path.with_suffix(".pub.pem")
    for target, content, mode in ((path, secret, 0o600), (beside, public, 0o644)):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise KeyFileError(f"{target}: a key is there already; give another file") from None
        except OSError as error:
            raise KeyFileError(f"{target}: cannot be written ({error.strerror})") from None
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
    return beside


def load(path: Path) -> Ed25519PrivateKey:
    """Read the device's key.

    Raises:
        KeyFileError: there is none, others may read it, or it is another kind of key.
    """
    hint = "make one with: dizaine-agent keygen --out FILE"
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: no key ({error.strerror}); {hint}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"{path}: others may read this key; run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: expected an Ed25519 private key in PEM; {hint}")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return a public key in PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a public key, for labels."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
