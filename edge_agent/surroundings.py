"""Looks whether what is around the agent keeps pixels in memory, and says what does not.

This module changes nothing but this process's own limit for locked memory.
"""

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from edge_agent import sandbox

LOCKED_BYTES = 32 * 1024 * 1024
"""What arena and frames may take at most; it has to stay out of swap."""
_ST_RDONLY = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One property of the surroundings.

    Attributes:
        name: what was looked at.
        safe: whether it is as it should be.
        why: what was found.
        remedy: what to do where it is not safe.
    """

    name: str
    safe: bool
    why: str
    remedy: str

    def __str__(self) -> str:
        if self.safe:
            return f"{self.name:<12} safe    {self.why}"
        return f"{self.name:<12} UNSAFE  {self.why}; {self.remedy}"


def examine(root: Path = Path("/")) -> tuple[Finding, ...]:
    """Return what the surroundings are like; `root` is where the file system begins."""
    return (_swap(root), _root(root), _dumps(root), _locking(), _landlock())


def _swap(root: Path) -> Finding:
    heading, *lines = _text(root / "proc/swaps").splitlines() or [""]
    areas = ", ".join(line.split()[0] for line in lines)
    found = areas or ("none" if heading else "/proc/swaps cannot be read")
    return Finding(
        "swap", bool(heading) and not lines, found, "run: swapoff -a, and take it off fstab"
    )


def _root(root: Path) -> Finding:
    read_only = bool(os.statvfs(root).f_flag & _ST_RDONLY)
    found = "read-only" if read_only else "writable"
    return Finding("root", read_only, found, "mount the root file system read-only")


def _dumps(root: Path) -> Finding:
    """Our own processes refuse to be dumped; a handler could still be told of their end."""
    pattern = _text(root / "proc/sys/kernel/core_pattern").strip()
    safe = bool(pattern) and not pattern.startswith("|")
    return Finding(
        "core dumps",
        safe,
        f"pattern {pattern or 'cannot be read'}",
        "run: sysctl -w kernel.core_pattern=core",
    )


def _locking() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
        soft = hard
    enough = soft == resource.RLIM_INFINITY or soft >= LOCKED_BYTES or os.geteuid() == 0
    found = "enough" if enough else f"{soft // 1024} KiB"
    return Finding(
        "locked memory", enough, found, f"allow {LOCKED_BYTES // 2**20} MiB (LimitMEMLOCK=)"
    )


def _landlock() -> Finding:
    version = sandbox.landlock_version()
    return Finding(
        "landlock",
        version >= sandbox.NEEDED_LANDLOCK,
        f"version {version}",
        "boot Linux 6.7 or later with landlock in the kernel's lsm= list",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
