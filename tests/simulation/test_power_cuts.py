"""Vision and publisher cut off between any two steps: no window is ever said twice.

A run is simulated with the real ledger and spool on a disk, the real release rules, and power that
fails at a chosen step. What was in memory is gone; what the disk has is what the next run finds.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.release import Release, Speaker
from edge_agent.core.tally import LineTally
from edge_agent.core.windows import ClosedWindow
from edge_agent.io.ledger import Ledger
from edge_agent.io.spool import Spool
from edge_agent.wire import codec
from tests.records import a_declaration

START_S = 1_767_600_000
LENGTH_S = 900


class PowerCutError(Exception):
    """The power failed here."""


@dataclass
class Power:
    """Fails after so many steps."""

    left: int

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError


@dataclass
class City:
    """Stores each record once; its receipts may be lost."""

    stored: dict[tuple[str, str], str] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)

    def take(self, sealed: bytes) -> str:
        record = codec.unseal(sealed).record
        name = codec.digest(sealed)
        key = (record.scope, record.window.isoformat())
        assert self.stored.setdefault(key, name) == name, "one window was said in two ways"
        assert record.before in (None, *self.stored.values()), "a record that never came was named"
        self.bodies.append(name)
        return name


def live(folder: Path, city: City, counts: list[int], power: Power, salt: int) -> None:
    """Run a device from what its disk holds until the power fails or the windows end."""
    ledger, spool = Ledger(folder / "ledger.db"), Spool(folder / "spool.db")
    release = Release(a_declaration(), Speaker("0" * 16, development=False))
    sign = bytes([salt]) * 384
    try:
        for kept in spool.all():
            power.step()
            city.take(kept.sealed)
        last = ledger.last("main")
        first = 0 if last is None else (last - START_S) // LENGTH_S + 1
        for index in range(first, len(counts)):
            at_s = START_S + index * LENGTH_S
            tally = {"main": LineTally(forward=counts[index])}
            window = ClosedWindow(at_s, LENGTH_S, LENGTH_S, 0, 6300, tally)
            draft = release.decide(window)[0]
            power.step()
            if ledger.burn("main", at_s, LENGTH_S) != "burnt":
                continue
            power.step()
            newest = spool.newest("main")
            before = newest.digest if newest else None
            record = draft.record(lambda _: 0, before, within_budget=True)
            sealed = codec.seal(record, lambda _: sign)
            power.step()
            spool.add("main", at_s, sealed)
            power.step()
            name = city.take(sealed)
            power.step()
            spool.remove(name)
    finally:
        ledger.close()
        spool.close()


def run(folder: Path, counts: list[int], cuts: list[int]) -> City:
    city = City()
    for salt, cut in enumerate([*cuts, 10**9]):
        try:
            live(folder, city, counts, Power(cut), salt % 250)
        except PowerCutError:
            continue
        break
    return city


COUNTS = [12, 3, 9, 40, 0, 25, 7]


@pytest.mark.parametrize("cut", range(5 * len(COUNTS) + 1))
def test_a_cut_at_every_step_says_no_window_twice_and_loses_at_most_the_one_in_hand(
    tmp_path: Path, cut: int
) -> None:
    city = run(tmp_path, COUNTS, [cut])
    assert len(COUNTS) - 1 <= len(city.stored) <= len(COUNTS)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12), st.lists(st.integers(0, 30), max_size=6)
)
def test_any_series_of_cuts_says_every_window_in_at_most_one_way(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], cuts: list[int]
) -> None:
    city = run(tmp_path_factory.mktemp("disk"), counts, cuts)
    assert len(city.stored) >= len(counts) - len(cuts)
