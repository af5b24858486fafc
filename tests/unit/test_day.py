"""A line's day from released records alone: nothing withheld becomes a number."""

from aggregator.core.day import Stored, blocks, total

LENGTH_S = 900


def stored(index: int, status: str, covers: int = 1, said: int | None = None) -> Stored:
    return Stored(index * LENGTH_S, 15, status, covers, None, None, said)  # type: ignore[arg-type]


def test_a_batch_takes_the_place_of_the_windows_it_covers() -> None:
    found = blocks([stored(0, "low"), stored(1, "low"), stored(2, "ok", 3, 20)], 0, 4 * LENGTH_S)
    assert [(block.look, block.start_s, block.end_s) for block in found] == [
        ("ok", 0, 3 * LENGTH_S),
        ("missing", 3 * LENGTH_S, 4 * LENGTH_S),
    ]


def test_low_closed_defect_and_missing_stay_four_things() -> None:
    records = [stored(0, "low"), stored(1, "closed"), stored(2, "defect")]
    found = blocks(records, 0, 4 * LENGTH_S)
    assert [block.look for block in found] == ["low", "closed", "defect", "missing"]


def test_a_run_of_withheld_windows_holds_at_most_nine_passages() -> None:
    records = [stored(0, "ok", 1, 50), *(stored(i, "low") for i in range(1, 4))]
    day = total(blocks(records, 0, 5 * LENGTH_S), 15)
    assert (day.said, day.most, day.batches, day.withheld, day.unknown) == (50, 59, 1, 3, 1)


def test_after_sixteen_withheld_windows_another_run_begins() -> None:
    day = total(blocks([stored(i, "low") for i in range(17)], 0, 17 * LENGTH_S), 15)
    assert (day.said, day.most) == (0, 18)


def test_a_day_without_records_is_unknown() -> None:
    day = total(blocks([], 0, 86400), 15)
    assert (day.said, day.most, day.unknown) == (0, 0, 96)
