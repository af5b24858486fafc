"""Tries what a unit's process must not be able to do; prints, as JSON, what became of it.

Argument: a TCP port that somebody listens on. It runs with the standard library alone.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

FOLDERS = (
    "/", "/etc/dizaine", "/var", "/var/lib", "/var/lib/dizaine/identity", "/tmp", "/var/tmp",
    "/dev/shm", "/dev/mqueue", "/run", "/run/dizaine", "/out", "/in",
)  # fmt: skip


def written(path: str) -> object:
    return Path(path).write_text("x")


def connected(family: int, address: object) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(2)
        link.connect(address)  # type: ignore[arg-type]


def sent() -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        return link.sendto(b"x", ("127.0.0.1", 9))


def network_device() -> None:
    devices = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    if all(line.split(":")[0].strip() == "lo" for line in devices):
        raise OSError("only lo")


def own_key() -> None:
    if len(Path(os.environ["CREDENTIALS_DIRECTORY"], "signing-key").read_bytes()) < 1000:
        raise OSError("not a key")


ATTEMPTS: dict[str, Callable[[], object]] = {
    **{f"write in {folder}": lambda f=folder: written(f"{f}/leak") for folder in FOLDERS},  # type: ignore[misc]
    "write its own folder": lambda: written("/var/lib/dizaine/spool/leak"),
    "TCP": lambda: connected(socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))),
    "UDP": sent,
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
    "the manager's bus": lambda: connected(socket.AF_UNIX, "/run/systemd/private"),
    "camera": lambda: os.close(os.open("/dev/video9", os.O_RDWR)),
    "own signing key": own_key,
    "the other's credentials": lambda: list(
        Path("/run/credentials/dizaine-vision.service").iterdir()
    ),
    "sealed signing key": lambda: Path("/var/lib/dizaine/identity/signing-key").read_bytes(),
    "network device": network_device,
}

found = {}
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
    except OSError as error:
        found[name] = f"refused: {error.strerror or error}"
    else:
        found[name] = "done"
print(json.dumps(found))
