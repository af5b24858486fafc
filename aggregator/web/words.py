"""What the pages say, from `words.toml`: the one place for every word that is read."""

import tomllib
from functools import lru_cache
from pathlib import Path

from aggregator.core.language import Language


@lru_cache(maxsize=2)
def words(language: Language) -> dict[str, str]:
    """Return all words in one language."""
    told = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
    return {name: said[language] for name, said in told.items()}


def choose(wanted: str | None, header: str | None, default: Language) -> Language:
    """Return the language that a visitor asked for, by a link or by the browser's preference."""
    if wanted in ("fr", "en"):
        return "fr" if wanted == "fr" else "en"
    for part in (header or "").lower().split(","):
        tag = part.split(";")[0].strip()[:2]
        if tag in ("fr", "en"):
            return "fr" if tag == "fr" else "en"
    return default
