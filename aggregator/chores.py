"""What an administrator does from a command line; `__main__` says how each is called."""

import argparse
import getpass
import re
import smtplib
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import ValidationError

from aggregator import commands, rulebook
from aggregator.config import AggregatorConfig, Apprise, ConfigError, Gammu, Mail, secret
from aggregator.core.roles import role
from aggregator.core.verdict import Device
from aggregator.io import channels
from aggregator.issuing import Issuer
from aggregator.store import backup
from aggregator.store.database import Database, DatabaseError
from aggregator.store.engine import Engine
from aggregator.store.registry import Place
from edge_agent.wire import audit
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import FLEET, Stop
from edge_agent.wire.signature import EXPONENT, MODULUS_BITS, SIGNATURE_SIZE

COMMAND_LINE = "command line"
"""Who the trail says it was."""
_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_SCOPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?")
_TAG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


class ChoreError(RuntimeError):
    """Something cannot be done as asked; one line says what to do."""


def say(text: str) -> None:
    """Tell whoever typed the command."""
    print(text)  # noqa: T201 - for whoever typed the command


def _now_s() -> int:
    return int(time.time())  # noqa: TID251 - the clock comes in here


def open_database(config: AggregatorConfig) -> Database:
    """Open the city's database."""
    return Database(config.database, config.timezone)


# -- devices


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


def devices_add(config: AggregatorConfig, given: argparse.Namespace) -> int:
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
    if not database.registry.add(device, place, _now_s()):
        raise ChoreError(f"{given.device}: there is such a device already; choose another id")
    _name_scopes(database, given)
    if declared is not None:
        database.registry.declare(declared, _now_s())
    _note(database, "device-added", device=given.device)
    return 0


