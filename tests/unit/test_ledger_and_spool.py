"""What the publisher keeps on disk: forward only, once each, and never half."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.io import packets
from edge_agent.io.ledger import Cost, Ledger, LedgerError
from edge_agent.io.packets import Kind, Packet, PacketError
from edge_agent.io.spool import Spool
from edge_agent.wire.codec import SEALED_SIZE, digest


def sealed(number: int) -> bytes:
    return number.to_bytes(4, "big") * (SEALED_SIZE // 4)


def test_a_window_is_burnt_once_and_never_an_older_one_after_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.last("main") is None
    assert [ledger.burn("main", at, 900) for at in (900, 900, 0, 1800, 900)] == [
        "burnt", "refused", "refused", "burnt", "refused",
    ]  # fmt: skip
    assert ledger.burn("side", 0, 900) == "burnt"
    assert (ledger.last("main"), ledger.last("side")) == (1800, 0)


def test_no_window_of_another_length_overlaps_with_one_that_was_burnt(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.burn("main", 0, 3600) == "burnt"
    assert [ledger.burn("main", at, 900) for at in (900, 2700)] == ["refused", "refused"]
    assert ledger.burn("main", 3600, 900) == "burnt"


def test_a_ledger_remembers_over_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "ledger.db")
    first.burn("main", 900, 900)
    first.close()
    assert Ledger(tmp_path / "ledger.db").burn("main", 900, 900) == "refused"


def test_the_day_s_budget_is_spent_with_the_window_and_never_beyond(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    outcomes = [ledger.burn("main", at, 900, Cost(day=1, epsilon_milli=400, budget_milli=1000))
                for at in (0, 900, 1800, 1800)]  # fmt: skip
    assert outcomes == ["burnt", "burnt", "spent", "refused"]
    assert ledger.spent_milli(1) == 800
    assert ledger.burn("main", 2700, 900, Cost(2, 400, 1000)) == "burnt"
    assert ledger.burn("main", 3600, 900, Cost(3, 400, 300)) == "spent"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 500)), max_size=30))
def test_no_order_of_releases_spends_more_than_the_budget(asked: list[tuple[int, int]]) -> None:
    ledger = Ledger(Path(":memory:"))
    for at, milli in asked:
        ledger.burn("main", at, 1, Cost(1, milli, 1000))
        assert ledger.spent_milli(1) <= 1000


def test_an_older_configuration_never_comes_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.take_configuration(3, "a")
    ledger.take_configuration(3, "a")
    ledger.take_configuration(4, "b")
    for number, name in ((3, "a"), (4, "c")):
        with pytest.raises(LedgerError, match="higher number"):
            ledger.take_configuration(number, name)


def test_a_damaged_ledger_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(LedgerError, match="enrol it as a new device"):
        Ledger(tmp_path / "ledger.db")


@given(st.lists(st.integers(0, 50), max_size=30))
def test_whatever_order_windows_come_in_each_is_burnt_at_most_once(order: list[int]) -> None:
    ledger = Ledger(Path(":memory:"))
    burnt = [at for at in order if ledger.burn("main", at, 1) == "burnt"]
    assert burnt == sorted(set(burnt))


def test_a_record_is_kept_once_until_its_digest_is_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for number in (1, 2, 1):
        spool.add("main", number, sealed(number))
    assert [kept.sealed for kept in spool.all()] == [sealed(1), sealed(2)]
    assert spool.size == 2
    assert not spool.remove("00" * 32)
    assert spool.remove(digest(sealed(1)))
    spool.close()
    assert [kept.sealed for kept in Spool(tmp_path / "spool.db").all()] == [sealed(2)]


def test_a_full_disk_keeps_nothing_by_halves(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.add("main", 1, sealed(1))
    pages = spool._database.execute("PRAGMA page_count").fetchone()[0]
    spool._database.execute(f"PRAGMA max_page_count = {pages}")
    numbers = iter(range(2, 100))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        any(spool.add("main", number, sealed(number)) for number in numbers)  # type: ignore[func-returns-value]
    held = spool.size
    assert len(spool.all()) == held
    spool._database.execute("PRAGMA max_page_count = 100000")
    spool.add("main", 1000, sealed(1000))
    assert spool.size == held + 1


@given(
    st.sampled_from(Kind), st.from_regex(r"[a-z0-9-]{1,24}", fullmatch=True), st.integers(-1, 2**40)
)
def test_every_packet_has_one_size_and_survives_a_round_trip(
    kind: Kind, scope: str, window_s: int
) -> None:
    before = "ab" * 32 if kind in (Kind.BURNT, Kind.SPENT) else ""
    packet = Packet(kind, scope, window_s, before, sealed(7) if kind is Kind.RECORD else b"")
    data = packet.pack()
    assert len(data) == packets.PACKET_SIZE
    assert packets.unpack(data) == packet


@given(st.binary(max_size=2 * packets.PACKET_SIZE))
def test_garbage_is_no_packet_or_a_known_one(data: bytes) -> None:
    try:
        packet = packets.unpack(data)
    except PacketError:
        return
    assert packet.kind in Kind
