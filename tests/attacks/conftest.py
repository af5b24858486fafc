"""Prints what each attacker gained, as a table, after the attacks."""

from collections.abc import Callable, Iterator

import pytest

Row = Callable[[str, str, object, object], None]


@pytest.fixture(scope="session")
def gained() -> Iterator[Row]:
    """Return a function that notes: the attack, what it is, its gain naively, its gain here."""
    rows: list[tuple[str, str, str, str]] = []

    def note(name: str, what: str, naive: object, here: object) -> None:
        rows.append((name, what, str(naive), str(here)))

    yield note
    rows.sort(key=lambda row: int(row[0].lstrip("A").split(",")[0].split()[0]))
    head = ("", "attack", "naive promise of 2020", "Dizaine")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(4)]
    print()
    for row in [head, tuple("-" * width for width in widths), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
