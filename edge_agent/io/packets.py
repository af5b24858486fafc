"""What vision and publisher say to each other: packets of one size over one Unix socket.

::

    vision                            publisher
    ASK scope                   ──►
                                ◄──   LAST scope, window     the newest window burnt, or none
    BURN scope, window          ──►                          R9: durably, before anything is said
                                ◄──   BURNT, before | SPENT, before | REFUSED | LATER
    RECORD scope, window, sealed ──►
                                ◄──   SPOOLED | REFUSED | LATER
    STOPS target, number        ──►                          the newest command obeyed
                                ◄──   STOP target, sealed    the newest command known, or none
    HEALTH day, flags           ──►                          once a day
                                ◄──   SPOOLED

BURNT and SPENT carry the digest of the record before this one in its scope. SPENT means burnt, but
the day's privacy budget does not last for it. LATER means that the disk would not take it: ask
again. Vision listens and publisher calls, so that vision never opens a connection to anybody; the
socket belongs to one user, and each end checks the other's.
"""

import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from edge_agent.wire.codec import COMMAND_SIZE, SEALED_SIZE

_LAYOUT = struct.Struct(f"<B24sq64s{SEALED_SIZE}s")
PACKET_SIZE = _LAYOUT.size
_PEER = struct.Struct("3i")
FIRST_PASSED = 3
"""Where a service manager puts the first socket that it passes on."""


class Kind(IntEnum):
    """What a packet says."""

    ASK = 1
    LAST = 2
    BURN = 3
    BURNT = 4
    REFUSED = 5
    LATER = 6
    RECORD = 7
    SPOOLED = 8
    SPENT = 9
    STOPS = 10
    STOP = 11
    HEALTH = 12


class PacketError(ValueError):
    """The bytes are no packet."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.

    Attributes:
        kind: what it says.
        scope: of which line; of STOPS and STOP the target, of HEALTH the flags, as letters.
        window_s: start of the window, seconds since 1970 UTC; -1 where there is none. Of STOPS the
            number of the command obeyed, of HEALTH the day, as an ordinal.
        before: digest of the record before, in hexadecimal, with BURNT and SPENT; empty for none.
        sealed: the sealed record with RECORD, a command or nothing with STOP.
    """

    kind: Kind
    scope: str
    window_s: int = -1
    before: str = ""
    sealed: bytes = b""

    def pack(self) -> bytes:
        """Return the packet's bytes, always as many."""
        return _LAYOUT.pack(
            self.kind, self.scope.encode(), self.window_s, self.before.encode(), self.sealed
        )


def unpack(data: bytes) -> Packet:
    """Return the packet in bytes.

    Raises:
        PacketError: they are none.
    """
    if len(data) != PACKET_SIZE:
        raise PacketError(f"expected {PACKET_SIZE} bytes, got {len(data)}")
    kind, scope, window_s, before, sealed = _LAYOUT.unpack(data)
    try:
        said = Kind(kind)
        name, digest = (part.rstrip(b"\0").decode("ascii") for part in (scope, before))
    except (ValueError, UnicodeDecodeError):
        raise PacketError("expected a known kind and a scope in ASCII") from None
    return Packet(said, name, window_s, digest, _content(said, sealed))


def _content(kind: Kind, sealed: bytes) -> bytes:
    if kind is Kind.RECORD:
        return sealed
    return sealed[:COMMAND_SIZE] if kind is Kind.STOP and sealed[0] else b""


def listen(path: Path, *, group: bool = False) -> socket.socket:
    """Return a listening socket at a path, for this user alone, or for its group, too.

    A service manager that listens already, so that vision needs no folder to write in, hands its
    socket over as the first one it passes on (sd_listen_fds(3)).

    Raises:
        OSError: somebody listens there already, or the folder cannot be written.
    """
    if os.environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=FIRST_PASSED)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with probe:
        if path.exists() and probe.connect_ex(str(path)) == 0:
            raise OSError(f"{path}: another vision is running; stop it first")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    path.chmod(0o660 if group else 0o600)
    listener.listen(1)
    return listener


def is_ours(link: socket.socket, *, group: bool = False) -> bool:
    """Return whether the other end of a link runs as this user, as root, or in this group.

    Who may be in the group is decided by whoever makes it: it has no other purpose.
    """
    packed = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, uid, gid = _PEER.unpack(packed)
    return uid in (os.geteuid(), 0) or (group and gid == os.getegid())
