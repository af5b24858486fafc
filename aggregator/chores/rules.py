"""Alert rules."""

import argparse
from pathlib import Path

from aggregator import rulebook
from aggregator.chores.console import COMMAND_LINE, Commands, group, now_s, open_database, say
from aggregator.config import AggregatorConfig


def check(_config: AggregatorConfig | None, given: argparse.Namespace) -> int:
    """Read a file of rules and say what is wrong with it."""
    book = rulebook.load(given.file)
    say(f"{len(book.rules)} rules, {len(book.people)} people: good")
    return 0


def apply(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Put a file of rules in force."""
    book = rulebook.load(given.file)
    text = given.file.read_text(encoding="utf-8")
    database = open_database(config)
    with database.engine.begin() as connection:
        database.alerts.set_book(connection, text, book, COMMAND_LINE, now_s())
        database.trail.note(
            connection, now_s(), COMMAND_LINE, "rules-changed",
            rules=[rule.name for rule in book.rules],
        )  # fmt: skip
    say(f"{len(book.rules)} rules are in force")
    return 0


def show(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Print the rules in force."""
    say(open_database(config).alerts.text().rstrip("\n"))
    return 0


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    rules = group(top, "rules", "alert rules")
    own = rules.add_parser("check", help="read a file and say what is wrong with it")
    own.add_argument("file", type=Path, metavar="FILE")
    own.set_defaults(chore=check, config=None)
    own = rules.add_parser("apply", parents=[shared], help="put a file in force")
    own.add_argument("file", type=Path, metavar="FILE")
    own.set_defaults(chore=apply)
    own = rules.add_parser("show", parents=[shared], help="print the rules in force")
    own.set_defaults(chore=show)
