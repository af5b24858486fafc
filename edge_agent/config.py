"""The device's configuration: what may be set, its limits, and one line for each mistake.

A configuration is one TOML file. Unknown keys are refused, nothing is coerced, and `k` may only
be raised. This module reads that file and nothing else; it opens no camera and no connection.
"""

import hashlib
import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from edge_agent.wire.messages import K_FLOOR, DeviceId, ScopeId, WindowMinutes

ClockTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
"""A time of day, `HH:MM`, up to `24:00`."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""A coordinate as a fraction of the picture's width or height."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message is one line that says what to do."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"expected a time zone such as Europe/Paris, got {name}") from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Camera(_Section):
    """Where pictures come from."""

    source: str = Field(min_length=1, description="A device (/dev/video0), rtsp://… or a file.")
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
    runtime: Literal["litert", "tflite"] = Field("litert", description="What runs it.")
    threads: int = Field(2, ge=1, le=16)


class Line(_Section):
    """A counting line from `start` to `end`, as fractions of the picture.

    Walking along it from start to end, `forward` passages go from its left hand to its right::

              end
               │
      left ─── │ ──► right: forward      (here start is below: y grows downwards)
               │
             start
    """

    id: ScopeId
    start: tuple[Fraction, Fraction]
    end: tuple[Fraction, Fraction]

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        length = max(abs(a - b) for a, b in zip(self.start, self.end, strict=True))
        if length < 0.02:
            raise ValueError(
                f"line {self.id} cannot count: expected a length of at least 2 % of the picture,"
                f" got {100 * length:.1f} %; move its ends apart"
            )
        return self


class Service(_Section):
    """The declared service hours; outside them a record says `closed` (release rule R1)."""

    opens: ClockTime = "00:00"
    closes: ClockTime = "24:00"
    timezone: TimeZone = "Europe/Paris"

    @model_validator(mode="after")
    def _opens_before_it_closes(self) -> Self:
        if self.opens >= self.closes:
            raise ValueError(f"expected opens before closes, got {self.opens} and {self.closes}")
        return self


class Release(_Section):
    """What may be said, and when. The floor of k is a constant of the wire contract."""

    k: int = Field(K_FLOOR, ge=K_FLOOR, le=1000, description="May only be raised.")
    window_min: WindowMinutes = 15
    delay_s: float = Field(20.0, ge=0, le=300, description="Fixed delay after a window's end (R1).")
    service: Service = Service()


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
    data_dir: Path = Field(description="Spool and ledger: the publisher's only writable folder.")
    key_file: Path = Field(
        description="The device's Ed25519 signing key, PEM; vision alone reads it."
    )
    camera: Camera
    replay: Replay = Replay()
    detector: Detector = Detector()
    lines: tuple[Line, ...] = Field(min_length=1, max_length=8)
    release: Release = Release()
    mqtt: Mqtt = Mqtt()

    @model_validator(mode="after")
    def _one_scope_one_line(self) -> Self:
        names = [line.id for line in self.lines]
        if len(set(names)) != len(names):
            raise ValueError(f"expected line ids that differ, got {', '.join(names)}")
        return self

    def fingerprint(self) -> str:
        """Return what a record says of the configuration in force: 16 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def load(path: Path) -> AgentConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or says what may not be said.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give another file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from None
    return parse(fields, str(path))


def parse(fields: dict[str, Any], name: str) -> AgentConfig:
    """Check a configuration that has been read; `name` is what messages call it.

    Raises:
        ConfigError: it says what may not be said.
    """
    try:
        return AgentConfig.model_validate_json(json.dumps(fields, default=datetime.isoformat))
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
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [annotation, *get_args(annotation)]
        model = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return list(model.model_fields)
