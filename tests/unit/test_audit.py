"""A journal that was touched, or that breaks a rule, does not pass; every way is named."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.__main__ import main
from edge_agent.wire import audit, codec
from edge_agent.wire.audit import Audit
from edge_agent.wire.declaration import Declaration, DpBudget, Module, Service
from edge_agent.wire.messages import Directed, Masks, Record, Total
from tests.records import KEY, NO_SIGNATURE, WINDOW, a_declaration, a_record

QUARTER = timedelta(minutes=15)
DECLARED = a_declaration()


def series(*said: dict[str, Any], declared: Declaration = DECLARED) -> list[bytes]:
    """Return sealed records, a window each, that name each other."""
    sealed: list[bytes] = []
    for index, fields in enumerate(said):
        shown = {
            "window": WINDOW + index * QUARTER,
            "config": declared.fingerprint(),
            "before": codec.digest(sealed[-1]) if sealed else None,
            **fields,
        }
        sealed.append(codec.seal(a_record(**shown), KEY.sign))
    return sealed


OK = {"status": "ok", "passages": Total(total=20)}
LOW: dict[str, Any] = {}
GOOD = series(OK, LOW, LOW, {**OK, "covers": 3}, {"status": "defect"}, OK)


def lines(sealed: Iterable[bytes], declared: Iterable[Declaration] = (DECLARED,)) -> list[str]:
    bodies = [one.canonical().decode() for one in declared]
    told, chain = [audit.head_line({"bus-1": KEY.modulus}, bodies)], audit.START
    for n, each in enumerate(sealed, 1):
        chain = audit.link(chain, each)
        told.append(audit.entry_line(n, chain, each))
    return told


def findings(told: Iterable[str]) -> list[str]:
    """Return what an audit finds grave."""
    return [str(f) for f in audit.check(told) if not isinstance(f, Audit) and f.grave]


def test_a_journal_that_holds_holds() -> None:
    *found, end = audit.check(lines(GOOD))
    assert found == []
    assert isinstance(end, Audit)
    assert (end.entries, end.said) == (6, {"ok": 3, "low": 2, "defect": 1})


def test_the_order_of_arrival_does_not_matter() -> None:
    assert findings(lines([GOOD[i] for i in (3, 0, 5, 1, 4, 2)])) == []


@pytest.mark.parametrize("dropped", range(5))
def test_a_record_that_the_city_left_out_is_missed(dropped: int) -> None:
    kept = [sealed for i, sealed in enumerate(GOOD) if i != dropped]
    assert any("the record before it is missing" in f for f in findings(lines(kept)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told[:3] + told[4:], "expected entry 3"),
        (lambda told: [*told[:2], told[3], told[2], *told[4:]], "expected entry 2"),
        (lambda told: [*told[:3], told[3].replace('"n":3', '"n":4'), *told[4:]], "expected entry"),
        (lambda told: [*told[:2], told[2].replace("44", "45", 1), *told[3:]], "entry 2"),
    ],
)
def test_a_journal_that_was_changed_does_not_follow(
    change: Callable[[list[str]], list[str]], said: str
) -> None:
    assert any(said in finding for finding in findings(change(lines(GOOD))))


@given(st.integers(0, codec.SEALED_SIZE - 1), st.integers(1, 255), st.integers(0, 5))
@settings(max_examples=60)
def test_no_byte_of_a_record_can_change_even_if_the_chain_is_made_anew(
    position: int, flip: int, index: int
) -> None:
    changed = bytearray(GOOD[index])
    changed[position] ^= flip
    assert findings(lines([*GOOD[:index], bytes(changed), *GOOD[index + 1 :]]))


def with_masks(start: timedelta, end: timedelta) -> Declaration:
    module = Module(
        name="masks", legal_basis="law", purpose="counting", contact="dpo@x.example",
        start=WINDOW + start, end=WINDOW + end,
    )  # fmt: skip
    return a_declaration(modules=(module,))


MASKS = {**OK, "masks": Masks(bound="between", percent=70, unjudged=0)}


@pytest.mark.parametrize(
    ("said", "declared", "offence"),
    [
        ([{**OK, "scope": "side"}], DECLARED, "scope side was not declared"),
        ([{**OK, "config": "0" * 16}], DECLARED, "was never declared"),
        ([OK], a_declaration(window_min=30), "a window of 15 min"),
        ([OK], a_declaration(k=25), "below the declared k of 25"),
        ([{**OK, "passages": Directed(forward=10, backward=30)}], a_declaration(k=14), "of 14"),
        ([OK], a_declaration(service=Service(opens="10:00", timezone="UTC")), "outside its serv"),
        ([{"status": "closed"}], DECLARED, "closed within its service hours"),
        ([MASKS], DECLARED, "module masks was not declared"),
        ([LOW, {**MASKS, "covers": 2}], with_masks(QUARTER, 4 * QUARTER), "module masks"),
        ([{**OK, "profile": "dp", "epsilon_milli": 500}], DECLARED, "another privacy profile"),
        ([OK, {**OK, "covers": 2}], DECLARED, "speaks of a window that was spoken of before"),
        ([OK, LOW, {**OK, "window": WINDOW + QUARTER}], DECLARED, "said twice"),
        ([{"status": "defect"}, {**OK, "covers": 2}], DECLARED, "that was not low"),
        ([LOW, {**OK, "before": None, "status": "ok"}], DECLARED, ""),
        ([{**OK, "device": "bus-9"}], DECLARED, "not signed by bus-9"),
    ],
)
def test_a_record_that_breaks_a_rule_is_named(
    said: list[dict[str, Any]], declared: Declaration, offence: str
) -> None:
    found = findings(lines(series(*said, declared=declared), [declared]))
    if offence:
        assert any(offence in finding for finding in found), found
    else:
        assert found == []


def test_masks_within_their_declared_time_pass() -> None:
    declared = with_masks(timedelta(0), 4 * QUARTER)
    assert findings(lines(series(LOW, {**MASKS, "covers": 2}, declared=declared), [declared])) == []


def test_more_epsilon_than_the_budget_is_named() -> None:
    hours = Service(opens="08:00", closes="09:00", timezone="UTC")
    budget = DpBudget(epsilon_milli=500, day_budget_milli=2000)
    declared = a_declaration(profile="dp", dp=budget, service=hours)
    private = {"profile": "dp", "epsilon_milli": 500}
    honest = series(*[{**OK, **private}] * 3, declared=declared)
    assert findings(lines(honest, [declared])) == []
    again = a_record(
        **OK, **private, config=declared.fingerprint(), window=WINDOW - QUARTER, before=None
    )
    other = codec.seal(again, KEY.sign)
    more = [codec.seal(a_record(**{**OK, **private}, config=declared.fingerprint(), scope="main",
            window=WINDOW + 3 * QUARTER, before=codec.digest(honest[-1])), KEY.sign)]  # fmt: skip
    found = findings(lines([*honest, other, *more], [declared]))
    assert any("more epsilon than its budget" in finding for finding in found)


def test_a_record_without_its_device_s_signature_does_not_pass() -> None:
    forged = codec.seal(a_record(config=DECLARED.fingerprint()), lambda _: NO_SIGNATURE)
    assert any("not signed" in finding for finding in findings(lines([forged])))


def test_development_and_a_new_chain_are_notes() -> None:
    told = lines(series(OK, {**OK, "before": None, "development": True}))
    notes = [f.what for f in audit.check(told) if not isinstance(f, Audit)]
    assert len(notes) == 2
    assert findings(told) == []


@pytest.mark.parametrize("told", [[], [""], ["{}"], [lines(GOOD)[0], "x"], ["[1]"]])
def test_what_is_no_journal_is_one_line(
    told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("\n".join(told))
    assert main([str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_says_that_everything_holds_or_what_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("\n".join(lines(GOOD)) + "\n")
    assert main([str(path)]) == 0
    assert "everything holds" in capsys.readouterr().out
    path.write_text("\n".join(lines(GOOD[1:])) + "\n")
    assert main([str(path)]) == 1
    assert "the record before it is missing" in capsys.readouterr().out


def test_every_record_is_a_record() -> None:
    assert all(isinstance(codec.unseal(sealed).record, Record) for sealed in GOOD)
