"""Local accounts."""

import argparse
import getpass
import sys
from pathlib import Path

from aggregator.chores.console import (
    COMMAND_LINE,
    ChoreError,
    Commands,
    group,
    now_s,
    open_database,
    say,
)
from aggregator.config import AggregatorConfig, secret
from aggregator.core.roles import role


def _password(given: argparse.Namespace) -> str | None:
    if given.password_file is not None:
        return secret("password", given.password_file)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n") or None
    return getpass.getpass("password: ") or None


def put(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Make an account, or change it."""
    password = _password(given)
    database = open_database(config)
    try:
        chosen = role(given.role)
        with database.engine.begin() as connection:
            database.accounts.set(connection, given.account, password, chosen, now_s())
            database.trail.note(
                connection, now_s(), COMMAND_LINE, "account-set", account=given.account,
                role=given.role,
            )  # fmt: skip
    except ValueError as error:
        raise ChoreError(str(error)) from None
    return 0


def show(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """List all accounts."""
    for account in open_database(config).accounts.all():
        say(f"{account.name}\t{account.role.name.lower()}")
    return 0


def remove(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Remove an account."""
    database = open_database(config)
    with database.engine.begin() as connection:
        gone = database.accounts.remove(connection, given.account)
        if gone:
            database.trail.note(
                connection, now_s(), COMMAND_LINE, "account-removed", account=given.account
            )
    if not gone:
        raise ChoreError(f"{given.account}: no such account; see: users list")
    return 0


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    users = group(top, "users", "local accounts")
    text = "all accounts"
    users.add_parser("list", parents=[shared], help=text).set_defaults(chore=show)
    own = users.add_parser("set", parents=[shared], help="make an account, or change it")
    own.add_argument("account", metavar="NAME")
    own.add_argument("--role", required=True, choices=["analyst", "operator", "administrator"])
    text = "where the password is; else it is asked for, or read from standard input"
    own.add_argument("--password-file", type=Path, help=text)
    own.set_defaults(chore=put)
    gone = users.add_parser("remove", parents=[shared], help="remove an account")
    gone.add_argument("account", metavar="NAME")
    gone.set_defaults(chore=remove)
