"""Tries to get a frame out of a process in every way that a programmer might. Started by a test.

Arguments: `confined` or `free`, a folder, an existing file, a Unix socket that somebody listens on,
a TCP port that somebody listens on. Prints, as JSON, what became of each attempt.
"""

import ctypes
import io
import json
import mmap
import os
import socket
import subprocess
import sys
import syslog
from collections.abc import Callable
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent import sandbox

mode, folder, existing, listening, port = sys.argv[1:]
frame = np.random.default_rng(7).integers(0, 256, (480, 640, 3), dtype=np.uint8)
pixels = frame.tobytes()
libc = ctypes.CDLL(None, use_errno=True)


def call(*arguments: Any) -> int:
    result = int(libc.syscall(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def written(path: str) -> None:
    Path(path).write_bytes(pixels)


def encoded() -> None:
    if not cv2.imwrite(f"{folder}/a.png", frame):
        raise OSError("imwrite wrote nothing")


def mapped() -> None:
    with open(existing, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:100] = pixels[:100]


def mapped_read_only() -> None:
    descriptor = os.open(existing, os.O_RDONLY)
    mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def sent(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as link:
        link.settimeout(1.0)
        link.connect(address)
        link.sendall(pixels[:1000])


def sent_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(pixels[:1000], ("127.0.0.1", 9))


def started() -> None:
    subprocess.run(["dd", f"of={folder}/b"], input=pixels, check=True, stderr=subprocess.DEVNULL)


def forked() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def logged() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM):
        syslog.syslog("x")


def shared() -> None:
    shared_memory.SharedMemory(create=True, size=len(pixels)).unlink()


def attached() -> None:
    call(29, 0, ctypes.c_size_t(len(pixels)), 0o1600)


def attribute() -> None:
    os.setxattr(existing, "user.frame", pixels[:1000])


def splat() -> None:
    os.writev(2, [pixels[:1000]])


def sent_file() -> None:
    read, write = os.pipe()
    descriptor = os.open(existing, os.O_RDONLY)
    os.sendfile(write, descriptor, 0, 10)
    os.close(read)


def own_disk() -> None:
    np.memmap(f"{folder}/c", np.uint8, "w+", shape=frame.shape)[:] = frame


ATTEMPTS: dict[str, Callable[[], Any]] = {
    "write a file": lambda: written(f"{folder}/a"),
    "write over a file": lambda: written(existing),
    "append to a file": lambda: open(existing, "ab").write(pixels),
    "write to /tmp": lambda: written("/tmp/dizaine-leak"),
    "write to /dev/shm": lambda: written("/dev/shm/dizaine-leak"),
    "numpy.save": lambda: np.save(f"{folder}/a.npy", frame),
    "ndarray.tofile": lambda: frame.tofile(f"{folder}/a.raw"),
    "numpy.memmap": own_disk,
    "cv2.imwrite": encoded,
    "map a file": mapped,
    "map a file opened to read": mapped_read_only,
    "rename a file": lambda: os.rename(existing, existing + ".x"),
    "name a folder for it": lambda: os.mkdir(f"{folder}/{pixels[:50].hex()}"),
    "link to it": lambda: os.symlink(pixels[:500].hex(), f"{folder}/link"),
    "a pipe with a name": lambda: os.mkfifo(f"{folder}/fifo"),
    "an extended attribute": attribute,
    "TCP": lambda: sent(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(port))),
    "UDP": sent_datagram,
    "a Unix socket": lambda: sent(socket.AF_UNIX, socket.SOCK_STREAM, listening),
    "a socket pair": socket.socketpair,
    "the system's log": logged,
    "another program": started,
    "a shell": lambda: os.system("true") and (_ for _ in ()).throw(OSError("no shell")),
    "a fork": forked,
    "POSIX shared memory": shared,
    "System V shared memory": attached,
    "memory with a descriptor": lambda: os.memfd_create("frame"),
    "error output, whole": lambda: os.write(2, pixels),
    "error output, scattered": splat,
    "error output, through Python": lambda: io.FileIO(2, "w", closefd=False).write(pixels),
    "sendfile": sent_file,
    "io_uring": lambda: call(425, 8, ctypes.create_string_buffer(120)),
}

if mode == "confined":
    sandbox.confine(sandbox.Needs())
outcome = {}
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
    except (OSError, ValueError, cv2.error) as error:
        outcome[name] = f"refused: {type(error).__name__}"
    else:
        outcome[name] = "done"
print(json.dumps(outcome))
