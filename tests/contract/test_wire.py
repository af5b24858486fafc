"""The wire contract, byte for byte, both ways."""

from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.wire import codec, topics
from edge_agent.wire.messages import (
    Directed,
    Distance,
    Masks,
    Occupancy,
    Presence,
    Receipt,
    Record,
    Total,
)
from edge_agent.wire.signature import is_valid
from tests import records
from tests.records import KEY, NO_SIGNATURE, WINDOW

GOLDEN = Path(__file__).parent / "golden"


def a_record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "device": "bus-042",
        "scope": "front-door",
        "status": "ok",
        "passages": Directed(forward=35, backward=20),
    }
    return records.a_record(**{**fields, **changes})


RECORDS = {
    "ok-directed": a_record(),
    "ok-total-carried": a_record(covers=3, passages=Total(total=10)),
    "low": a_record(status="low", passages=None),
    "closed": a_record(status="closed", passages=None),
    "defect": a_record(status="defect", passages=None),
    "ok-masks": a_record(
        passages=Total(total=120), masks=Masks(bound="between", percent=70, unjudged=10)
    ),
    "ok-zone": a_record(
        passages=None,
        covers=2,
        occupancy=Occupancy(mean=25, level="busy"),
        distance=Distance(under_1m="under_25", under_2m=None, mean_cm=175),
    ),
    "ok-objections": a_record(scope="objections", passages=None, objections=15, covers=96),
    "ok-dp-development": a_record(
        passages=Total(total=45),
        profile="dp",
        epsilon_milli=500,
        development=True,
        before="ab" * 32,
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_seals_to_its_golden_bytes(name: str) -> None:
    assert codec.seal(RECORDS[name], KEY.sign) == (GOLDEN / f"{name}.record").read_bytes()


@pytest.mark.parametrize("name", RECORDS)
def test_golden_bytes_unseal_to_their_record_and_verify(name: str) -> None:
    unsealed = codec.unseal((GOLDEN / f"{name}.record").read_bytes())
    assert unsealed.record == RECORDS[name]
    assert is_valid(KEY.modulus, unsealed.signature, unsealed.signed)


def test_every_record_has_the_same_size() -> None:
    sizes = {len(codec.seal(record, KEY.sign)) for record in RECORDS.values()}
    longest = a_record(
        device="d" * 32,
        scope="s" * 24,
        window_min=60,
        window=WINDOW.replace(minute=0),
        covers=16,
        passages=Directed(forward=1_000_000, backward=1_000_000),
        masks=Masks(bound="at_least", percent=100, unjudged=90),
        development=False,
        before="f" * 64,
    )
    assert sizes | {len(codec.seal(longest, KEY.sign))} == {codec.SEALED_SIZE}


def test_low_records_differ_in_nothing_but_their_window() -> None:
    one, other = (
        codec.seal(RECORDS["low"].model_copy(update={"window": at}), lambda _: NO_SIGNATURE)
        for at in (WINDOW, WINDOW + timedelta(minutes=15))
    )
    assert one.replace(b"08:15", b"08:30") == other


@given(position=st.integers(0, codec.SEALED_SIZE - 1), flip=st.integers(1, 255))
def test_no_byte_of_a_sealed_record_can_change_unseen(position: int, flip: int) -> None:
    sealed = bytearray(codec.seal(RECORDS["ok-directed"], KEY.sign))
    sealed[position] ^= flip
    try:
        unsealed = codec.unseal(bytes(sealed))
    except codec.WireError:
        return
    assert not is_valid(KEY.modulus, unsealed.signature, unsealed.signed)


@given(st.binary(max_size=2 * codec.SEALED_SIZE))
def test_garbage_is_refused_with_one_line(garbage: bytes) -> None:
    for decode in (codec.unseal, codec.decode_receipt, codec.decode_presence):
        with pytest.raises(codec.WireError) as refused:
            decode(garbage)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"passages": Directed(forward=35, backward=20).model_copy(update={"backward": 5})},
        {"status": "low"},
        {"passages": None},
        {"status": "closed", "passages": None, "covers": 2},
        {"covers": 17},
        {"covers": 0},
        {"window": WINDOW + timedelta(minutes=1)},
        {"window": WINDOW.replace(tzinfo=None)},
        {"window": WINDOW.replace(tzinfo=timezone(timedelta(hours=1)))},
        {"window": WINDOW + timedelta(seconds=1)},
        {"window_min": 10},
        {"window_min": 60},
        {"device": "Bus 42"},
        {"scope": "a/b"},
        {"config": "g" * 16},
        {"v": 2},
        {"note": "hello"},
        {"masks": Masks(bound="between", percent=70, unjudged=0), "passages": None},
        {"objections": 10},
        {"occupancy": Occupancy(mean=5, level="free")},
        {"passages": None, "objections": 10},
        {"profile": "dp"},
        {"epsilon_milli": 500},
        {"profile": "dp", "epsilon_milli": 500, "covers": 2},
        {"before": "ab"},
        {"development": None},
    ],
)
def test_a_record_that_says_what_it_may_not_is_no_record(changes: dict[str, Any]) -> None:
    fields = {**a_record().model_dump(mode="json"), "window": WINDOW}
    with pytest.raises(ValidationError):
        Record(**{**fields, "passages": Directed(forward=35, backward=20), **changes})


@pytest.mark.parametrize("number", [0, 5, 9, 11, 12, -10, 10.0, True])
def test_a_count_below_ten_or_not_rounded_cannot_be_written(number: Any) -> None:
    for make in (lambda: Total(total=number), lambda: Directed(forward=number, backward=10)):
        with pytest.raises(ValidationError):
            make()


def test_another_encoding_of_the_same_record_is_refused() -> None:
    sealed = codec.seal(RECORDS["ok-directed"], KEY.sign)
    body = sealed[388:].replace(b'"v":1,', b'"v": 1,')[: codec.BODY_SIZE]
    with pytest.raises(codec.WireError, match="canonical"):
        codec.unseal(sealed[:388] + body)


def test_small_messages_survive_a_round_trip() -> None:
    receipt = Receipt(digest="ab" * 32, outcome="stored")
    presence = Presence(device="bus-042", state="offline")
    assert codec.decode_receipt(codec.canonical(receipt)) == receipt
    assert codec.decode_presence(codec.canonical(presence)) == presence


@pytest.mark.parametrize(
    ("topic", "device"),
    [
        (topics.record("bus-042", "front-door"), "bus-042"),
        (topics.presence("bus-042"), "bus-042"),
        (topics.receipt("bus-042"), "bus-042"),
        ("dizaine/1/bus-042", None),
        ("dizaine/2/bus-042/record/x", None),
        ("dizaine/1//record/x", None),
        ("", None),
    ],
)
def test_a_topic_names_its_device(topic: str, device: str | None) -> None:
    assert topics.device_of(topic) == device
