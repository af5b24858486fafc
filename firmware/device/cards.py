"""Writes a card, reads it back, puts a claim on it, and wipes it.

Only what has content is written, an eighth of the image; what was written is read back from the
card itself, not from the computer's memory of it, and compared with what the release's signature
says.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firmware.device.errors import ToolError
from firmware.device.release import Release, Stretch

BLOCK = 4 * 1024 * 1024
ESP_START = 1024 * 1024
SLOTS = (65 * 1024 * 1024, 1601 * 1024 * 1024)
"""Where the two slots begin and end (firmware/image/genimage.cfg): use changes nothing there."""
_BLKFLSBUF = 0x1261
Progress = Callable[[int], None]


def write(release: Release, card: Path, progress: Progress) -> None:
    """Write a release to a card; where that is cut short, the card is left unable to start.

    Raises:
        ToolError: the image is not what the release says, or the card would not take it.
    """
    with _opened(card, release.size) as target, release.image.open("rb") as source:
        # The first blocks last: until then it is no card that could start.
        os.pwrite(target, bytes(BLOCK), 0)
        for stretch in (*release.stretches[1:], *release.stretches[:1]):
            digest = hashlib.sha256()
            for at, data in _pieces(source.fileno(), stretch):
                digest.update(data)
                _put(target, data, at)
                progress(len(data))
            if stretch.sha256 and digest.hexdigest() != stretch.sha256:
                os.pwrite(target, bytes(BLOCK), 0)
                raise ToolError("image_damaged", path=release.image)
        os.fsync(target)


def read_back(release: Release, card: Path, progress: Progress) -> None:
    """Compare what is on a card with what the release says.

    Raises:
        ToolError: it differs: the card is worn, or not what its label says.
    """
    with _opened(card, release.size) as target:
        for stretch in release.stretches:
            digest = hashlib.sha256()
            for _, data in _pieces(target, stretch):
                digest.update(data)
                progress(len(data))
            if digest.hexdigest() != stretch.sha256:
                raise ToolError("card_differs", at=f"{stretch.start // 2**20} MiB")


def put_on(card: Path, files: dict[str, bytes]) -> None:
    """Put files into the boot partition's folder `dizaine`.

    Raises:
        ToolError: there is no such partition, or mtools is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            source = Path(folder) / name
            source.touch(mode=0o600)
            source.write_bytes(content)
            _mtools("mcopy", "-o", "-i", f"{card}@@{ESP_START}", str(source), f"::dizaine/{name}")
    with _opened(card, 0) as target:
        os.fsync(target)


def read_from(card: Path, name: str) -> bytes:
    """Return a file of the folder `dizaine` on a card; nothing where there is none."""
    try:
        return _mtools("mtype", "-i", f"{card}@@{ESP_START}", f"::dizaine/{name}")
    except ToolError:
        return b""


def wipe(card: Path, progress: Progress) -> str:
    """Overwrite a whole card with zeros and read it back; return the SHA-256 of what is left.

    Raises:
        ToolError: it cannot be written, or something is left.
    """
    digest = hashlib.sha256()
    with _opened(card, 0) as target:
        size = os.lseek(target, 0, os.SEEK_END)
        for at in range(0, size, BLOCK):
            _put(target, bytes(min(BLOCK, size - at)), at)
            progress(min(BLOCK, size - at))
        os.fsync(target)
    with _opened(card, 0) as target:
        for at, data in _pieces(target, Stretch(0, size, "")):
            if data.count(0) != len(data):
                raise ToolError("card_not_wiped", at=f"{at // 2**20} MiB")
            digest.update(data)
            progress(len(data))
    return digest.hexdigest()


def size_of(card: Path) -> int:
    """Return a card's size in bytes."""
    with _opened(card, 0) as target:
        return os.lseek(target, 0, os.SEEK_END)


@contextmanager
def _opened(card: Path, least: int) -> Iterator[int]:
    """Open a card for this program alone, with nothing of it in the computer's memory."""
    try:
        is_block = card.is_block_device()
        flags = os.O_RDWR | (os.O_EXCL if is_block else os.O_CREAT)
        target = os.open(card, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ToolError("card_cannot_be_opened", path=card, why=error.strerror) from None
    try:
        if is_block:
            import fcntl  # noqa: PLC0415 - Linux alone has such cards

            fcntl.ioctl(target, _BLKFLSBUF)
            if os.lseek(target, 0, os.SEEK_END) < least:
                raise ToolError("disk_small", detail=f"{least / 1e9:.1f} GB")
        elif os.fstat(target).st_size < least:
            os.ftruncate(target, least)
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        yield target
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        raise ToolError("card_failed", path=card, why=error.strerror) from None
    finally:
        os.close(target)


def _pieces(source: int, stretch: Stretch) -> Iterator[tuple[int, bytes]]:
    at, end = stretch.start, stretch.start + stretch.size
    while at < end:
        data = os.pread(source, min(BLOCK, end - at), at)
        if not data:
            raise ToolError("image_short", at=f"{at // 2**20} MiB")
        yield at, data
        at += len(data)


def _put(target: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(target, view, at)
        view, at = view[written:], at + written


def _mtools(program: str, *words: str) -> bytes:
    try:
        done = subprocess.run([program, *words], check=True, capture_output=True)  # noqa: S603
    except FileNotFoundError:
        raise ToolError("mtools_missing") from None
    except subprocess.CalledProcessError as error:
        raise ToolError("not_our_card", why=error.stderr.decode(errors="replace").strip()) from None
    return done.stdout
