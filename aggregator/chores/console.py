"""What every command needs."""

import argparse
import time

from aggregator.config import AggregatorConfig
from aggregator.store.database import Database

Commands = argparse._SubParsersAction
COMMAND_LINE = "command line"
"""Who the trail says it was."""


class ChoreError(RuntimeError):
    """Something cannot be done as asked; one line says what to do."""


def say(text: str) -> None:
    """Tell whoever typed the command."""
    print(text)  # noqa: T201 - for whoever typed the command


def now_s() -> int:
    """Return the time, seconds since 1970 UTC."""
    return int(time.time())  # noqa: TID251 - the clock comes in here


def open_database(config: AggregatorConfig) -> Database:
    """Open the city's database."""
    return Database(config.database, config.timezone)


def note(database: Database, act: str, **what: object) -> None:
    """Write into the audit trail what was done."""
    with database.engine.begin() as connection:
        database.trail.note(connection, now_s(), COMMAND_LINE, act, **what)


def group(
    top: "Commands[argparse.ArgumentParser]", name: str, text: str
) -> "Commands[argparse.ArgumentParser]":
    """Add a command that has commands of its own."""
    own = top.add_parser(name, help=text)
    return own.add_subparsers(dest="action", required=True, metavar="ACTION")
