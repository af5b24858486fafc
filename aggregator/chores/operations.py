"""Looking after the server: what it needs, back-ups, restoring them."""

import argparse
import smtplib
import socket
import sys
from datetime import datetime
from pathlib import Path

from aggregator import commands, rulebook
from aggregator.chores.console import ChoreError, Commands, note, now_s, open_database, say
from aggregator.config import AggregatorConfig, Apprise, ConfigError, Gammu, Mail
from aggregator.io import channels
from aggregator.store import backup
from aggregator.store.database import DatabaseError
from aggregator.store.engine import Engine


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
        ahead = (database.figures.newest() or 0) - now_s()
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
    note(database, "backed-up", rows=rows)
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
    at = datetime.fromtimestamp(now_s(), database.clock.zone).strftime("%Y-%m-%d %H:%M")
    say(f"{rows} rows restored at {at}; {entries} journal entries; see: journal verify")
    note(database, "restored", rows=rows)
    return 0


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    own = top.add_parser("doctor", parents=[shared], help="look at all that the server needs")
    own.set_defaults(chore=doctor)
    own = top.add_parser("backup", parents=[shared], help="write a back-up; the server goes on")
    own.add_argument("--out", type=Path, required=True, metavar="FILE.gz")
    own.set_defaults(chore=save)
    text = "restore a back-up into an empty database of either engine"
    own = top.add_parser("restore", parents=[shared], help=text)
    own.add_argument("file", type=Path, metavar="FILE.gz")
    own.set_defaults(chore=restore)
