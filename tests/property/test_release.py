"""Release rules R1 to R4, R8, R14: whatever is counted, this is what gets out."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.release import Release, ReleaseSettings, ServiceHours, rounded, say
from edge_agent.core.windows import ClosedWindow
from edge_agent.wire import codec
from edge_agent.wire.messages import MAX_CARRIED_WINDOWS, Directed, Record, Total

LENGTH_S = 900
MONDAY_S = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 30))


def settings(k: int = 10, opens: str = "00:00", closes: str = "24:00") -> ReleaseSettings:
    hours = ServiceHours(opens, closes, "UTC")
    return ReleaseSettings("demo-1", "0" * 16, 15, k, hours)


def window(
    index: int, forward: int = 0, backward: int = 0, observed_s: float = LENGTH_S, late: int = 0
) -> ClosedWindow:
    passages = {("main", True): forward, ("main", False): backward}
    start_s = MONDAY_S + index * LENGTH_S
    return ClosedWindow(start_s, LENGTH_S, observed_s, late, 6300, passages)


def total_of(record: Record) -> int:
    match record.passages:
        case Directed(forward=forward, backward=backward):
            return forward + backward
        case Total(total=total):
            return total
    return 0


@pytest.mark.parametrize("k", [10, 11, 25])
def test_all_pairs_up_to_sixty_say_only_what_k_allows(k: int) -> None:
    for forward in range(61):
        for backward in range(61):
            said = say(forward, backward, k)
            if forward + backward < k:
                assert said is None
            elif min(forward, backward) < k:
                assert said == Total(total=rounded(forward + backward))
            else:
                assert said == Directed(forward=rounded(forward), backward=rounded(backward))


def test_k_below_the_floor_is_the_floor() -> None:
    assert say(9, 0, 3) is None


@given(st.integers(10, 10_000))
def test_rounding_is_to_the_nearest_five_and_never_below_ten(count: int) -> None:
    assert rounded(count) % 5 == 0
    assert rounded(count) >= 10
    assert abs(rounded(count) - count) <= 2


@given(st.lists(COUNTS, max_size=60), st.integers(10, 20))
def test_every_batch_holds_at_least_k_and_every_passage_at_most_once(
    counts: list[tuple[int, int]], k: int
) -> None:
    release = Release(settings(k), ["main"])
    said = batches = 0
    pending = waiting = 0
    for index, (forward, backward) in enumerate(counts):
        (record,) = release.decide(window(index, forward, backward))
        pending += forward + backward
        waiting += 1
        if record.status == "ok":
            assert pending >= k
            assert record.covers == waiting
            assert abs(total_of(record) - pending) <= 4
            said += total_of(record)
            batches += 1
            pending = waiting = 0
        else:
            assert record.status == "low"
            assert pending < k
            if waiting == MAX_CARRIED_WINDOWS:
                pending = waiting = 0
    assert said <= sum(f + b for f, b in counts) + 4 * batches


@given(st.lists(COUNTS, min_size=1, max_size=40))
def test_low_records_are_identical_but_for_their_window(counts: list[tuple[int, int]]) -> None:
    release = Release(settings(), ["main"])
    low = set()
    for index, (forward, backward) in enumerate(counts):
        (record,) = release.decide(window(index, forward, backward))
        if record.status == "low":
            fields = record.model_dump(exclude={"window"})
            low.add(str(fields))
        assert len(codec.seal(record, lambda _: bytes(64))) == codec.SEALED_SIZE
    assert len(low) <= 1


@pytest.mark.parametrize(
    ("observed_s", "late", "status"),
    [(900, 0, "ok"), (895, 0, "ok"), (894, 0, "defect"), (900, 315, "ok"), (900, 316, "defect")],
)
def test_a_window_not_seen_whole_is_a_defect(observed_s: float, late: int, status: str) -> None:
    release = Release(settings(), ["main"])
    (record,) = release.decide(window(0, 20, 20, observed_s, late))
    assert record.status == status


def test_a_defect_destroys_what_was_held() -> None:
    release = Release(settings(), ["main"])
    release.decide(window(0, 9, 0))
    release.decide(window(1, 0, 0, observed_s=0))
    (record,) = release.decide(window(2, 9, 0))
    assert record.status == "low"


def test_what_is_held_ends_with_the_service_day() -> None:
    release = Release(settings(), ["main"])
    release.decide(window(95, 9, 0))
    (record,) = release.decide(window(96, 9, 0))
    assert record.status == "low"


def test_after_sixteen_windows_what_is_held_is_destroyed() -> None:
    release = Release(settings(), ["main"])
    release.decide(window(0, 9, 0))
    for index in range(1, 16):
        release.decide(window(index))
    (record,) = release.decide(window(16, 9, 0))
    assert record.status == "low"


@pytest.mark.parametrize(
    ("index", "status"), [(31, "closed"), (32, "low"), (79, "low"), (80, "closed")]
)
def test_outside_service_hours_a_window_is_closed(index: int, status: str) -> None:
    release = Release(settings(opens="08:00", closes="20:00"), ["main"])
    (record,) = release.decide(window(index))
    assert record.status == status


def test_service_hours_hold_on_the_day_the_clock_changes() -> None:
    hours = ServiceHours("08:00", "20:00", "Europe/Paris")
    winter_day = datetime(2026, 10, 25, 7, 0, tzinfo=UTC)
    assert hours.includes(winter_day, winter_day.replace(minute=15))
    assert not hours.includes(winter_day.replace(hour=6), winter_day.replace(hour=6, minute=15))


def test_one_record_for_each_scope_and_window() -> None:
    release = Release(settings(), ["main", "side"])
    assert [record.scope for record in release.decide(window(0))] == ["main", "side"]
