"""Every reason for which the city refuses a message."""

from datetime import timedelta
from typing import Any

import pytest

from aggregator.core.verdict import Accepted, Device, Reason, judge
from edge_agent.wire import codec, topics
from edge_agent.wire.signature import is_valid
from tests.records import KEY, NO_SIGNATURE, WINDOW, a_record

NOW = WINDOW + timedelta(minutes=16)


def sealed(**changes: Any) -> bytes:
    return codec.seal(a_record(**changes), KEY.sign)


def verdict(payload: bytes, **changes: Any) -> Accepted | Reason:
    known = {"bus-1": Device("bus-1", KEY.modulus, revoked=changes.get("revoked", False))}
    topic = changes.get("topic", topics.record("bus-1", "main"))
    return judge(payload, topic, known.get, is_valid, changes.get("now", NOW))


def test_a_good_record_is_accepted() -> None:
    payload = sealed()
    assert verdict(payload) == Accepted(codec.unseal(payload).record, codec.digest(payload))


@pytest.mark.parametrize(
    ("payload", "changes", "reason"),
    [
        (sealed() + b" ", {}, Reason.OVERSIZE),
        (b"x" * 10_000, {}, Reason.OVERSIZE),
        (b"DZN2" + sealed()[4:], {}, Reason.WRONG_VERSION),
        (b"", {}, Reason.MALFORMED),
        (b"hello", {}, Reason.MALFORMED),
        (sealed()[:-1], {}, Reason.MALFORMED),
        (sealed().replace(b'"low"', b'"LOW"'), {}, Reason.MALFORMED),
        (sealed(), {"topic": topics.record("bus-2", "main")}, Reason.WRONG_TOPIC),
        (sealed(), {"topic": topics.record("bus-1", "side")}, Reason.WRONG_TOPIC),
        (
            sealed(device="bus-9"),
            {"topic": topics.record("bus-9", "main")},
            Reason.UNKNOWN_DEVICE,
        ),
        (sealed(), {"revoked": True}, Reason.REVOKED_DEVICE),
        (sealed()[:4] + NO_SIGNATURE + sealed()[388:], {}, Reason.BAD_SIGNATURE),
        (sealed().replace(b"T08:15Z", b"T08:00Z"), {}, Reason.BAD_SIGNATURE),
        (sealed(), {"now": WINDOW + timedelta(minutes=12)}, Reason.FUTURE_WINDOW),
    ],
)
def test_a_bad_message_is_refused_for_its_reason(
    payload: bytes, changes: dict[str, Any], reason: Reason
) -> None:
    assert verdict(payload, **changes) == reason
