"""The closed set of messages between a device and the city.

This module does not count, release, sign or send. A model here forbids unknown keys, coerces
nothing and holds no free text, no float and no open map; `tests/architecture` keeps it so.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    model_validator,
)

WIRE_VERSION = 1
K_FLOOR = 10
"""Release rule R2: no number about fewer passages than this is ever said."""
ROUND_TO = 5
"""Release rule R3: counts are multiples of this."""
MAX_CARRIED_WINDOWS = 16
"""Release rule R2: a batch covers at most this many windows."""

EXAMPLE_WINDOW_TEXT = "2026-11-21T08:15Z"
_WINDOW_FORMAT = "%Y-%m-%dT%H:%MZ"

WindowMinutes = Literal[15, 20, 30, 60]
"""Release rule R14: the lengths that a window may have."""

DeviceId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])$")]
"""3 to 32 of a-z, 0-9 and inner hyphens."""
ScopeId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$")]
"""1 to 24 of a-z, 0-9 and inner hyphens: a line's or a zone's name in the configuration."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of one sealed record's bytes, in hexadecimal."""
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""First 8 bytes of the SHA-256 of the configuration in force, in hexadecimal."""

Status = Literal["ok", "low", "closed", "defect"]
Count = Annotated[int, Field(ge=K_FLOOR, multiple_of=ROUND_TO, le=1_000_000)]
"""A published number of passages: at least k, rounded (release rules R2 and R3)."""


def _on_the_minute(at: datetime) -> datetime:
    if at.utcoffset() != timedelta(0):
        raise ValueError(f"expected an instant in UTC such as {EXAMPLE_WINDOW_TEXT}, got {at}")
    if at.second or at.microsecond:
        raise ValueError(f"expected a whole minute such as {EXAMPLE_WINDOW_TEXT}, got {at}")
    return at.astimezone(UTC)


WindowStart = Annotated[
    AwareDatetime,
    AfterValidator(_on_the_minute),
    PlainSerializer(lambda at: at.strftime(_WINDOW_FORMAT), return_type=str),
]
"""First instant of a window, UTC, a whole minute."""


class Message(BaseModel):
    """What all messages share: frozen, strict, nothing unknown."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", revalidate_instances="always"
    )


class Directed(Message):
    """Passages by direction: said only where each direction has at least k (release rule R4)."""

    forward: Count
    backward: Count


class Total(Message):
    """Passages in both directions together."""

    total: Count


class Record(Message):
    """What a device says about one scope and one window (release rule R1).

    An `ok` record speaks of the `covers` windows that end with this one; the others among them
    were `low` and are carried in it.
    """

    v: Literal[1] = 1
    device: DeviceId
    scope: ScopeId
    window: WindowStart
    window_min: WindowMinutes
    status: Status
    covers: Annotated[int, Field(ge=1, le=MAX_CARRIED_WINDOWS)] = 1
    passages: Directed | Total | None = None
    config: Fingerprint

    @model_validator(mode="after")
    def _says_no_more_than_its_status(self) -> Self:
        if (self.passages is not None) != (self.status == "ok"):
            raise ValueError("expected passages with status ok and with no other status")
        if self.covers != 1 and self.status != "ok":
            raise ValueError("expected covers 1 unless the status is ok")
        if int(self.window.timestamp()) % (self.window_min * 60):
            raise ValueError(f"expected a window aligned to {self.window_min} min UTC")
        return self


class Receipt(Message):
    """The city's answer to one record, sent after its database has committed.

    `stored` frees the device's spool. `refused` does not: the device keeps the record and offers
    it again later, since what was refused (an unknown device, say) can be put right.
    """

    v: Literal[1] = 1
    digest: Digest
    outcome: Literal["stored", "refused"]


class Presence(Message):
    """Whether a device is connected; `offline` is its last will, so it depends on nothing seen."""

    v: Literal[1] = 1
    device: DeviceId
    state: Literal["online", "offline"]
