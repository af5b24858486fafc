"""What the tool says, in French and English."""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

Language = Literal["fr", "en"]


class Words:
    """One language's words."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        known = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
        self._words: dict[str, str] = {name: said[language] for name, said in known.items()}

    def __getitem__(self, name: str) -> str:
        return self._words[name]

    def say(self, name: str, **found: Any) -> str:
        """Return a sentence with what was found in it."""
        return self._words[name].format(**found)


def language(asked: str | None) -> Language:
    """Return the language asked for, or that of this computer."""
    wanted = asked or os.environ.get("LC_ALL") or os.environ.get("LANG") or "fr"
    return "fr" if wanted.lower().startswith("fr") else "en"
