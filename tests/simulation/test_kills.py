"""The process that owns ledger and spool is killed at every single write, by the kernel's hand.

strace ends it at its Nth system call that changes a file, for every N there is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.io.ledger import Ledger
from edge_agent.io.spool import Spool
from edge_agent.wire import codec
from tests.simulation.burning import go_on

CALLS = "pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat"
SCRIPT = Path(__file__).with_name("burning.py")
ROOT = Path(__file__).parents[2]
WINDOWS = 2


def run(folder: Path, kill_at: int) -> tuple[int, set[str]]:
    """Return the exit status and what was said to be durable."""
    tracing = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}"]
    killing = ["-e", f"inject={CALLS}:signal=KILL:when={kill_at}"]
    command = [*tracing, *killing, sys.executable, str(SCRIPT), str(folder), str(WINDOWS)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, set(done.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_any_write_loses_nothing_that_was_said_and_says_nothing_twice(
    tmp_path: Path,
) -> None:
    probe = ["strace", "-qq", "-o", "/dev/null", "true"]
    if shutil.which("strace") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    killed = 0
    for kill_at in range(1, 500):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        status, told = run(folder, kill_at)
        if status == 0:
            break
        killed += 1
        check(folder, told)
        later: set[str] = set()
        go_on(folder, WINDOWS, later.add)
        assert not {line for line in told if line.startswith("burnt")} & later
        check(folder, told | later)
    assert killed >= 20


def check(folder: Path, told: set[str]) -> None:
    """Whatever was said to be durable is; and the ledger never lags behind the spool."""
    ledger, spool = Ledger(folder / "ledger.db"), Spool(folder / "spool.db")
    last = ledger.last("main")
    burnt = -1 if last is None else last // 900
    kept = [codec.unseal(each.sealed).record for each in spool.all()]
    newest = spool.newest("main")
    assert all(int(line.split()[1]) <= burnt for line in told if line.startswith("burnt"))
    assert len(kept) >= sum(line.startswith("kept") for line in told)
    assert len({record.window for record in kept}) == len(kept)
    assert newest is None or newest.window_s // 900 <= burnt
    assert (newest is None) == (not kept)
    digests = [each.digest for each in spool.all()]
    assert [record.before for record in kept] == [None, *digests][: len(kept)]
    assert ledger.spent_milli(1) == 100 * (burnt + 1)
    ledger.close()
    spool.close()
