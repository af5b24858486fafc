"""Checks a journal that a city has published: `python -m audit journal.jsonl`.

Exit status: 0 where everything holds, 1 where something is wrong, 2 where the file is no journal.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from edge_agent.wire import codec
from edge_agent.wire.audit import Audit, check

PROGRESS_EVERY = 10_000


def report(lines: Iterable[str]) -> int:
    """Print what an audit of a journal's lines finds; return the exit status."""
    grave = 0
    for found in check(_counted(lines)):
        if isinstance(found, Audit):
            _sum_up(found, grave)
        else:
            grave += found.grave
            print(found)
    return 1 if grave else 0


def _counted(lines: Iterable[str]) -> Iterable[str]:
    for number, line in enumerate(lines):
        if number and number % PROGRESS_EVERY == 0 and sys.stderr.isatty():
            print(f"\r{number} entries ", end="", file=sys.stderr, flush=True)
        yield line


def _sum_up(audit: Audit, grave: int) -> None:
    said = ", ".join(f"{count} {status}" for status, count in sorted(audit.said.items()))
    print(f"{audit.entries} entries: {said or 'none'}")
    print(f"end of the chain: {audit.chain}")
    for name, key in sorted(audit.devices.items()):
        print(f"device {name}: key {hashlib.sha256(key).hexdigest()[:16]} (compare with its label)")
    for build in sorted(audit.builds):
        print(f"build {build} (compare with: dizaine-agent measure)")
    print("everything holds" if not grave else f"{grave} things are wrong")


def main(argv: list[str] | None = None) -> int:
    """Check one file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__)
    parser.add_argument("file", type=Path, help="journal.jsonl, as downloaded")
    given = parser.parse_args(argv)
    try:
        with given.file.open(encoding="ascii") as lines:
            return report(line.rstrip("\n") for line in lines)
    except OSError as error:
        print(f"{given.file}: cannot be read ({error.strerror})", file=sys.stderr)
    except (codec.WireError, UnicodeDecodeError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
