"""The device's configuration: what may be set, its limits, and one line for each mistake.

A configuration is one TOML file. Unknown keys are refused, nothing is coerced, and `k` may only
be raised. This module reads that file and nothing else; it opens no camera and no connection, and
checks no signature: it is told whether there is a valid one.
"""

import json
import tomllib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.wire.declaration import (
    Declaration,
    DpBudget,
    Fraction,
    Line,
    Module,
    ModuleName,
    Reason,
    Service,
    Vehicle,
    Zone,
)
from edge_agent.wire.messages import K_FLOOR, DeviceId, Profile, WindowMinutes

NOT_IN_THIS_BUILD = frozenset({"scene-events"})
"""Modules that a configuration may name and that nothing measures yet."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message is one line that says what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Camera(_Section):
    """Where pictures come from."""

    source: str = Field(min_length=1, description="A device (/dev/video0), rtsp://… or a file.")
    view: Literal["side", "overhead"] = Field(
        "side", description="Overhead where it looks straight down, as at a bus door."
    )
    width: int | None = Field(None, ge=64, le=4096, description="Asked of the camera; files: none.")
    height: int | None = Field(None, ge=64, le=4096)
    fps: float | None = Field(
        None, gt=0, le=120, description="Asked of the camera; of a file: the rate it was shot at."
    )
    stall_s: float = Field(5.0, ge=0.5, le=60, description="A read that hangs longer is abandoned.")


class Replay(_Section):
    """How a file stands in for a camera; for demonstrations and tests."""

    start: AwareDatetime | None = Field(None, description="Event time of the first frame.")
    loop: bool = Field(False, description="Begin again at the end, time going on.")
    pace: Literal["real", "fast"] = Field("real", description="Wait between frames, or do not.")


class Detector(_Section):
    """What finds people. Another detector is another name here, nothing else."""

    model: str = Field("person-ssdlite-coco", description="A folder of models/weights.")
    models_dir: Path | None = Field(None, description="Where that folder is, if not as installed.")
    face_model: str = Field("face-centerface", description="What finds faces, where needed.")
    mask_model: str = Field("mask-centerface", description="What judges masks on them.")
    runtime: Literal["litert", "tflite", "coral", "onnx"] = Field(
        "litert", description="What runs them: the CPU, an Edge TPU, or a Jetson's GPU (onnx)."
    )
    without_accelerator: Literal["cpu", "refuse"] = Field(
        "cpu", description="What to do where runtime names an accelerator that is not there."
    )
    threads: int = Field(2, ge=1, le=16)


class Dp(_Section):
    """What the profile dp may spend, in units of epsilon."""

    epsilon: float = Field(ge=0.05, le=10, description="Of one release.")
    day_budget: float = Field(gt=0, le=10_000, description="Of all releases of a local day.")


class Release(_Section):
    """What may be said, and when. The floor of k is a constant of the wire contract."""

    k: int = Field(K_FLOOR, ge=K_FLOOR, le=1000, description="May only be raised.")
    window_min: WindowMinutes = 15
    delay_s: float = Field(20.0, ge=0, le=300, description="Fixed delay after a window's end (R1).")
    service: Service = Service()
    profile: Profile = "standard"
    dp: Dp | None = Field(None, description="With the profile dp alone.")


class ModuleSettings(_Section):
    """Why a module may run, for what, who answers for it, and from when until when."""

    legal_basis: Reason
    purpose: Reason
    contact: Reason
    start: AwareDatetime
    end: AwareDatetime


class Mark(_Section):
    """A point of the floor: in the picture, as fractions, and on the floor, in metres."""

    picture: tuple[Fraction, Fraction]
    floor_m: tuple[float, float]


class Square(_Section):
    """A square on the floor: its corners in the picture, one after the other, and its side."""

    corners: tuple[tuple[Fraction, Fraction], ...] = Field(min_length=4, max_length=4)
    side_m: float = Field(gt=0.1, le=50)


class Ground(_Section):
    """Where the picture's floor is, for distances: marks, or one square."""

    marks: tuple[Mark, ...] = ()
    square: Square | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.square is None) == (not self.marks):
            raise ValueError("expected marks, or a square, and not both")
        return self


class Objection(_Section):
    """A head shake "no" takes a person out of every count: a courtesy, not a legal right."""

    enabled: bool = Field(False, description="Whether faces are watched for head shakes.")
    light: Path | None = Field(
        None, description="What lights up then: /sys/class/leds/NAME/brightness."
    )
    light_s: float = Field(2.0, ge=0.5, le=10, description="How long it does.")


class Commands(_Section):
    """Whose stop commands are obeyed: the city's, at once and after a restart, until lifted."""

    public_key: Path | None = Field(
        None, description="PEM, from dizaine-aggregator command-key; without it, nobody's."
    )


class Updates(_Section):
    """Where the operator offers updates; docs/install.md."""

    url: str | None = Field(
        None, pattern=r"^https://[^\s]+[^/]$", description="Folders DEVICE/KIND, and fleet/KIND."
    )


