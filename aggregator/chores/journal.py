"""The journal of all that ever left a device, and the trail of what was done."""

import argparse

from aggregator.chores.console import Commands, group, open_database, say
from aggregator.config import AggregatorConfig
from edge_agent.wire import audit


def verify(config: AggregatorConfig, _given: argparse.Namespace) -> int:
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


def export(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Print the journal."""
    for line in open_database(config).journal.lines():
        say(line)
    return 0


def verify_trail(config: AggregatorConfig, _given: argparse.Namespace) -> int:
    """Check the audit trail; 1 where its chain does not hold."""
    count, broken = open_database(config).trail.check()
    say(f"{count} entries: " + ("the chain holds" if broken is None else f"broken at {broken}"))
    return 0 if broken is None else 1


def add_parsers(top: "Commands[argparse.ArgumentParser]", shared: argparse.ArgumentParser) -> None:
    """Add these commands."""
    journal = group(top, "journal", "all that ever left a device")
    text = "check the chain, every signature, and every record against the rules"
    own = journal.add_parser("verify", parents=[shared], help=text)
    own.set_defaults(chore=verify)
    own = journal.add_parser("export", parents=[shared], help="write it to standard output")
    own.set_defaults(chore=export)
    trail = group(top, "trail", "what staff and the server did")
    own = trail.add_parser("verify", parents=[shared], help="check its chain")
    own.set_defaults(chore=verify_trail)
