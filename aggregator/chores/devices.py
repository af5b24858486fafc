"""The registry of devices."""

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import ValidationError

from aggregator.chores.console import ChoreError, Commands, group, note, now_s, open_database, say
from aggregator.config import AggregatorConfig
from aggregator.core.verdict import Device
from aggregator.issuing import Issuer
from aggregator.store.database import Database
from aggregator.store.registry import Place
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import FLEET
from edge_agent.wire.signature import EXPONENT, MODULUS_BITS, SIGNATURE_SIZE

_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_SCOPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?")
_TAG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def _public_key(path: Path) -> bytes:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ChoreError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    numbers = key.public_numbers() if isinstance(key, RSAPublicKey) else None
    if numbers is None or numbers.n.bit_length() != MODULUS_BITS or numbers.e != EXPONENT:
        raise ChoreError(
            f"{path}: expected a device's public key (RSA, {MODULUS_BITS} bits) in PEM,"
            " from dizaine-agent keygen"
        )
    return numbers.n.to_bytes(SIGNATURE_SIZE)


def place_of(given: argparse.Namespace, device: str) -> Place:
    """Return where a device hangs, as the arguments say."""
    for tag in given.tag:
        if not _TAG.fullmatch(tag):
            raise ChoreError(f"--tag: expected a-z, 0-9 and inner hyphens, got {tag}")
    return Place(given.site, given.label or device, given.vehicle_line, tuple(given.tag))


def _name_scopes(database: Database, given: argparse.Namespace) -> None:
    named = [text.partition("=") for text in given.scope]
    for scope, _, label in named:
        if not (_SCOPE.fullmatch(scope) and label):
            raise ChoreError(f"--scope: expected LINE=LABEL such as main=Door, got {scope}")
    for scope, _, label in named:
        database.registry.name_scope(given.device, scope, label)


def add(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Register a device."""
    if not _DEVICE.fullmatch(given.device) or given.device == FLEET:
        raise ChoreError(
            f"expected 3 to 32 of a-z, 0-9 and inner hyphens, and not {FLEET}, got {given.device}"
        )
    device = Device(given.device, _public_key(given.public_key), revoked=False)
    declared = declaration(given.declaration) if given.declaration else None
    if declared is not None and declared.device != given.device:
        raise ChoreError(f"{given.declaration}: of {declared.device}, not of {given.device}")
    place = place_of(given, given.device)
    database = open_database(config)
    if not database.registry.add(device, place, now_s()):
        raise ChoreError(f"{given.device}: there is such a device already; choose another id")
    _name_scopes(database, given)
    if declared is not None:
        database.registry.declare(declared, now_s())
    note(database, "device-added", device=given.device)
    return 0


def move(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Say anew where a device hangs and what its lines are called."""
    place, database = place_of(given, given.device), open_database(config)
    if not database.registry.move(given.device, place):
        raise ChoreError(f"{given.device}: no such device; see: devices list")
    _name_scopes(database, given)
    note(database, "device-moved", device=given.device, site=given.site)
    return 0


def declare(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Take in a device's new declaration."""
    declared, database = declaration(given.declaration), open_database(config)
    if not database.registry.declare(declared, now_s()):
        raise ChoreError(f"{declared.device}: no such device; see: devices list")
    note(database, "device-declared", device=declared.device, fingerprint=declared.fingerprint())
    return 0


def declaration(path: Path) -> Declaration:
    """Read what a device declares.

    Raises:
        ChoreError: it cannot be read.
    """
    try:
        return Declaration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ChoreError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ChoreError(
            f"{path}: expected what dizaine-agent declare prints: {first['msg']}"
        ) from None


def show(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """List all devices."""
    for row in open_database(config).registry.all():
        state = "revoked" if row.revoked_s is not None else "active"
        say(f"{row.id}\t{state}\t{row.site}\t{row.label}")
    return 0


def revoke(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Believe a device no longer."""
    database = open_database(config)
    if not database.registry.revoke(given.device, now_s()):
        raise ChoreError(f"{given.device}: no such active device; see: devices list")
    with database.engine.begin() as connection:
        database.fleet.revoke(connection, given.device, now_s())
    if config.fleet and config.fleet.revoked:
        now = datetime.fromtimestamp(now_s(), UTC)
        say(f"{Issuer(config, database).write_revoked_list(None, now)}: have the broker read it")
    note(database, "device-revoked", device=given.device)
    return 0


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    devices = group(top, "devices", "the registry of devices")
    text = "all devices"
    devices.add_parser("list", parents=[shared], help=text).set_defaults(chore=show)
    gone = devices.add_parser("revoke", parents=[shared], help="believe a device no longer")
    gone.add_argument("device", metavar="ID")
    gone.set_defaults(chore=revoke)
    declared = "what the device declares in public, from dizaine-agent declare"
    place = argparse.ArgumentParser(add_help=False, parents=[place_parser()])
    place.add_argument("device", metavar="ID")
    place.add_argument(
        "--scope", action="append", default=[], metavar="LINE=LABEL", help="what a line is called"
    )
    make = devices.add_parser("add", parents=[shared, place], help="register a device")
    make.add_argument(
        "--public-key", type=Path, required=True, help="PEM, from dizaine-agent keygen"
    )
    make.add_argument("--declaration", type=Path, help=declared)
    make.set_defaults(chore=add)
    own = devices.add_parser("move", parents=[shared, place], help="say anew where it hangs")
    own.set_defaults(chore=move)
    anew = devices.add_parser("declare", parents=[shared], help="a device's new declaration")
    anew.add_argument("--declaration", type=Path, required=True, help=declared)
    anew.set_defaults(chore=declare)


def place_parser() -> argparse.ArgumentParser:
    """Return the arguments that say where a device hangs."""
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--site", required=True, help="where it hangs, as pages say it")
    place.add_argument("--label", default="", help="what it is called there")
    place.add_argument("--vehicle-line", default="", help="the line that its bus serves")
    place.add_argument("--tag", action="append", default=[], help="a word to choose it by")
    return place
