"""Takes what an operator offers: a system image, a configuration, or networks.

1. The offer is signed by the operator, is for this device, has not ended, and is new.
2. Each file is what the offer names, before any of them is used.
3. All of it is put in place at one instant; what was there before stays until then.

The system's image is handed to RAUC, which checks a signature of its own, writes the other slot,
and leaves the one that runs alone (docs/adr/0025-image.md).
"""

import hashlib
import json
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_agent import config
from edge_agent.admission import OPERATOR_KEY
from edge_agent.io import keys
from edge_agent.io.identity import make_durable, write_whole
from edge_agent.wire.manifest import CONTEXT, File, Kind, Manifest
from edge_agent.wire.messages import FLEET

MANIFEST = "manifest.json"
LARGEST_SMALL = 64 * 1024 * 1024
WITHIN_S = 60.0
_CHUNK = 1 << 20

Install = Callable[[str], None]
"""Installs a bundle, by its path or address."""


class NoOfferError(RuntimeError):
    """There is no offer at that address."""


class UpdateError(RuntimeError):
    """Nothing was changed; the message is one line that says why."""


def sign(folder: Path, draft: Manifest, key_file: Path) -> Path:
    """Write an offer of the files in a folder beside them, signed by the operator; return it.

    Raises:
        KeyFileError: the operator's key cannot be used.
    """
    content = draft.model_dump_json(indent=1).encode()
    signature = keys.sign_as_operator(key_file, content, CONTEXT)
    (folder / f"{MANIFEST}.sig").write_text(signature.hex() + "\n")
    path = folder / MANIFEST
    path.write_bytes(content)
    return path


def describe(folder: Path, names: list[str]) -> tuple[File, ...]:
    """Return files of a folder as an offer names them."""
    return tuple(
        File(name=name, size=(folder / name).stat().st_size, sha256=_digest(folder / name))
        for name in names
    )


