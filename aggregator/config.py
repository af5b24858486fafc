"""The aggregator's configuration: one TOML file, unknown keys refused, one line for a mistake."""

import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.wire.declaration import TimeZone


class ConfigError(ValueError):
    """The configuration cannot be used; the message is one line that says what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Mqtt(_Section):
    """The broker. TLS with a client certificate, or, on this machine only, none."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8883, ge=1, le=65535)
    client_id: str = Field("aggregator", min_length=1, max_length=23)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _whole_identity_or_loopback(self) -> Self:
        given = [name for name in ("ca", "certificate", "key") if getattr(self, name) is not None]
        if given and len(given) != 3:
            raise ValueError(f"expected ca, certificate and key together, got {', '.join(given)}")
        if not given and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(
                f"expected ca, certificate and key for a broker on another machine ({self.host})"
            )
        return self


class Web(_Section):
    """Where the pages are served."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)


class AggregatorConfig(_Section):
    """All of it."""

    database: str = Field(
        pattern=r"^(sqlite:///|postgresql\+psycopg://).+",
        description="sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE",
    )
    mqtt: Mqtt = Mqtt()
    web: Web = Web()
    timezone: TimeZone = "Europe/Paris"
    language: Literal["fr", "en"] = Field("fr", description="Where a browser asks for neither.")


def load(path: Path) -> AggregatorConfig:
    """Read and check a configuration file.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or says what may not be said.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        return AggregatorConfig.model_validate_json(json.dumps(fields, default=datetime.isoformat))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give another file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from None
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            raise ConfigError(f"{path}: unknown key {where}") from None
        said = mistake["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {where}: {said}, got {mistake['input']!r}") from None
