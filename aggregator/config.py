"""The aggregator's configuration: one TOML file, unknown keys refused, one line for a mistake."""

import json
import os
import stat
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aggregator.core.language import Language
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


class Amqp(_Section):
    """RabbitMQ's other door: where several servers share the work. It replaces `mqtt`."""

    urls: tuple[str, ...] = Field(min_length=1, description="amqps://HOST:5671, one a node.")
    user: str = "guest"
    password_file: Path | None = Field(None, description="Or the environment: see `secret`.")
    ca: Path | None = Field(None, description="Certificate authority of the nodes, PEM.")
    queue: str = Field("dizaine.records", min_length=1, description="A quorum queue.")


class Web(_Section):
    """Where the pages are served, and to whom."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    address: str | None = Field(
        None, pattern=r"^https?://.+/$", description="What links in messages begin with."
    )
    public: bool = Field(False, description="Whether a page of released numbers needs no sign-in.")


class Oidc(_Section):
    """Sign-in by the city's identity provider."""

    issuer: str = Field(pattern=r"^https?://.+")
    client_id: str = Field(min_length=1)
    client_secret_file: Path | None = None
    name: str = Field("OIDC", description="What the button says.")
    account_claim: str = Field("email", description="What somebody is called in the audit trail.")
    role_claim: str = Field("groups", description="Where the provider says groups.")
    roles: dict[str, Literal["analyst", "operator", "administrator"]] = Field(
        min_length=1, description="Group to role; nobody without one gets in."
    )


class Mail(_Section):
    """The server that e-mail goes to."""

    host: str = Field(min_length=1)
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca: Path | None = Field(None, description="Of a server whose authority is the city's own.")
    user: str | None = None
    password_file: Path | None = None
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")

    @model_validator(mode="after")
    def _encrypted_unless_here(self) -> Self:
        if self.security == "none" and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"expected security starttls or tls for {self.host}, got none")
        return self


class Smpp(_Section):
    """An SMS centre, SMPP 3.4."""

    provider: Literal["smpp"]
    host: str = Field(min_length=1)
    port: int = Field(2775, ge=1, le=65535)
    system_id: str = Field(min_length=1, max_length=15)
    password_file: Path | None = None
    sender: str = Field(min_length=1, max_length=15)


class Ovh(_Section):
    """OVHcloud's SMS."""

    provider: Literal["ovh"]
    service: str = Field(min_length=1, description="sms-xx00000-1")
    application_key: str = Field(min_length=1)
    application_secret_file: Path | None = None
    consumer_key_file: Path | None = None
    sender: str = Field(min_length=1, max_length=16)
    endpoint: str = Field("https://eu.api.ovh.com/1.0", pattern=r"^https?://")


class Twilio(_Section):
    """Twilio's SMS."""

    provider: Literal["twilio"]
    account: str = Field(min_length=1)
    token_file: Path | None = None
    sender: str = Field(min_length=1)
    endpoint: str = Field("https://api.twilio.com/2010-04-01", pattern=r"^https?://")


class Kannel(_Section):
    """A Kannel gateway's sendsms."""

    provider: Literal["kannel"]
    url: str = Field(pattern=r"^https?://.+/sendsms$")
    user: str = Field(min_length=1)
    password_file: Path | None = None
    sender: str = Field(min_length=1)


class Apprise(_Section):
    """Any SMS service that Apprise knows."""

    provider: Literal["apprise"]
    url_file: Path | None = Field(None, description="One URL; {to} stands for the number.")


class Gammu(_Section):
    """A GSM modem, through the folders of gammu-smsd."""

    provider: Literal["gammu"]
    outbox: Path
    sent: Path
    errors: Path


Sms = Annotated[Smpp | Ovh | Twilio | Kannel | Apprise | Gammu, Field(discriminator="provider")]


class Commands(_Section):
    """The key that stop commands are signed with."""

    key_file: Path = Field(description="PEM, from dizaine-aggregator command-key.")


class Fleet(_Section):
    """What certifies devices, from dizaine-aggregator authority."""

    folder: Path = Field(description="fleet.pem and fleet.key; root.key stays offline.")
    certificate_days: int = Field(90, ge=7, le=825, description="Devices renew at a third.")
    revoked: Path | None = Field(None, description="Where the list for the broker is written.")


class Retention(_Section):
    """What is deleted, and when. Released records are kept."""

    alerts_days: int = Field(365, ge=7, le=365, description="Alerts, register, messages.")
    trail_days: int = Field(1095, ge=366, le=3650, description="The audit trail.")


class Metrics(_Section):
    """Where Prometheus may ask."""

    host: str = "127.0.0.1"
    port: int = Field(9108, ge=1, le=65535)


class Workers(_Section):
    """What this process does; one server does all of it."""

    ingest: bool = True
    alerts: bool = True
    delivery: bool = True
    web: bool = True


class Log(_Section):
    """How the log is written, to standard error."""

    form: Literal["logfmt", "json"] = "logfmt"


class AggregatorConfig(_Section):
    """All of it."""

    database: str = Field(
        pattern=r"^(sqlite:///|postgresql\+psycopg://).+",
        description="sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE",
    )
    mqtt: Mqtt = Mqtt()
    amqp: Amqp | None = None
    web: Web = Web()
    oidc: Oidc | None = None
    mail: Mail | None = None
    sms: Sms | None = None
    commands: Commands | None = None
    fleet: Fleet | None = None
    retention: Retention = Retention()
    metrics: Metrics | None = None
    workers: Workers = Workers()
    log: Log = Log()
    timezone: TimeZone = "Europe/Paris"
    language: Language = Field("fr", description="Where a browser asks for neither.")


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


def secret(name: str, path: Path | None) -> str:
    """Return a secret from its file, or from the environment.

    Args:
        name: such as `mail.password`; in the environment it is DIZAINE_MAIL_PASSWORD.
        path: the file, if one is configured.

    Raises:
        ConfigError: there is none, it cannot be read, or others may read it.
    """
    variable = f"DIZAINE_{name.replace('.', '_').upper()}"
    if path is None:
        found = os.environ.get(variable)
        if not found:
            raise ConfigError(f"{name}: expected {name}_file, or {variable} in the environment")
        return found
    try:
        mode = path.stat().st_mode
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"{name}_file {path}: cannot be read ({reason})") from None
    if mode & stat.S_IRWXO:
        raise ConfigError(f"{name}_file {path}: everybody may read it; run: chmod o-rwx {path}")
    if not found:
        raise ConfigError(f"{name}_file {path}: expected a secret, and it is empty")
    return found
