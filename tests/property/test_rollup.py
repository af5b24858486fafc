"""Sums kept as records arrive say what a fresh sum of the same records says, in any order."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core.day import Stored, blocks, total
from aggregator.core.rollup import Clock, Day, Sums, day_of, hours_of, sums_of

LENGTH_S = 900
DAY_S = 1_767_571_200
CLOCK = Clock(ZoneInfo("UTC"))


@st.composite
def days(draw: st.DrawFn) -> list[Stored]:
    """Return a day as a device may say it: what is low is carried, 16 windows at most."""
    found: list[Stored] = []
    carried = 0
    for index in range(draw(st.integers(1, 40))):
        what = draw(st.sampled_from(["low", "low", "ok", "ok+", "closed", "defect"]))
        at_s = DAY_S + index * LENGTH_S
        if what in ("ok", "ok+"):
            covers = carried + 1
            count = 5 * draw(st.integers(2, 40))
            found.append(Stored(at_s, 15, "ok", covers, None, None, count))
            carried = 0
            continue
        found.append(Stored(at_s, 15, what, 1, None, None, None))  # type: ignore[arg-type]
        carried = (carried + 1) % 16 if what == "low" else 0
    return found


def added(records: Sequence[Stored]) -> Day:
    """Return a day's sum, kept as the store keeps it."""
    day, seen = Day(), []
    for record in records:
        seen.append(record)
        next_day = day.then(record)
        day = day_of(sorted(seen, key=lambda r: r.window_s)) if next_day is None else next_day
    return day


@settings(max_examples=300)
@given(days(), st.randoms(use_true_random=False))
def test_a_days_sum_is_the_same_in_whatever_order_records_arrive(
    records: list[Stored], random: object
) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    expected = day_of(records)
    assert added(records) == expected
    assert added(shuffled) == expected


@given(days())
def test_a_days_sum_says_what_the_days_page_says(records: list[Stored]) -> None:
    end_s = records[-1].window_s + LENGTH_S
    page = total(blocks(records, DAY_S, end_s), 15)
    day = day_of(records)
    assert (day.sums.said, day.most, day.sums.batches, day.sums.withheld) == (
        page.said, page.most, page.batches, page.withheld,
    )  # fmt: skip


@given(days())
def test_hours_add_up_to_the_day(records: list[Stored]) -> None:
    hours = sum(hours_of(records, CLOCK).values(), Sums())
    assert hours == day_of(records).sums


@given(days())
def test_no_sum_holds_a_number_of_what_was_withheld(records: list[Stored]) -> None:
    """R10: a low window enters as how many there were, and as nothing else."""
    for record in records:
        if record.status != "ok":
            assert sums_of(record) == Sums(**{record.status: 1})
