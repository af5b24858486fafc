"""Burns and spools windows, and says what is done. Started, and killed, by a test.

Arguments: a folder, and how many windows. Prints `burnt N` and `kept N` once each is durable.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from edge_agent.io.ledger import Cost, Ledger
from edge_agent.io.spool import Spool
from edge_agent.wire import codec
from tests.records import NO_SIGNATURE, WINDOW, a_record


def go_on(folder: Path, windows: int, say: Callable[[str], object]) -> None:
    """Burn and keep what a folder's ledger has not burnt yet."""
    ledger, spool = Ledger(folder / "ledger.db"), Spool(folder / "spool.db")
    last = ledger.last("main")
    for n in range(0 if last is None else last // 900 + 1, windows):
        assert ledger.burn("main", 900 * n, 900, Cost(1, 100, 1_000_000)) == "burnt"
        say(f"burnt {n}")
        newest = spool.newest("main")
        before = newest.digest if newest else None
        record = a_record(window=WINDOW.replace(minute=0, hour=n % 24), before=before)
        spool.add("main", 900 * n, codec.seal(record, lambda _: NO_SIGNATURE))
        say(f"kept {n}")
    ledger.close()
    spool.close()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    go_on(Path(sys.argv[1]), int(sys.argv[2]), _print)
