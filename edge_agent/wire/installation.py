"""What a technician proposes to the city after mounting a device: lines, checks, one picture.

The picture is the only one that ever leaves a device. It leaves once, while the device's signed
configuration declares the module `installation-picture`, and the city deletes it after a day.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from edge_agent.wire.declaration import Fraction, Line, Zone
from edge_agent.wire.enrolment import Hex, Pem
from edge_agent.wire.messages import DeviceId, Message

CONTEXT = b"dizaine installation 1\n"
KEPT_S = 24 * 3600
LARGEST_PICTURE = 60_000
CheckName = Literal[
    "focus", "light", "covered", "tilt", "in_time", "temperature", "clock", "broker", "walk"
]


class Check(Message):
    """One thing that was looked at, and whether it was as it should be."""

    name: CheckName
    works: bool


class Proposal(Message):
    """What the city judges.

    Attributes:
        floor: four points of a square on the floor, where one was drawn.
        picture: JPEG in base64, coarse wherever somebody was seen.
    """

    v: Literal[1] = 1
    device: DeviceId
    view: Literal["side", "overhead"]
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=8)]
    zones: Annotated[tuple[Zone, ...], Field(max_length=4)] = ()
    floor: tuple[tuple[Fraction, Fraction], ...] = ()
    checks: Annotated[tuple[Check, ...], Field(max_length=16)]
    picture: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=LARGEST_PICTURE * 4 // 3),
    ]


class Signed(Message):
    """A proposal as it is sent: its bytes in base64, and the device's word for them."""

    v: Literal[1] = 1
    body: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=150_000)]
    certificate: Pem
    signature: Hex


class Outcome(Message):
    """What the city answers."""

    v: Literal[1] = 1
    received: bool
