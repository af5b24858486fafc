"""Rules from YAML and back: one line for a mistake, with the place where it is."""

import json
import re
from pathlib import Path

import yaml
from pydantic import ValidationError

from aggregator.core.mistakes import Mistake, first_of
from aggregator.core.rules import Book

MOST_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """YAML whose `22:00`, `06…`, `+336…` and `no` stay text, as whoever writes rules means them."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("int", r"^-?(?:0|[1-9]\d*)$", "-0123456789"),
    ("float", r"^-?\d+\.\d+$", "-0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


class RulesError(ValueError):
    """The rules cannot be used; its text is one line in English that says what to do.

    Attributes:
        mistake: what is wrong with them, for who reads French; none where a file is at fault.
    """

    def __init__(self, name: str, wrong: Mistake | str) -> None:
        self.mistake = wrong if isinstance(wrong, Mistake) else None
        said = wrong if isinstance(wrong, str) else wrong.said("en")
        super().__init__(f"{name}: {said}")


def parse(text: str, name: str = "rules") -> Book:
    """Return the rules in a YAML text; `name` is what messages call it.

    Raises:
        RulesError: it is not YAML, or not rules.
    """
    if len(text) > MOST_BYTES:
        raise RulesError(name, Mistake("too_large", {"most": MOST_BYTES, "got": len(text)}))
    try:
        fields = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader that reads less
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        particulars = {
            "line": mark.line + 1 if mark else 1,
            "problem": getattr(error, "problem", None) or "not readable",
        }
        raise RulesError(name, Mistake("no_yaml", particulars)) from None
    except (ValueError, RecursionError):
        raise RulesError(name, Mistake("no_plain_yaml")) from None
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise RulesError(name, Mistake("no_rules", {"what": type(fields).__name__}))
    try:
        return Book.model_validate_json(json.dumps(fields, default=str))
    except ValidationError as error:
        mistake = first_of(error.errors(include_url=False), fields)
        raise RulesError(name, mistake) from None
    except (ValueError, RecursionError):
        raise RulesError(name, Mistake("no_plain_yaml")) from None


def load(path: Path) -> Book:
    """Read a file of rules.

    Raises:
        RulesError: it cannot be read, or is none.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        why = f"cannot be read ({error.strerror}); give another file"
        raise RulesError(str(path), why) from None
    except UnicodeDecodeError:
        raise RulesError(str(path), "expected YAML in UTF-8") from None


def dump(book: Book) -> str:
    """Return rules as YAML that `parse` reads back as the same."""
    return yaml.safe_dump(book.plain(), sort_keys=False, allow_unicode=True, width=100)