class Updater:
    """What one device takes, and what it took last."""

    def __init__(self, device: str, folder: Path, state: Path, install: Install) -> None:
        """Take offers for a device.

        Args:
            device: its id.
            folder: of its configuration, with the operator's public key.
            state: where the number of the last offer of each kind is kept.
            install: what installs the system's image.
        """
        self._device = device
        self._folder = folder
        self._state = state
        self._install = install

    def take(self, source: str, kind: Kind, now: datetime) -> int | None:
        """Take an offer from a folder or an https address, if it is a new one; return its number.

        Raises:
            NoOfferError: there is none.
            UpdateError: it is not what it should be; nothing was changed.
        """
        content, signature = (self._small(source, name) for name in (MANIFEST, f"{MANIFEST}.sig"))
        offer = self._judged(content, signature, kind, now)
        if offer.number <= self._last(kind, offer.target):
            return None
        if kind == "system":
            self._take_system(source, offer)
        else:
            parts = {file.name: self._checked(source, file) for file in offer.files}
            place = self._place_configuration if kind == "configuration" else self._place_models
            place(parts, offer.number)
        self._remember(kind, offer)
        return offer.number

    def _judged(self, content: bytes, signature: bytes, kind: Kind, now: datetime) -> Manifest:
        """Return an offer that this device may take."""
        public = self._folder / OPERATOR_KEY
        if not keys.is_signed(public, _unhexed(signature), content, CONTEXT):
            raise UpdateError(f"{MANIFEST}: not signed by the operator whom {public} names")
        try:
            offer = Manifest.model_validate_json(content)
        except ValidationError as error:
            what = error.errors(include_url=False)[0]
            raise UpdateError(
                f"{MANIFEST}: {'.'.join(map(str, what['loc']))}: {what['msg']}"
            ) from None
        if offer.kind != kind or offer.target not in (self._device, FLEET):
            raise UpdateError(
                f"{MANIFEST}: expected {kind} for {self._device}, got {offer.kind} for"
                f" {offer.target}"
            )
        if now > offer.until:
            raise UpdateError(f"{MANIFEST}: this offer ended {offer.until:%Y-%m-%d %H:%M %Z}")
        return offer

    def _take_system(self, source: str, offer: Manifest) -> None:
        if len(offer.files) != 1 or not offer.files[0].name.endswith(".raucb"):
            raise UpdateError(f"{MANIFEST}: expected one file, a .raucb, for the system")
        file = offer.files[0]
        path = self._fetched(source, file) if _is_remote(source) else Path(source) / file.name
        try:
            whole = path.stat().st_size == file.size and _digest(path) == file.sha256
        except OSError as error:
            raise UpdateError(f"{path}: cannot be read ({error.strerror})") from None
        if not whole:
            if _is_remote(source):
                path.unlink()
            raise UpdateError(f"{path}: not the file that the offer names")
        self._install(str(path))
        if _is_remote(source):
            path.unlink()

    def _fetched(self, source: str, file: File) -> Path:
        """Fetch a large file, going on where the last try ended: a bus has minutes of network."""
        folder = self._state.parent / "incoming"
        folder.mkdir(exist_ok=True)
        path = folder / f"{file.sha256}.part"
        for other in folder.iterdir():
            if other != path:
                other.unlink()
        have = path.stat().st_size if path.exists() else 0
        if have >= file.size:
            return path
        where = _join(source, file.name)
        asked = urllib.request.Request(where, headers={"Range": f"bytes={have}-"})  # noqa: S310
        try:
            with self._opened(asked) as answer:
                goes_on = answer.status == 206
                with path.open("ab" if goes_on else "wb") as out:
                    while chunk := answer.read(_CHUNK):
                        out.write(chunk)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or error
            raise UpdateError(f"{where}: interrupted ({reason}); it goes on next time") from None
        if path.stat().st_size < file.size:
            raise UpdateError(f"{where}: interrupted (hung up); it goes on next time")
        return path

    def _place_configuration(self, parts: dict[str, bytes], number: int) -> None:
        expected = {"agent.toml", "agent.toml.sig"}
        if parts.keys() != expected:
            raise UpdateError(
                f"{MANIFEST}: expected agent.toml and agent.toml.sig, got {sorted(parts)}"
            )
        content = parts["agent.toml"]
        try:
            signature = _unhexed(parts["agent.toml.sig"])
            signed = keys.is_signed(self._folder / OPERATOR_KEY, signature, content)
            loaded = config.parse(content, "agent.toml", signed=signed)
        except (ValueError, keys.KeyFileError) as error:
            raise UpdateError(str(error)) from None
        if not signed or loaded.declared.device != self._device:
            raise UpdateError("agent.toml: expected one of this device, signed by its operator")
        if loaded.declared.number != number:
            raise UpdateError(
                f"agent.toml: expected the offer's number {number}, got {loaded.declared.number}"
            )
        # The signature first: between the two, the old configuration would be without its own.
        self._swap({name: parts[name] for name in ("agent.toml.sig", "agent.toml")})

    def _swap(self, parts: dict[str, bytes]) -> None:
        """Put files in place as one: a power cut in between is healed at the next start."""
        pending = self._folder / "pending"
        ready = self._folder / "ready"
        shutil.rmtree(pending, ignore_errors=True)
        pending.mkdir()
        for name, content in parts.items():
            write_whole(pending / name, content, 0o644)
        shutil.rmtree(ready, ignore_errors=True)
        pending.rename(ready)
        make_durable(self._folder)
        heal(self._folder)

    def _place_models(self, parts: dict[str, bytes], number: int) -> None:
        models = self._folder.parent / "models"
        target = models / str(number)
        shutil.rmtree(target, ignore_errors=True)
        for name, content in parts.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(target / name, content, 0o644)
        link = models / ".current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(target.name)
        link.replace(models / "current")
        make_durable(models)
        for old in models.glob("[0-9]*"):
            if old.name != target.name:
                shutil.rmtree(old, ignore_errors=True)

    def _checked(self, source: str, file: File) -> bytes:
        if file.size > LARGEST_SMALL:
            raise UpdateError(
                f"{file.name}: expected at most {LARGEST_SMALL} bytes, got {file.size}"
            )
        content = self._small(source, file.name, file.size)
        if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
            raise UpdateError(f"{_join(source, file.name)}: not the file that the offer names")
        return content

    def _small(self, source: str, name: str, size: int = 1_000_000) -> bytes:
        where = _join(source, name)
        try:
            if not _is_remote(source):
                return Path(where).read_bytes()
            with self._opened(where) as answer:
                content: bytes = answer.read(size + 1)
                return content
        except OSError as error:
            missing = isinstance(error, FileNotFoundError) or getattr(error, "code", 0) == 404
            if missing and name == MANIFEST:
                raise NoOfferError(where) from None
            reason = getattr(error, "reason", None) or error.strerror or error
            raise UpdateError(f"{where}: cannot be read ({reason})") from None

    def _opened(self, asked: str | urllib.request.Request) -> Any:
        """Ask over TLS; besides the public authorities, the city's own is believed."""
        trust = ssl.create_default_context()
        own = self._folder / "ca.pem"
        if own.is_file():
            trust.load_verify_locations(own)
        return urllib.request.urlopen(asked, timeout=WITHIN_S, context=trust)  # noqa: S310 - https

    def _last(self, kind: Kind, target: str) -> int:
        return int(self._known().get(f"{kind} {target}", 0))

    def _known(self) -> dict[str, int]:
        try:
            found: dict[str, int] = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UpdateError(
                f"{self._state}: cannot be read ({error}); enrol this device anew"
            ) from None
        return found

    def _remember(self, kind: Kind, offer: Manifest) -> None:
        known = {**self._known(), f"{kind} {offer.target}": offer.number}
        write_whole(self._state, json.dumps(known).encode(), 0o600)


def heal(folder: Path) -> bool:
    """Finish putting a configuration in place that a power cut interrupted; return whether."""
    ready = folder / "ready"
    if not ready.is_dir():
        return False
    for name in ("agent.toml.sig", "agent.toml"):
        part = ready / name
        if part.is_file():
            write_whole(folder / name, part.read_bytes(), 0o644)
    shutil.rmtree(ready)
    make_durable(folder)
    return True


def with_rauc(bundle: str) -> None:
    """Have RAUC install a bundle into the other slot.

    Raises:
        UpdateError: it would not.
    """
    try:
        subprocess.run(  # noqa: S603 - a program of the system, no shell
            ["/usr/bin/rauc", "install", bundle], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        lines = f"{error.stdout or ''}\n{error.stderr or ''}".strip().splitlines() or [str(error)]
        why = next((line for line in lines if line.startswith("LastError: ")), lines[-1])
        raise UpdateError(f"{bundle}: refused: {why.removeprefix('LastError: ')}") from None
    except OSError as error:
        raise UpdateError(f"rauc: {error.strerror}; is this Dizaine's image?") from None


def _unhexed(signature: bytes) -> bytes:
    try:
        return bytes.fromhex(signature.decode().strip())
    except ValueError:
        return b""


def _is_remote(source: str) -> bool:
    if "://" in source and not source.startswith("https://"):
        raise UpdateError(f"{source}: expected a folder or an https address")
    return source.startswith("https://")


def _join(source: str, name: str) -> str:
    return f"{source.rstrip('/')}/{name}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
