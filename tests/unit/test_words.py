"""Everything that the trail can say has words in French and English."""

import ast
from collections.abc import Iterator
from pathlib import Path

from aggregator.web.words import words

ROOT = Path(__file__).parents[2]


def acts() -> Iterator[str]:
    """Yield the third word of every `trail.note(connection, at, who, act)`, and of `_note`."""
    for path in (ROOT / "aggregator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = {"note": 3, "_note": 1}.get(name)
            if place is None or len(node.args) <= place:
                continue
            for part in ast.walk(node.args[place]):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def test_every_act_of_the_trail_has_its_words() -> None:
    found = set(acts())
    assert {"claim-made", "device-enrolled", "stopped", "lifted"} <= found
    for language in ("fr", "en"):
        said = words(language)
        assert [act for act in sorted(found) if f"act_{act}" not in said] == []
