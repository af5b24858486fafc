"""`dizaine-aggregator`: what runs in the city."""

import argparse
import sys
from pathlib import Path
from typing import get_args

import sqlalchemy.exc

from aggregator import chores, fleet
from aggregator import config as configuration
from aggregator.chores import ChoreError
from aggregator.config import AggregatorConfig, ConfigError
from aggregator.logs import log_to_stderr
from aggregator.rulebook import RulesError
from aggregator.store.database import DatabaseError
from aggregator.store.engine import reason_of
from edge_agent.wire.messages import Stoppable

WRONG_INPUT = 2


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 2 where the input is wrong."""
    given = _parser().parse_args(argv)
    try:
        config = configuration.load(given.config) if given.config else None
        status: int = given.chore(config, given)
    except (ChoreError, ConfigError, DatabaseError, RulesError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever typed the command
        return WRONG_INPUT
    except sqlalchemy.exc.SQLAlchemyError as error:
        print(f"database: {reason_of(error)}; nothing was changed", file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    return status


def _run(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    # The server's parts are loaded for the server alone: other commands answer at once.
    from aggregator.app import ServerError, serve  # noqa: PLC0415
    from aggregator.io.ingest import MqttError  # noqa: PLC0415

    log_to_stderr(config.log.form)
    try:
        serve(config)
    except (MqttError, ServerError) as error:
        raise ChoreError(str(error)) from None
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dizaine-aggregator", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, required=True, help="aggregator.toml")
    top = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    top.add_parser("run", parents=[shared], help="receive, store, alert and show").set_defaults(
        chore=_run
    )
    text = "look at all that the server needs"
    top.add_parser("doctor", parents=[shared], help=text).set_defaults(chore=chores.doctor)
    _add_devices(_group(top, "devices", "the registry of devices"), shared)
    _add_users(_group(top, "users", "local accounts"), shared)
    rules = _group(top, "rules", "alert rules")
    for name, chore, text in (
        ("check", chores.rules_check, "read a file and say what is wrong with it"),
        ("apply", chores.rules_apply, "put a file in force"),
    ):
        own = rules.add_parser(name, parents=[shared], help=text)
        own.add_argument("file", type=Path, metavar="FILE")
        own.set_defaults(chore=chore)
    text = "print the rules in force"
    rules.add_parser("show", parents=[shared], help=text).set_defaults(chore=chores.rules_show)
    _add_stops(top, shared)
    fleet.add_parsers(top, shared, _place_parser())
    journal = _group(top, "journal", "all that ever left a device")
    text = "check the chain, every signature, and every record against the rules"
    verify = journal.add_parser("verify", parents=[shared], help=text)
    verify.set_defaults(chore=chores.journal_verify)
    export = journal.add_parser("export", parents=[shared], help="write it to standard output")
    export.set_defaults(chore=chores.journal_export)
    trail = _group(top, "trail", "what staff and the server did")
    verify = trail.add_parser("verify", parents=[shared], help="check its chain")
    verify.set_defaults(chore=chores.trail_verify)
    save = top.add_parser("backup", parents=[shared], help="write a back-up; the server goes on")
    save.add_argument("--out", type=Path, required=True, metavar="FILE.gz")
    save.set_defaults(chore=chores.save)
    text = "restore a back-up into an empty database of either engine"
    load = top.add_parser("restore", parents=[shared], help=text)
    load.add_argument("file", type=Path, metavar="FILE.gz")
    load.set_defaults(chore=chores.restore)
    return parser


def _group(
    top: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    own = top.add_parser(name, help=text)
    return own.add_subparsers(dest="action", required=True, metavar="ACTION")


def _add_devices(
    devices: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    text = "all devices"
    devices.add_parser("list", parents=[shared], help=text).set_defaults(chore=chores.devices_list)
    revoke = devices.add_parser("revoke", parents=[shared], help="believe a device no longer")
    revoke.add_argument("device", metavar="ID")
    revoke.set_defaults(chore=chores.devices_revoke)
    declared = "what the device declares in public, from dizaine-agent declare"
    place = argparse.ArgumentParser(add_help=False, parents=[_place_parser()])
    place.add_argument("device", metavar="ID")
    place.add_argument(
        "--scope", action="append", default=[], metavar="LINE=LABEL", help="what a line is called"
    )
    add = devices.add_parser("add", parents=[shared, place], help="register a device")
    add.add_argument(
        "--public-key", type=Path, required=True, help="PEM, from dizaine-agent keygen"
    )
    add.add_argument("--declaration", type=Path, help=declared)
    add.set_defaults(chore=chores.devices_add)
    move = devices.add_parser("move", parents=[shared, place], help="say anew where it hangs")
    move.set_defaults(chore=chores.devices_move)
    declare = devices.add_parser("declare", parents=[shared], help="a device's new declaration")
    declare.add_argument("--declaration", type=Path, required=True, help=declared)
    declare.set_defaults(chore=chores.devices_declare)


def _place_parser() -> argparse.ArgumentParser:
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--site", required=True, help="where it hangs, as pages say it")
    place.add_argument("--label", default="", help="what it is called there")
    place.add_argument("--vehicle-line", default="", help="the line that its bus serves")
    place.add_argument("--tag", action="append", default=[], help="a word to choose it by")
    return place


def _add_users(
    users: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    text = "all accounts"
    users.add_parser("list", parents=[shared], help=text).set_defaults(chore=chores.users_list)
    put = users.add_parser("set", parents=[shared], help="make an account, or change it")
    put.add_argument("account", metavar="NAME")
    put.add_argument("--role", required=True, choices=["analyst", "operator", "administrator"])
    text = "where the password is; else it is asked for, or read from standard input"
    put.add_argument("--password-file", type=Path, help=text)
    put.set_defaults(chore=chores.users_set)
    remove = users.add_parser("remove", parents=[shared], help="remove an account")
    remove.add_argument("account", metavar="NAME")
    remove.set_defaults(chore=chores.users_remove)


def _add_stops(
    top: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    key = top.add_parser("command-key", help="make the key that stop commands are signed with")
    key.add_argument("--out", type=Path, required=True, metavar="FILE.pem")
    key.set_defaults(chore=chores.command_key, config=None)
    text = "stop modules or everything, until lifted"
    stop = top.add_parser("stop", parents=[shared], help=text)
    stop.add_argument("target", metavar="ID|fleet")
    stop.add_argument("--everything", action="store_true", help="the camera is closed")
    stop.add_argument("--module", action="append", default=[], choices=get_args(Stoppable))
    stop.set_defaults(chore=chores.stop)
    text = "lift all that is stopped for a device, or for the fleet"
    lift = top.add_parser("lift", parents=[shared], help=text)
    lift.add_argument("target", metavar="ID|fleet")
    lift.set_defaults(chore=chores.lift)


if __name__ == "__main__":
    sys.exit(main())
