"""Which disks there are, and which of them may be written: none that looks like the computer's.

What the system says comes in as lsblk's JSON, so that this can be tried on any computer.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.device.errors import ToolError

LARGEST_CARD = 300 * 10**9
SMALLEST_CARD = 2 * 10**9
_COLUMNS = "NAME,PATH,SIZE,RM,HOTPLUG,TRAN,MOUNTPOINTS,MODEL,SERIAL,TYPE,FSTYPE,PARTLABEL,LABEL,RO"
_REMOVABLE = ("usb", "mmc")
_OURS = {"esp", "boot-a", "boot-b", "root-a", "root-b", "data"}
_FOREIGN = {
    "crypto_LUKS", "LVM2_member", "linux_raid_member", "zfs_member", "btrfs", "apfs", "BitLocker",
    "swap",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk.

    Attributes:
        why_not: why it must not be written, as a word of words.toml; empty where it may.
        detail: what was found, for that sentence.
        is_ours: whether it holds an image of ours already.
    """

    path: Path
    size: int
    model: str
    serial: str
    why_not: str
    detail: str
    is_ours: bool

    @property
    def title(self) -> str:
        """What it is called on a screen."""
        return f"{self.path}  {self.size / 1e9:.1f} GB  {self.model or '?'}"


def listed() -> list[Disk]:
    """Return this computer's disks.

    Raises:
        ToolError: it has no lsblk.
    """
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system
            ["/usr/bin/lsblk", "--json", "--bytes", "--output", _COLUMNS],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except OSError:
        raise ToolError("lsblk_missing") from None
    return read(done.stdout)


def read(text: str) -> list[Disk]:
    """Return the disks in lsblk's JSON."""
    return [
        _disk(entry)
        for entry in json.loads(text)["blockdevices"]
        if entry["type"] == "disk" and int(entry["size"] or 0) > 0
    ]


def _disk(entry: dict[str, Any]) -> Disk:
    parts = list(_parts(entry))
    labels = {part.get("partlabel") for part in parts}
    is_ours = labels >= _OURS
    why_not, detail = _objection(entry, parts, is_ours=is_ours)
    return Disk(
        Path(entry["path"]), int(entry["size"]), (entry["model"] or "").strip(),
        (entry["serial"] or "").strip(), why_not, detail, is_ours,
    )  # fmt: skip


def _objection(
    entry: dict[str, Any], parts: list[dict[str, Any]], *, is_ours: bool
) -> tuple[str, str]:
    """Return why a disk must not be written, the plainest reason first."""
    mounted = [
        point for part in (entry, *parts) for point in part.get("mountpoints") or [] if point
    ]
    foreign = [p["fstype"] for p in (entry, *parts) if p.get("fstype") in _FOREIGN]
    size = int(entry["size"])
    removable = entry["rm"] or entry["hotplug"] or entry["tran"] in _REMOVABLE
    reasons = (
        ("disk_mounted", bool(mounted), ", ".join(mounted)),
        (
            "disk_fixed",
            not removable and not entry["name"].startswith("mmcblk"),
            str(entry["tran"] or "?"),
        ),
        ("disk_locked", bool(entry["ro"]), ""),
        ("disk_in_use", bool(foreign) and not is_ours, ", ".join(sorted(set(foreign)))),
        ("disk_large", size > LARGEST_CARD, f"{size / 1e9:.0f} GB"),
        ("disk_small", size < SMALLEST_CARD, f"{size / 1e9:.1f} GB"),
    )
    return next(((word, detail) for word, holds, detail in reasons if holds), ("", ""))


def _parts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for part in entry.get("children") or []:
        found += [part, *_parts(part)]
    return found


def find(target: str) -> Disk | None:
    """Return a disk by its path; a plain file stands for a card, for trying things out."""
    path = Path(target)
    if path.is_file() or (not path.exists() and path.parent.is_dir() and path.suffix == ".img"):
        size = path.stat().st_size if path.exists() else 0
        return Disk(path, size, "file", "", "", "", is_ours=False)
    return next((disk for disk in listed() if disk.path == path.resolve()), None)
