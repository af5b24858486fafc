"""`dizaine-aggregator`: what runs in the city."""

import argparse
import logging
import re
import sys
import time
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import ValidationError

from aggregator import config as configuration
from aggregator.app import ServerError, serve
from aggregator.config import AggregatorConfig, ConfigError
from aggregator.core.verdict import Device
from aggregator.io.ingest import MqttError
from aggregator.store.database import Database, DatabaseError
from edge_agent.wire import audit
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.signature import EXPONENT, MODULUS_BITS, SIGNATURE_SIZE

WRONG_INPUT = 2
_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_SCOPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?")


class RegistryError(RuntimeError):
    """A device cannot be registered or revoked as asked; one line says what to do."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 2 where the input is wrong."""
    given = _parser().parse_args(argv)
    try:
        config = configuration.load(given.config)
        if given.command == "run":
            _log_to_stderr()
            serve(config)
        elif given.command == "journal":
            return _JOURNAL[given.action](config)
        else:
            _DEVICES[given.action](config, given)
    except (ConfigError, DatabaseError, MqttError, RegistryError, ServerError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever typed the command
        return WRONG_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dizaine-aggregator", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, required=True, help="aggregator.toml")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", parents=[shared], help="receive, store and show")
    devices = commands.add_parser("devices", help="the registry of devices")
    actions = devices.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[shared], help="all devices")
    revoke = actions.add_parser("revoke", parents=[shared], help="believe a device no longer")
    revoke.add_argument("device", metavar="ID")
    add = actions.add_parser("add", parents=[shared], help="register a device")
    add.add_argument("device", metavar="ID")
    add.add_argument(
        "--public-key", type=Path, required=True, help="PEM, from dizaine-agent keygen"
    )
    add.add_argument("--site", required=True, help="where it hangs, as pages say it")
    add.add_argument("--label", default="", help="what it is called there")
    declared = "what the device declares in public, from dizaine-agent declare"
    add.add_argument("--declaration", type=Path, help=declared)
    declare = actions.add_parser("declare", parents=[shared], help="a device's new declaration")
    declare.add_argument("--declaration", type=Path, required=True, help=declared)
    add.add_argument(
        "--scope", action="append", default=[], metavar="LINE=LABEL", help="what a line is called"
    )
    journal = commands.add_parser("journal", help="all that ever left a device")
    deeds = journal.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "check the chain, every signature, and every record against the rules"
    deeds.add_parser("verify", parents=[shared], help=text)
    deeds.add_parser("export", parents=[shared], help="write the journal to standard output")
    return parser


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _public_key(path: Path) -> bytes:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise RegistryError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    numbers = key.public_numbers() if isinstance(key, RSAPublicKey) else None
    if numbers is None or numbers.n.bit_length() != MODULUS_BITS or numbers.e != EXPONENT:
        raise RegistryError(
            f"{path}: expected a device's public key (RSA, {MODULUS_BITS} bits) in PEM,"
            " from dizaine-agent keygen"
        )
    return numbers.n.to_bytes(SIGNATURE_SIZE)


def _add(config: AggregatorConfig, given: argparse.Namespace) -> None:
    if not _DEVICE.fullmatch(given.device):
        raise RegistryError(f"expected 3 to 32 of a-z, 0-9 and inner hyphens, got {given.device}")
    named = [text.partition("=") for text in given.scope]
    for scope, _, label in named:
        if not (_SCOPE.fullmatch(scope) and label):
            raise RegistryError(f"--scope: expected LINE=LABEL such as main=Door, got {scope}")
    device = Device(given.device, _public_key(given.public_key), revoked=False)
    declared = _declaration(given.declaration) if given.declaration else None
    if declared is not None and declared.device != given.device:
        raise RegistryError(f"{given.declaration}: of {declared.device}, not of {given.device}")
    database = Database(config.database)
    now_s = int(time.time())  # noqa: TID251 - the clock comes in here
    if not database.add_device(device, given.site, given.label or given.device, now_s):
        raise RegistryError(f"{given.device}: there is such a device already; choose another id")
    for scope, _, label in named:
        database.name_scope(given.device, scope, label)
    if declared is not None:
        database.declare(declared, now_s)


def _declaration(path: Path) -> Declaration:
    try:
        return Declaration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RegistryError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RegistryError(
            f"{path}: expected what dizaine-agent declare prints: {first['msg']}"
        ) from None


def _declare(config: AggregatorConfig, given: argparse.Namespace) -> None:
    declared = _declaration(given.declaration)
    now_s = int(time.time())  # noqa: TID251
    if not Database(config.database).declare(declared, now_s):
        raise RegistryError(f"{declared.device}: no such device; see: devices list")


def _verify(config: AggregatorConfig) -> int:
    grave = 0
    for found in audit.check(Database(config.database).journal()):
        if isinstance(found, audit.Audit):
            print(f"{found.entries} entries, end of the chain {found.chain}")  # noqa: T201
        else:
            grave += found.grave
            print(found)  # noqa: T201
    print("everything holds" if not grave else f"{grave} things are wrong")  # noqa: T201
    return 1 if grave else 0


def _export(config: AggregatorConfig) -> int:
    for line in Database(config.database).journal():
        print(line)  # noqa: T201
    return 0


def _list(config: AggregatorConfig, _given: argparse.Namespace) -> None:
    for row in Database(config.database).devices():
        state = "revoked" if row.revoked_s is not None else "active"
        print(f"{row.id}\t{state}\t{row.site}\t{row.label}")  # noqa: T201 - its answer


def _revoke(config: AggregatorConfig, given: argparse.Namespace) -> None:
    now_s = int(time.time())  # noqa: TID251
    if not Database(config.database).revoke_device(given.device, now_s):
        raise RegistryError(f"{given.device}: no such active device; see: devices list")


_DEVICES = {"add": _add, "list": _list, "revoke": _revoke, "declare": _declare}
_JOURNAL = {"verify": _verify, "export": _export}

if __name__ == "__main__":
    sys.exit(main())
