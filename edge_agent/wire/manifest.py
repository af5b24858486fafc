"""What an operator offers a device to install: which files, until when, and never an older one.

An operator signs the manifest (Ed25519), and the manifest names each file by its digest. `number`
goes up with each manifest of a kind and target, and a device takes none twice.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from edge_agent.wire.messages import DeviceId, Message

CONTEXT = b"dizaine manifest 1\n"
"""Stands before what is signed, which so is valid for nothing else."""
Kind = Literal["system", "configuration", "models"]
FileName = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9-]{0,40}/)?[a-z0-9][a-z0-9._-]{0,60}$")
]


class File(Message):
    """One file: its name beside the manifest, its size in bytes, and its SHA-256."""

    name: FileName
    size: Annotated[int, Field(ge=1, le=4_000_000_000)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Message):
    """An offer.

    Attributes:
        kind: the system's image (one bundle), a configuration, or networks.
        target: a device, or `fleet`.
        number: higher than that of any before of this kind and target.
        until: an offer that is older is not taken: whoever can hold messages back gains little.
        files: all that is installed.
    """

    v: Literal[1] = 1
    kind: Kind
    target: DeviceId
    number: Annotated[int, Field(ge=1, le=1_000_000_000)]
    until: AwareDatetime
    files: Annotated[tuple[File, ...], Field(min_length=1, max_length=64)]
