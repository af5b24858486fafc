"""The keeper of the decoder: a small process that starts and kills decoders, and nothing else.

Vision cannot start programs or open connections: by the time it sees a picture it has given both
up. So it starts the keeper before that, tells it once which source there is, and asks for decoders
from then on. A vision that somebody has taken over can have the same source decoded again, and no
other. The keeper holds no picture, and confines itself and its decoders to what the source needs::

    vision ──► order (JSON), once                              keeper
    vision ──► START ───────────────────────► kills the decoder there is, starts another
    vision ◄── the decoder's socket (SCM_RIGHTS)
    vision ──► KILL ────────────────────────► kills the decoder
    vision ◄── one byte: it is gone
"""

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent import config, sandbox

START, KILL = b"S", b"K"
RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
_MOST_BYTES = 4096


class KeeperError(RuntimeError):
    """The keeper is gone."""


def is_live(source: str) -> bool:
    """Return whether a source is a camera or a stream rather than a file."""
    return source.startswith(("/dev/video", "rtsp://", "rtsps://"))


@dataclass(frozen=True, slots=True)
class Order:
    """What the decoder is asked for.

    Attributes:
        source: a file, /dev/videoN or rtsp://….
        live: whether only the newest frame matters.
        width, height, fps: asked of a camera; None leaves its own.
        loop: begin a file again at its end.
        pace_fps: of a file: wait so that frames come at this rate; None does not wait.
        slots: frames that may be filled at a time.
        lenient: go on where the kernel cannot confine decoders to what the source needs.
    """

    source: str
    live: bool
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    loop: bool = False
    pace_fps: float | None = None
    slots: int = 2
    lenient: bool = True


def order(camera: config.Camera, replay: config.Replay, *, lenient: bool = True) -> Order:
    """Return what a decoder is to be asked for."""
    live = is_live(camera.source)
    pace = camera.fps if replay.pace == "real" and not live else None
    return Order(
        source=camera.source, live=live, width=camera.width, height=camera.height, fps=camera.fps,
        loop=replay.loop, pace_fps=pace, slots=1 if live else 2, lenient=lenient,
    )  # fmt: skip


class Keeper:
    """Vision's handle on the keeper."""

    def __init__(self, asked: Order) -> None:
        """Start the keeper; only while this process may still start programs."""
        self.order = asked
        self._link, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-m", "edge_agent.pixels.keeper", str(far.fileno())],
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._link.send(json.dumps(asdict(asked)).encode())

    def start(self) -> socket.socket:
        """Have a new decoder started; return the socket to it.

        Raises:
            KeeperError: the keeper is gone.
        """
        try:
            self._link.send(START)
            data, ancillary, _, _ = self._link.recvmsg(
                1, socket.CMSG_LEN(array.array("i").itemsize)
            )
        except OSError:
            data, ancillary = b"", []
        if not data or not ancillary:
            raise KeeperError("the decoder's keeper is gone")
        (descriptor,) = array.array("i", ancillary[0][2])
        return socket.socket(fileno=descriptor)

    def kill(self) -> None:
        """End the decoder; when this returns, it is gone."""
        with contextlib.suppress(OSError):
            self._link.send(KILL)
            self._link.recv(1)

    def close(self) -> None:
        """End the keeper and its decoder."""
        self._link.close()
        self._process.wait()


class _Decoders:
    """The keeper's own side: at most one decoder at a time."""

    def __init__(self, asked: Order) -> None:
        self._order = json.dumps(asdict(asked)).encode()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> socket.socket:
        self.kill()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            # The order comes through a pipe: a command line, with a password, others could read.
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-m", "edge_agent.pixels.decoder", str(far.fileno())],
                pass_fds=[far.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **sandbox.PERTURB},
            )
            assert self._process.stdin is not None  # noqa: S101 - for the type checker
            self._process.stdin.write(self._order)
            self._process.stdin.close()
        return near

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def needs(source: str) -> sandbox.Needs:
    """Return what decoding a source takes: its device, or its port, or nothing."""
    if source.startswith("/dev/"):
        return sandbox.Needs(devices=(Path(source),), programs=True, sockets=True)
    port: tuple[int, ...] = ()
    if source.startswith(("rtsp://", "rtsps://")):
        parts = urlsplit(source)
        port = (parts.port or RTSP_PORTS[parts.scheme],)
    return sandbox.Needs(tcp_ports=port, programs=True, sockets=True)


def main() -> None:
    """Keep decoders until vision goes."""
    sandbox.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sandbox.forbid_dumps()
    link = socket.socket(fileno=int(sys.argv[1]))
    asked = Order(**json.loads(link.recv(_MOST_BYTES)))
    sandbox.confine(needs(asked.source), lenient=asked.lenient)
    decoders = _Decoders(asked)
    try:
        while said := link.recv(1):
            if said == START:
                with decoders.start() as near:
                    rights = array.array("i", [near.fileno()])
                    link.sendmsg([START], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            else:
                decoders.kill()
                link.send(KILL)
    except OSError:
        return
    finally:
        decoders.kill()


if __name__ == "__main__":
    main()
