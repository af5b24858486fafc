"""The closed set of messages between a device and the city.

This module does not count, release, sign or send. A model here forbids unknown keys, coerces
nothing and holds no free text, no float and no open map; `tests/architecture` keeps it so.
"""

from datetime import UTC, date, datetime, timedelta
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
MAX_DAY_WINDOWS = 100
"""Release rule R12: a day's cell covers at most this many; a day of 25 hours has 100 quarters."""
MASK_BAND = 5
"""Release rule R5: points that a share's band is wide."""
UNJUDGED_BAND = 10
"""Release rule R5: points that the band of what could not be judged is wide."""
MEAN_STEP_CM = 25
"""Release rule R7: a mean distance is a multiple of this."""
OBJECTIONS = "objections"
"""Release rule R12: the scope of a day's objections; no line or zone may be called so."""

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
Profile = Literal["standard", "dp"]
EpsilonMilli = Annotated[int, Field(ge=50, le=10_000)]
"""Thousandths of epsilon."""
Day = Annotated[date, Field(ge=date(2020, 1, 1))]
"""A calendar day, UTC."""
Count = Annotated[int, Field(ge=K_FLOOR, multiple_of=ROUND_TO, le=1_000_000)]
"""A published number of passages: at least k, rounded (release rules R2 and R3)."""


def rounded(count: int) -> int:
    """Return a count rounded to the nearest multiple of 5, halves up, never below 10 (R3)."""
    return max(K_FLOOR, ROUND_TO * ((2 * count + ROUND_TO) // (2 * ROUND_TO)))


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


class Masks(Message):
    """The share of judged passages that wore a mask (release rule R5).

    Attributes:
        bound: `between` says `percent` to `percent` + 5, `at_least` and `at_most` one side alone.
        unjudged: lower end of the band, 10 points wide, of passages that could not be judged.
    """

    bound: Literal["between", "at_least", "at_most"]
    percent: Annotated[int, Field(ge=0, le=100, multiple_of=MASK_BAND)]
    unjudged: Annotated[int, Field(ge=0, le=90, multiple_of=UNJUDGED_BAND)]


class Occupancy(Message):
    """How many people were in a zone on average over time, and how full it was (R6)."""

    mean: Annotated[int, Field(ge=0, le=10_000, multiple_of=ROUND_TO)]
    level: Literal["free", "busy", "crowded", "full"]


Class = Literal["under_10", "under_25", "under_50", "from_50"]
"""Release rule R7: a share in percent, in four classes."""


class Distance(Message):
    """How near people were to the nearest other, one value each (R7)."""

    under_1m: Class | None
    under_2m: Class | None
    mean_cm: Annotated[int, Field(ge=0, le=500, multiple_of=MEAN_STEP_CM)]


class Record(Message):
    """What a device says about one scope and one window (release rule R1).

    An `ok` record speaks of the `covers` windows that end with this one; the others among them
    were `low` and are carried in it.

    Attributes:
        passages, masks: of a line. `masks` only where that module is on.
        occupancy, distance: of a zone, each only where its module is on.
        objections: of a day, in the scope of that name alone (R12).
        epsilon_milli: privacy loss of this release in thousandths; with the profile dp alone.
        config: fingerprint of the declared configuration in force.
        build: fingerprint of the program that speaks.
        development: the surroundings were not safe, and somebody allowed that.
        before: digest of the sealed record before this one in its scope, none for the first.
    """

    v: Literal[1] = 1
    device: DeviceId
    scope: ScopeId
    window: WindowStart
    window_min: WindowMinutes
    status: Status
    covers: Annotated[int, Field(ge=1, le=MAX_DAY_WINDOWS)] = 1
    passages: Directed | Total | None = None
    masks: Masks | None = None
    occupancy: Occupancy | None = None
    distance: Distance | None = None
    objections: Count | None = None
    profile: Profile = "standard"
    epsilon_milli: EpsilonMilli | None = None
    config: Fingerprint
    build: Fingerprint
    development: bool
    before: Digest | None = None

    @model_validator(mode="after")
    def _says_no_more_than_its_status(self) -> Self:
        """R1, R2, R7, R12: a status, a scope and a profile each close some fields.

        1. Only `ok` says anything, and it says something.
        2. Of one kind of scope: a line, a zone, or the day's objections.
        3. The profile dp names its epsilon, merges no windows and speaks of passages alone.
        4. Windows are aligned, and a batch is no longer than it may be.
        """
        # 1.
        zone = self.occupancy is not None or self.distance is not None
        kinds = (self.passages is not None, zone, self.objections is not None)
        if sum(kinds) != (self.status == "ok"):
            raise ValueError("expected numbers of one scope with status ok and none with another")
        # 2.
        if self.masks is not None and self.passages is None:
            raise ValueError("expected masks with passages alone")
        if self.status == "ok" and (self.objections is not None) != (self.scope == OBJECTIONS):
            raise ValueError(f"expected objections in the scope {OBJECTIONS} and nowhere else")
        # 3.
        private = self.profile == "dp"
        if (self.epsilon_milli is not None) != private:
            raise ValueError("expected epsilon_milli with the profile dp and with no other")
        if private and (zone or self.objections is not None or self.covers > 1):
            raise ValueError("expected passages of one window alone with the profile dp")
        # 4.
        if self.covers != 1 and self.status != "ok":
            raise ValueError("expected covers 1 unless the status is ok")
        if self.covers > MAX_CARRIED_WINDOWS and self.objections is None:
            raise ValueError(f"expected covers of at most {MAX_CARRIED_WINDOWS}")
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


StopNumber = Annotated[int, Field(ge=0, le=1_000_000_000)]
"""Of a stop command; a later one of the same target has a higher number. 0: none came yet."""
FLEET = "fleet"
"""The target of a command for all devices; no device may be called so."""
Stoppable = Literal["masks", "occupancy", "distance", "alerts", "scene-events"]
"""Modules that a command can stop."""


class Presence(Message):
    """Whether a device is connected; `offline` is its last will, so it depends on nothing seen.

    Attributes:
        fleet_stop, own_stop: numbers of the newest commands it obeys; 0 in the last will.
    """

    v: Literal[1] = 1
    device: DeviceId
    state: Literal["online", "offline"]
    fleet_stop: StopNumber = 0
    own_stop: StopNumber = 0


class Health(Message):
    """A device's daily word on itself (release rule R11): fixed schedule, fixed size, no crowd.

    Attributes:
        day: that it speaks of, UTC; it is sent once that is over.
        config, build: fingerprints, as in a record.
        confined: the surroundings were safe and the sandbox closed.
        certificate_ends: last day of the broker certificate, where there is one.
        latency: no frame outlived its time. kept_up: fewer than one in a hundred were dropped.
        disk: the disk took all that was written. clock: it made no step of more than five seconds.
    """

    v: Literal[1] = 1
    device: DeviceId
    day: Day
    config: Fingerprint
    build: Fingerprint
    confined: bool
    certificate_ends: Day | None
    latency: bool
    kept_up: bool
    disk: bool
    clock: bool


class Stop(Message):
    """What must not run, from this command on, until another lifts it.

    A command says all that is stopped for its target, so that the newest one is all that counts.

    Attributes:
        target: a device, or `fleet`. Both are obeyed together: what either stops is stopped.
        number: higher than that of any command before to this target.
        everything: the camera is closed.
        modules: these are off.
    """

    v: Literal[1] = 1
    target: DeviceId
    number: Annotated[int, Field(ge=1, le=1_000_000_000)]
    everything: bool
    modules: Annotated[tuple[Stoppable, ...], Field(max_length=8)] = ()
