"""A release: a folder with the image, what it should be, and who says so."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from firmware.device.errors import ToolError

TRUST = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "dizaine/updates-ca.pem"
_NAMED = ("disk.bmap", "release.json")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the image that has content: its place in bytes, and its SHA-256."""

    start: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """What is written to a card."""

    image: Path
    version: str
    size: int
    stretches: tuple[Stretch, ...]

    @property
    def content(self) -> int:
        """Bytes that have to be written."""
        return sum(stretch.size for stretch in self.stretches)


def trust(authority: Path) -> str:
    """Keep whose releases are believed from now on; return the certificate's fingerprint.

    Raises:
        ToolError: it is no certificate.
    """
    try:
        certificate = x509.load_pem_x509_certificate(authority.read_bytes())
    except (OSError, ValueError):
        raise ToolError("no_certificate", path=authority) from None
    TRUST.parent.mkdir(parents=True, exist_ok=True)
    TRUST.write_bytes(authority.read_bytes())
    return certificate.fingerprint(SHA256()).hex()[:16]


def open_release(folder: Path) -> Release:
    """Read a release, and believe it only if whoever is trusted signed it.

    1. SHA256SUMS is signed by a certificate that the trusted authority signed.
    2. What the release is called, and the image's map (bmap), are those that SHA256SUMS names; the
       map names every part of the image.

    Raises:
        ToolError: it is not whole, or not signed by them.
    """
    if not TRUST.exists():
        raise ToolError("no_trust")
    try:
        sums = (folder / "SHA256SUMS").read_bytes()
        signature = (folder / "SHA256SUMS.sig").read_bytes()
        signer = x509.load_pem_x509_certificate((folder / "signer.pem").read_bytes())
        authority = x509.load_pem_x509_certificate(TRUST.read_bytes())
        named = {name: (folder / name).read_bytes() for name in _NAMED}
    except OSError as error:
        raise ToolError("release_missing", path=error.filename) from None
    except ValueError:
        raise ToolError("release_damaged", path=folder) from None
    # 1.
    try:
        signer.verify_directly_issued_by(authority)
        key = signer.public_key()
        if not isinstance(key, RSAPublicKey):
            raise ToolError("release_unsigned", path=folder)
        key.verify(signature, sums, padding.PKCS1v15(), SHA256())
    except (ValueError, TypeError, InvalidSignature):
        raise ToolError("release_unsigned", path=folder) from None
    # 2.
    pairs = (line.split(maxsplit=1) for line in sums.decode().splitlines())
    expected = {name.strip(): digest for digest, name in pairs}
    for name, content in named.items():
        if expected.get(name) != hashlib.sha256(content).hexdigest():
            raise ToolError("release_damaged", path=folder / name)
    size, stretches = read_bmap(named["disk.bmap"])
    version = json.loads(named["release.json"])["version"]
    return Release(folder / "disk.img", version, size, stretches)


def read_bmap(content: bytes) -> tuple[int, tuple[Stretch, ...]]:
    """Return an image's size, and what of it has content (bmap format 2.0)."""
    root = ElementTree.fromstring(content)  # noqa: S314 - signed, and checked before
    size = int(_text(root, "ImageSize"))
    block = int(_text(root, "BlockSize"))
    stretches = []
    for part in root.iterfind("BlockMap/Range"):
        first, _, last = (part.text or "").strip().partition("-")
        start = int(first) * block
        end = min((int(last or first) + 1) * block, size)
        stretches.append(Stretch(start, end - start, part.get("chksum", "")))
    return size, tuple(stretches)


def _text(root: ElementTree.Element, name: str) -> str:
    return (root.findtext(name) or "0").strip()