def devices_move(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Say anew where a device hangs and what its lines are called."""
    place, database = place_of(given, given.device), open_database(config)
    if not database.registry.move(given.device, place):
        raise ChoreError(f"{given.device}: no such device; see: devices list")
    _name_scopes(database, given)
    _note(database, "device-moved", device=given.device, site=given.site)
    return 0


def devices_declare(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Take in a device's new declaration."""
    declared, database = declaration(given.declaration), open_database(config)
    if not database.registry.declare(declared, _now_s()):
        raise ChoreError(f"{declared.device}: no such device; see: devices list")
    _note(database, "device-declared", device=declared.device, fingerprint=declared.fingerprint())
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


def devices_list(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """List all devices."""
    for row in open_database(config).registry.all():
        state = "revoked" if row.revoked_s is not None else "active"
        say(f"{row.id}\t{state}\t{row.site}\t{row.label}")
    return 0


def devices_revoke(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Believe a device no longer."""
    database = open_database(config)
    if not database.registry.revoke(given.device, _now_s()):
        raise ChoreError(f"{given.device}: no such active device; see: devices list")
    with database.engine.begin() as connection:
        database.fleet.revoke(connection, given.device, _now_s())
    if config.fleet and config.fleet.revoked:
        now = datetime.fromtimestamp(_now_s(), UTC)
        say(f"{Issuer(config, database).write_revoked_list(None, now)}: have the broker read it")
    _note(database, "device-revoked", device=given.device)
    return 0


def _note(database: Database, act: str, **what: object) -> None:
    with database.engine.begin() as connection:
        database.trail.note(connection, _now_s(), COMMAND_LINE, act, **what)


# -- accounts


def _password(given: argparse.Namespace) -> str | None:
    if given.password_file is not None:
        return secret("password", given.password_file)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n") or None
    return getpass.getpass("password: ") or None


def users_set(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Make an account, or change it."""
    password = _password(given)
    database = open_database(config)
    try:
        chosen = role(given.role)
        with database.engine.begin() as connection:
            database.accounts.set(connection, given.account, password, chosen, _now_s())
            database.trail.note(
                connection, _now_s(), COMMAND_LINE, "account-set", account=given.account,
                role=given.role,
            )  # fmt: skip
    except ValueError as error:
        raise ChoreError(str(error)) from None
    return 0


def users_list(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """List all accounts."""
    for account in open_database(config).accounts.all():
        say(f"{account.name}\t{account.role.name.lower()}")
    return 0


def users_remove(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Remove an account."""
    database = open_database(config)
    with database.engine.begin() as connection:
        gone = database.accounts.remove(connection, given.account)
        if gone:
            database.trail.note(
                connection, _now_s(), COMMAND_LINE, "account-removed", account=given.account
            )
    if not gone:
        raise ChoreError(f"{given.account}: no such account; see: users list")
    return 0


# -- rules


def rules_check(_config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Read a file of rules and say what is wrong with it."""
    book = rulebook.load(given.file)
    say(f"{len(book.rules)} rules, {len(book.people)} people: good")
    return 0


def rules_apply(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Put a file of rules in force."""
    book = rulebook.load(given.file)
    text = given.file.read_text(encoding="utf-8")
    database = open_database(config)
    with database.engine.begin() as connection:
        database.alerts.set_book(connection, text, book, COMMAND_LINE, _now_s())
        database.trail.note(
            connection, _now_s(), COMMAND_LINE, "rules-changed",
            rules=[rule.name for rule in book.rules],
        )  # fmt: skip
    say(f"{len(book.rules)} rules are in force")
    return 0


def rules_show(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Print the rules in force."""
    say(open_database(config).alerts.text().rstrip("\n"))
    return 0


# -- stops


def command_key(_config: AggregatorConfig | None, given: argparse.Namespace) -> int:
    """Make the key that stop commands are signed with."""
    say(str(commands.make_key(given.out)))
    return 0


def stop(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Stop modules, or everything, at a device or the fleet, beside what is stopped already."""
    if not (given.everything or given.module):
        raise ChoreError(
            "stop: expected --everything or --module NAME; to lift what is stopped:"
            f" dizaine-aggregator lift {given.target}"
        )
    command = _commander(config, given.target).stop(
        given.target, everything=given.everything, modules=tuple(given.module),
        by=COMMAND_LINE, now_s=_now_s(),
    )  # fmt: skip
    return _tell_of(command)


def lift(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Lift all that is stopped for a device, or for the fleet."""
    commander = _commander(config, given.target)
    return _tell_of(commander.lift(given.target, by=COMMAND_LINE, now_s=_now_s()))


def _commander(config: AggregatorConfig, target: str) -> commands.Commander:
    database = open_database(config)
    if target not in {FLEET, *(row.id for row in database.registry.all())}:
        raise ChoreError(f"{target}: no such device; name one, or {FLEET}")
    return commands.Commander(config, database)


def _tell_of(command: Stop) -> int:
    stopped = "everything" if command.everything else ", ".join(command.modules) or "nothing"
    say(f"{command.target}: {stopped} is stopped (command {command.number})")
    return 0


# -- journal and trail


def journal_verify(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Check the journal; 1 where something is wrong."""
    grave = 0
    for found in audit.check(open_database(config).journal.lines()):
        if isinstance(found, audit.Audit):
            say(f"{found.entries} entries, end of the chain {found.chain}")
        else:
            grave += found.grave
            say(str(found))
    say("everything holds" if not grave else f"{grave} things are wrong")
    return 1 if grave else 0


def journal_export(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Print the journal."""
    for line in open_database(config).journal.lines():
        say(line)
    return 0


def trail_verify(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Check the audit trail; 1 where its chain does not hold."""
    count, broken = open_database(config).trail.check()
    say(f"{count} entries: " + ("the chain holds" if broken is None else f"broken at {broken}"))
    return 0 if broken is None else 1


# -- operations


def doctor(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Look at everything that the server needs; 1 where something is missing."""
    good = True

    def tell(what: str, problem: str, fine: str = "ok") -> None:
        nonlocal good
        good = good and not problem
        say(f"{'--' if problem else 'ok'}  {what:<12} {problem or fine}")

    try:
        database = open_database(config)
        tell("database", "", database.engine.name)
        count, broken = database.trail.check()
        tell("trail", "" if broken is None else f"broken at entry {broken}", f"{count} entries")
        tell("rules", "", f"{len(database.alerts.book().rules)} in force")
        ahead = (database.figures.newest() or 0) - _now_s()
        tell("clock", f"{ahead} s behind the newest window" if ahead > 0 else "")
        database.close()
    except (DatabaseError, rulebook.RulesError) as error:
        tell("database", str(error))
    if config.amqp is None:
        tell("broker", _reach(config.mqtt.host, config.mqtt.port))
    if config.mail is None and config.sms is None:
        tell("channels", "neither [mail] nor [sms] is configured: nobody can be told")
    try:
        channels.build(config)
        tell("secrets", "")
    except ConfigError as error:
        tell("secrets", str(error))
    if config.mail is not None:
        tell("mail", _greet(config.mail))
    if config.sms is not None and not isinstance(config.sms, Gammu | Apprise):
        host = getattr(config.sms, "host", None)
        if host is not None:
            tell("sms", _reach(host, config.sms.port))  # type: ignore[union-attr]
    if config.commands is None:
        tell("commands", "no [commands] key_file: nobody can stop a device from here")
    else:
        try:
            commands.load_key(config.commands.key_file)
            tell("commands", "")
        except ConfigError as error:
            tell("commands", str(error))
    return 0 if good else 1


def _reach(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), 5.0).close()
    except OSError as error:
        return f"{host}:{port} does not answer ({error})"
    return ""


def _greet(mail: Mail) -> str:
    try:
        kind = smtplib.SMTP_SSL if mail.security == "tls" else smtplib.SMTP
        with kind(mail.host, mail.port, timeout=5.0) as server:
            server.noop()
    except (OSError, smtplib.SMTPException) as error:
        return f"{mail.host}:{mail.port} does not answer ({error})"
    return ""


def _told(table: str, rows: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{rows} rows, {table}        ", end="", file=sys.stderr, flush=True)  # noqa: T201


def save(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Write a back-up while the server goes on."""
    database = open_database(config)
    rows = backup.save(database.engine, given.out, _told)
    size_mb = given.out.stat().st_size / 1e6
    say(f"{given.out}: {rows} rows, {size_mb:.1f} MB; restore it once, elsewhere, to be sure")
    _note(database, "backed-up", rows=rows)
    return 0


def restore(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Restore a back-up into the configured database, which must be empty; then check it."""
    engine = Engine(config.database)
    rows = backup.load(engine, given.file, _told)
    engine.close()
    database = open_database(config)
    count, broken = database.trail.check()
    entries, _ = database.journal.end()
    if broken is not None:
        raise ChoreError(f"restored, but the audit trail is broken at entry {broken} of {count}")
    at = datetime.fromtimestamp(_now_s(), database.clock.zone).strftime("%Y-%m-%d %H:%M")
    say(f"{rows} rows restored at {at}; {entries} journal entries; see: journal verify")
    _note(database, "restored", rows=rows)
    return 0
