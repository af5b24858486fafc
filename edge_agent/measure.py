"""Measures the program that runs: which files, which libraries, which models.

A record carries the first 16 digits of the measurement, so that anybody with the same release can
find out what spoke. A production build carries its manifest, and refuses to run as anything else.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent
MANIFEST = PACKAGE / "BUILD.json"
"""Written when a production build is made (`make build`); a checkout has none."""
MODELS = (Path(sys.prefix, "share/dizaine/models"), PACKAGE.parent / "models" / "weights")
"""Where an installation has its models, or a checkout."""
LIBRARIES = (
    "ai-edge-litert", "cffi", "cryptography", "numpy", "opencv-python-headless", "paho-mqtt",
    "pydantic", "pydantic-core", "simplejpeg", "tflite-runtime",
)  # fmt: skip


class MeasureError(RuntimeError):
    """This is not the build that it says it is; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Build:
    """What runs.

    Attributes:
        manifest: file or library to the SHA-256 of its content, in hexadecimal.
        production: whether it was made to be installed in public.
    """

    manifest: dict[str, str]
    production: bool

    @property
    def fingerprint(self) -> str:
        """Return what a record says of the build: 16 hexadecimal digits."""
        text = json.dumps(self.manifest, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def measure(package: Path = PACKAGE, models: Path | None = None) -> Build:
    """Measure this program, and networks that an operator has added in a folder of their own.

    Raises:
        MeasureError: a production build, and a file of it is not what it was when it was built.
    """
    manifest = {
        f"edge_agent/{path.relative_to(package).as_posix()}": _digest(path.read_bytes())
        for path in sorted(package.rglob("*.py"))
    }
    for place in MODELS:
        manifest |= _networks("model", place)
    manifest |= {f"library/{name}": _library(name) for name in LIBRARIES if _version(name)}
    added = _networks("added-model", models) if models else {}
    built = package / MANIFEST.name
    if not built.is_file():
        return Build(manifest | added, production=False)
    try:
        expected = json.loads(built.read_text())["manifest"]
    except (ValueError, KeyError, TypeError, OSError):
        raise MeasureError(f"{built}: not a build's manifest; install the release again") from None
    changed = sorted(set(expected.items()) ^ set(manifest.items()))
    if changed:
        raise MeasureError(
            f"{changed[0][0]}: not what was built; install the release again"
            f" ({len({name for name, _ in changed})} parts differ)"
        )
    # What was added is no part of the release, but a part of what speaks.
    return Build(manifest | added, production=True)


def _networks(kind: str, place: Path) -> dict[str, str]:
    return {
        f"{kind}/{path.parent.name}/{path.name}": _digest(path.read_bytes())
        for path in sorted(place.glob("*/*"))
        if path.suffix in (".toml", ".tflite")
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _library(name: str) -> str:
    """Return the digest of a library: of its version, and of what its installer noted of files."""
    files = metadata.files(name) or []
    lines = sorted(
        f"{file.as_posix()} {file.hash.value}"
        for file in files
        if file.hash and ".." not in file.parts and file.name not in ("INSTALLER", "REQUESTED")
    )
    return _digest("\n".join([f"{name} {_version(name)}", *lines]).encode())
