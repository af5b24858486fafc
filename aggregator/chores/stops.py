"""Stop commands to devices."""

import argparse
from pathlib import Path
from typing import get_args

from aggregator import commands
from aggregator.chores.console import COMMAND_LINE, ChoreError, Commands, now_s, open_database, say
from aggregator.config import AggregatorConfig
from edge_agent.wire.messages import FLEET, Stop, Stoppable


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
        by=COMMAND_LINE, now_s=now_s(),
    )  # fmt: skip
    return _tell_of(command)


def lift(config: AggregatorConfig, given: argparse.Namespace) -> int:
    """Lift all that is stopped for a device, or for the fleet."""
    commander = _commander(config, given.target)
    return _tell_of(commander.lift(given.target, by=COMMAND_LINE, now_s=now_s()))


def _commander(config: AggregatorConfig, target: str) -> commands.Commander:
    database = open_database(config)
    if target not in {FLEET, *(row.id for row in database.registry.all())}:
        raise ChoreError(f"{target}: no such device; name one, or {FLEET}")
    return commands.Commander(config, database)


def _tell_of(command: Stop) -> int:
    stopped = "everything" if command.everything else ", ".join(command.modules) or "nothing"
    say(f"{command.target}: {stopped} is stopped (command {command.number})")
    return 0


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    own = top.add_parser("command-key", help="make the key that stop commands are signed with")
    own.add_argument("--out", type=Path, required=True, metavar="FILE.pem")
    own.set_defaults(chore=command_key, config=None)
    text = "stop modules or everything, until lifted"
    own = top.add_parser("stop", parents=[shared], help=text)
    own.add_argument("target", metavar="ID|fleet")
    own.add_argument("--everything", action="store_true", help="the camera is closed")
    own.add_argument("--module", action="append", default=[], choices=get_args(Stoppable))
    own.set_defaults(chore=stop)
    text = "lift all that is stopped for a device, or for the fleet"
    own = top.add_parser("lift", parents=[shared], help=text)
    own.add_argument("target", metavar="ID|fleet")
    own.set_defaults(chore=lift)
