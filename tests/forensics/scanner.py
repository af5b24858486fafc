"""Looks for fingerprints in the memory of another process, and in files, from outside."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LENGTH = 32
"""Bytes in a fingerprint: long enough that none occurs by chance."""
_WORD = 8
_CHUNK = 1 << 24
_TABLE_BITS = 22
_MIXES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)


class Fingerprints:
    """Pieces of a marked frame, each with the name of the form in which it would be found.

    Memory is read in words. Wherever a piece begins, whole words of it lie on words of memory: for
    each of the eight ways in which it can lie, the one with the most different bytes is looked up.
    """

    def __init__(self, pieces: Mapping[bytes, str]) -> None:
        self._pieces = dict(pieces)
        self._at: defaultdict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        for piece in self._pieces:
            for shift in range(_WORD):
                starts = range(shift, LENGTH - _WORD + 1, _WORD)
                best = max(starts, key=lambda at: len(set(piece[at : at + _WORD])))
                self._at[piece[best : best + _WORD]].append((piece, best))
        keys = np.frombuffer(b"".join(self._at), np.uint64)
        self._tables = np.zeros((2, 1 << _TABLE_BITS), bool)
        for table, mix in zip(self._tables, _MIXES, strict=True):
            table[self._slot(keys, mix)] = True

    def __len__(self) -> int:
        return len(self._pieces)

    @staticmethod
    def _slot(words: NDArray[np.uint64], mix: np.uint64) -> NDArray[np.uint64]:
        return (words * mix) >> np.uint64(64 - _TABLE_BITS)

    def find(self, blocks: Iterable[bytes]) -> Counter[str]:
        """Return how often pieces of each form occur in blocks that follow one another."""
        return Counter(self._pieces[piece] for piece in self.hits(blocks))

    def hits(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield pieces as often as they occur in blocks that follow one another."""
        rest = b""
        for block in blocks:
            data = rest + block
            yield from self._in(data)
            rest = data[-(LENGTH - 1) :]

    def _in(self, data: bytes) -> Iterator[bytes]:
        words = np.frombuffer(data, np.uint64, len(data) // _WORD)
        found = np.arange(len(words))
        for table, mix in zip(self._tables, _MIXES, strict=True):
            found = found[table[self._slot(words[found], mix)]]
        for at in (found * _WORD).tolist():
            for piece, shift in self._at.get(data[at : at + _WORD], ()):
                if at >= shift and data.startswith(piece, at - shift):
                    yield piece


def pieces(data: bytes, form: str, most: int = 400) -> dict[bytes, str]:
    """Return pieces spread over some data, those alone that are rich enough to be its own."""
    step = max(LENGTH, len(data) // most)
    chosen = (data[at : at + LENGTH] for at in range(0, len(data) - LENGTH, step))
    return {piece: form for piece in chosen if len(set(piece)) >= 7}


def memory(process: int) -> Iterator[bytes]:
    """Yield all that a process can read of its own memory. Takes root: the agent forbids it else.

    Mappings without a name boundary between them may be joined; that can only find more.
    """
    own = Path(f"/proc/{process}")
    with (own / "maps").open() as maps, (own / "mem").open("rb", 0) as mem:
        for line in maps:
            mapped = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(.*)", line)
            if not mapped or mapped[3].startswith(("[v", "/dev/dri")):
                continue
            begin, end = int(mapped[1], 16), int(mapped[2], 16)
            for at in range(begin, end, _CHUNK):
                try:
                    mem.seek(at)
                    yield mem.read(min(_CHUNK, end - at))
                except (OSError, ValueError, OverflowError):
                    break


def file(path: Path) -> Iterator[bytes]:
    """Yield a file's content."""
    with path.open("rb") as opened:
        while block := opened.read(_CHUNK):
            yield block


def files(folder: Path, since_s: float) -> Iterator[Path]:
    """Yield the regular files below a folder that changed since an instant."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            try:
                if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since_s:
                    yield path
            except OSError:
                continue