class Mqtt(_Section):
    """The broker. TLS with a client certificate, or, on this machine only, none."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8883, ge=1, le=65535)
    ca: Path | None = Field(None, description="Certificate authority of the broker, PEM.")
    certificate: Path | None = Field(None, description="This device's certificate, PEM.")
    key: Path | None = Field(None, description="Its private key, PEM.")
    keepalive_s: int = Field(60, ge=5, le=1200)

    @model_validator(mode="after")
    def _whole_identity_or_loopback(self) -> Self:
        given = [name for name in ("ca", "certificate", "key") if getattr(self, name) is not None]
        if given and len(given) != 3:
            raise ValueError(
                f"expected ca, certificate and key together, got {' and '.join(given)}"
            )
        if not given and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(
                f"expected ca, certificate and key for a broker on another machine ({self.host});"
                " only a broker on this machine may go without"
            )
        return self


class AgentConfig(_Section):
    """All of it."""

    device: DeviceId
    number: int = Field(
        0, ge=0, le=1_000_000_000, description="Of this configuration; the next one's is higher."
    )
    data_dir: Path = Field(description="Spool and ledger: the publisher's only writable folder.")
    link: Path | None = Field(
        None,
        description="Socket where vision and publisher meet as two users of one group; else they"
        " are one user, and meet in data_dir.",
    )
    key_file: Path = Field(description="The device's signing key, PEM; vision alone reads it.")
    camera: Camera
    replay: Replay = Replay()
    detector: Detector = Detector()
    lines: tuple[Line, ...] = Field(min_length=1, max_length=8)
    zones: tuple[Zone, ...] = Field((), max_length=4)
    ground: Ground | None = Field(None, description="Needed to measure distances.")
    vehicle: Vehicle | None = Field(None, description="Its doors are lines; people on board.")
    objection: Objection = Objection()
    release: Release = Release()
    modules: dict[ModuleName, ModuleSettings] = Field(
        default_factory=dict, description="Off unless named here, and this file signed."
    )
    mqtt: Mqtt = Mqtt()
    commands: Commands = Commands()
    updates: Updates = Updates()

    @model_validator(mode="after")
    def _modules_have_what_they_need(self) -> Self:
        for name, needed, there in (
            ("occupancy", "[[zones]] or [vehicle]", bool(self.zones or self.vehicle)),
            ("distance", "[[zones]]", bool(self.zones)),
            ("distance", "[ground]", self.ground is not None),
        ):
            if name in self.modules and not there:
                raise ValueError(f"modules.{name}: cannot measure without {needed}; add it")
        if self.camera.view == "overhead" and ("masks" in self.modules or self.objection.enabled):
            what = "modules.masks" if "masks" in self.modules else "objection.enabled"
            raise ValueError(f"{what}: no face is seen from straight above; leave it away")
        return self

    @property
    def meeting_point(self) -> Path:
        """Return the socket that vision listens on."""
        return self.link or self.data_dir / "agent.sock"

    def declaration(self, *, signed: bool) -> Declaration:
        """Return the public part: what decides what may be said.

        Raises:
            pydantic.ValidationError: the parts do not hold together.
        """
        release = self.release
        return Declaration(
            device=self.device,
            number=self.number,
            signed=signed,
            k=release.k,
            window_min=release.window_min,
            delay_s=release.delay_s,
            service=release.service,
            profile=release.profile,
            dp=None
            if release.dp is None
            else DpBudget(
                epsilon_milli=round(1000 * release.dp.epsilon),
                day_budget_milli=round(1000 * release.dp.day_budget),
            ),
            lines=self.lines,
            zones=self.zones,
            vehicle=self.vehicle,
            objection=self.objection.enabled,
            modules=tuple(
                Module(name=name, **dict(settings)) for name, settings in self.modules.items()
            ),
            detector=self.detector.model if self.camera.view == "side" else "overhead",
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that has been checked, and its public part."""

    agent: AgentConfig
    declared: Declaration


def read(path: Path) -> bytes:
    """Return a configuration file's bytes, which are what an operator signs.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give another file") from None


def parse(content: bytes, name: str, *, signed: bool) -> Loaded:
    """Check a configuration's bytes; `name` is what messages call them.

    Raises:
        ConfigError: they are not TOML, or say what may not be said.
    """
    try:
        fields = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: expected TOML: {error}") from None
    try:
        text = json.dumps(fields, default=datetime.isoformat)
        agent = AgentConfig.model_validate_json(text)
        return Loaded(agent, agent.declaration(signed=signed))
    except ValidationError as error:
        raise ConfigError(f"{name}: {_first_mistake(error)}") from None


def _first_mistake(error: ValidationError) -> str:
    mistake = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in mistake["loc"])
    match mistake["type"]:
        case "extra_forbidden":
            return f"unknown key {where}; known here: {', '.join(_known_keys(mistake['loc'][:-1]))}"
        case "missing":
            return f"{where} is missing; add it"
        case "value_error":
            return f"{where}: {mistake['msg'].removeprefix('Value error, ')}".removeprefix(": ")
        case _:
            pass
    if where == "release.k":
        return (
            f"release.k: expected a whole number from {K_FLOOR}, got {mistake['input']!r};"
            " k may only be raised"
        )
    if where.startswith("lines.") and len(mistake["loc"]) > 3:
        return (
            f"{where}: expected a fraction of the picture from 0 to 1, got {mistake['input']!r};"
            " the line must lie inside the picture"
        )
    return f"{where}: {mistake['msg']}, got {mistake['input']!r}"


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = AgentConfig
    for part in path:
        if part not in model.model_fields:
            continue
        annotation = model.model_fields[str(part)].annotation
        inner = [annotation, *get_args(annotation)]
        model = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return list(model.model_fields)
