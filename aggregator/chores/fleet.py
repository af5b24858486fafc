"""What somebody types to let devices join: authority, claims, answers, the list of revoked ones."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from aggregator import issuing
from aggregator.chores.console import COMMAND_LINE, ChoreError, Commands, open_database, say
from aggregator.chores.devices import declaration, place_of, place_parser
from aggregator.config import AggregatorConfig
from aggregator.io import certificates
from aggregator.io.files import new_file
from aggregator.issuing import Issuer, IssuingError, Signed
from edge_agent.wire.enrolment import Enrolment

Made = TypeVar("Made")


def authority(_config: AggregatorConfig | None, given: argparse.Namespace) -> int:
    """Make the fleet's authority."""
    certificates.make_authority(given.out, given.name, _now())
    say(f"{given.out}: take root.key offline; give broker-ca.pem to the broker")
    return 0


def server_certificate(_config: AggregatorConfig | None, given: argparse.Namespace) -> int:
    """Make a certificate for the broker or the city's server; needs the root's key."""
    certificates.make_server(given.authority, given.host, given.out, _now())
    say(f"{given.out}/{given.host}.pem")
    return 0


def claim(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Make a claim for a device that is to join."""
    content = _read(given.configuration)
    signature = _read(given.configuration.with_name(given.configuration.name + ".sig"))
    try:
        signed = Signed(
            content, bytes.fromhex(signature.decode().strip()),
            _read(given.operator_key).decode(), declaration(given.declaration),
        )  # fmt: skip
    except ValueError:
        raise ChoreError(
            f"{given.configuration}.sig: expected a signature in hexadecimal"
        ) from None
    trusted = _read(given.authority).decode() if given.authority else None
    issuer = Issuer(config, open_database(config))
    place = place_of(given, signed.declared.device)
    with new_file(given.out) as out:
        made = _or_say(
            lambda: issuer.make_claim(
                place, signed, _now(), hours=given.hours, authority=trusted, by=COMMAND_LINE
            )
        )
        out.write(made.model_dump_json(indent=1) + "\n")
    say(f"{given.out}: for {made.device}, once, for {given.hours} hours; a secret until then")
    return 0


def answer(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Answer a request that came on a stick."""
    try:
        asked = Enrolment.model_validate_json(_read(given.request))
    except ValidationError:
        raise ChoreError(f"{given.request}: expected a request of dizaine-agent enrol") from None
    issuer = Issuer(config, open_database(config))
    with new_file(given.out) as out:
        made = _or_say(lambda: issuer.enrol(asked, COMMAND_LINE, _now()))
        out.write(made.model_dump_json(indent=1) + "\n")
    say(f"{given.out}: take it back to {asked.device}")
    return 0


def revoked(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Write the list of revoked certificates for the broker."""
    say(str(Issuer(config, open_database(config)).write_revoked_list(given.out, _now())))
    return 0


def _or_say(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except IssuingError as error:
        raise ChoreError(str(error)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ChoreError(f"{path}: cannot be read ({error.strerror})") from None


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the clock comes in


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    text = "make the keys that certify devices: a root, to be kept offline, and the fleet's"
    make = top.add_parser("authority", help=text, description=text)
    make.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    make.add_argument("--name", default="Dizaine", help="what certificates call the city")
    make.set_defaults(chore=authority, config=None)
    text = "make a certificate for the broker or for this server, by the root"
    make = top.add_parser("server-certificate", help=text, description=text)
    make.add_argument("host", metavar="HOST")
    make.add_argument("--authority", type=Path, required=True, metavar="FOLDER")
    make.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    make.set_defaults(chore=server_certificate, config=None)
    text = "let one device join: a secret for its card, good once"
    make = top.add_parser("claim", parents=[shared, place_parser()], help=text, description=text)
    make.add_argument("--configuration", type=Path, required=True, help="agent.toml, signed")
    make.add_argument("--operator-key", type=Path, required=True, help="who signed it, public, PEM")
    make.add_argument(
        "--declaration", type=Path, required=True, help="of it, from dizaine-agent declare"
    )
    make.add_argument(
        "--authority", type=Path, help="who certified this server, unless public, PEM"
    )
    make.add_argument("--hours", type=_hours, default=72, help="how long it is good (default 72)")
    make.add_argument("--out", type=Path, required=True, metavar="FILE")
    make.set_defaults(chore=claim)
    text = "answer a device's request that came on a stick"
    make = top.add_parser("answer", parents=[shared], help=text, description=text)
    make.add_argument("request", type=Path, metavar="REQUEST")
    make.add_argument("--out", type=Path, required=True, metavar="FILE")
    make.set_defaults(chore=answer)
    text = "write the list of revoked certificates for the broker"
    make = top.add_parser("revoked", parents=[shared], help=text, description=text)
    make.add_argument("--out", type=Path, help="where (default: fleet.revoked)")
    make.set_defaults(chore=revoked)


def _hours(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= issuing.MOST_HOURS):
        raise argparse.ArgumentTypeError(f"expected 1 to {issuing.MOST_HOURS} hours, got {text}")
    return int(text)
