"""`dizaine-aggregator`: what runs in the city."""

import argparse
import sys
from pathlib import Path

import sqlalchemy.exc

from aggregator import config as configuration
from aggregator.chores import accounts, devices, fleet, journal, operations, rules, stops
from aggregator.chores.console import ChoreError
from aggregator.config import AggregatorConfig, ConfigError
from aggregator.logs import log_to_stderr
from aggregator.rulebook import RulesError
from aggregator.store.database import DatabaseError
from aggregator.store.engine import reason_of

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
    for chores in (devices, fleet, accounts, rules, stops, journal, operations):
        chores.add_parsers(top, shared)
    return parser


if __name__ == "__main__":
    sys.exit(main())
