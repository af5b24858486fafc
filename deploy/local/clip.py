"""The demonstration's clip: OpenCV's sample `vtest.avi`, a pedestrian scene of PETS 2009.

It is fetched once, from Debian's package `opencv-doc`, and kept only if its SHA-256 is the pinned
one. The recording is the University of Reading's (PETS 2009); it is never part of Dizaine.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
SHOT_AT_FPS = 7.0
"""PETS 2009 was recorded at 7 frames a second; the container says 10."""
PACKAGE = "opencv-doc"
MEMBER = "./usr/share/doc/opencv-doc/examples/data/vtest.avi"
KEPT = ROOT / ".cache" / "vtest.avi"
PLACES = (
    KEPT,
    ROOT.parent / "shared" / "data" / "pets09_s2l1" / "vtest.avi",
    Path("/") / MEMBER,
)


class ClipError(RuntimeError):
    """The clip cannot be had; the message is one line that says what to do."""


def _is_the_clip(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def find() -> Path:
    """Return the clip, fetching it the first time.

    Raises:
        ClipError: it is not on this machine and cannot be fetched.
    """
    for place in PLACES:
        if _is_the_clip(place):
            return place
    return _fetch()


def _fetch() -> Path:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ClipError(
            "the demonstration's clip comes from the Debian package opencv-doc, and this system"
            " has no apt-get; give a video of your own: make demo ARGS='--source FILE'"
        )
    print(f"Fetching the clip from Debian's package {PACKAGE} (96 MB, once) …", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="dizaine-clip-") as folder:
        package = _download(Path(folder))
        unpacked = Path(folder) / "vtest.avi"
        with unpacked.open("wb") as out:
            tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-xO", MEMBER], stdin=tar.stdout, stdout=out, check=False)
            tar.wait()
        if not _is_the_clip(unpacked):
            raise ClipError(
                f"{PACKAGE}: expected a vtest.avi with SHA-256 {SHA256[:16]}…, got another;"
                " give a video of your own: make demo ARGS='--source FILE'"
            )
        KEPT.parent.mkdir(exist_ok=True)
        partial = KEPT.with_suffix(".partial")
        shutil.move(unpacked, partial)
        partial.replace(KEPT)
    return KEPT


def _download(folder: Path) -> Path:
    """Download the package into a folder; refresh apt's lists only if it is not found without."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    for refresh in (False, True):
        if refresh:
            update = [*sudo, "apt-get", "update", "-qq"]
            print(f"Refreshing apt's lists with {' '.join(update)}", file=sys.stderr)
            subprocess.run(update, check=False)
        command = ["apt-get", "download", "-qq", PACKAGE]
        tried = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = sorted(folder.glob(f"{PACKAGE}_*.deb"))
        if found:
            return found[0]
    reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise ClipError(
        f"apt-get could not download {PACKAGE} ({reason});"
        " connect to the network, or give a video of your own: make demo ARGS='--source FILE'"
    )
