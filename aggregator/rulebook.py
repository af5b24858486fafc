"""Rules from YAML and back: one line for a mistake, with the place where it is."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from aggregator.core.rules import Book

MOST_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """YAML whose `22:00`, `+336…` and `no` stay text, as whoever writes rules means them."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("int", r"^-?\d+$", "-0123456789"),
    ("float", r"^-?\d+\.\d+$", "-0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


class RulesError(ValueError):
    """The rules cannot be used; the message is one line that says what to do."""


def parse(text: str, name: str = "rules") -> Book:
    """Return the rules in a YAML text; `name` is what messages call it.

    Raises:
        RulesError: it is not YAML, or not rules.
    """
    if len(text) > MOST_BYTES:
        raise RulesError(f"{name}: expected at most {MOST_BYTES} bytes, got {len(text)}")
    try:
        fields = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader that reads less
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "not readable"
        raise RulesError(f"{name}: expected YAML{where}: {what}") from None
    except (ValueError, RecursionError):
        raise RulesError(f"{name}: expected YAML with plain values") from None
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise RulesError(f"{name}: expected people, rotas and rules, got {type(fields).__name__}")
    try:
        return Book.model_validate_json(json.dumps(fields, default=str))
    except ValidationError as error:
        raise RulesError(f"{name}: {_first_mistake(error, fields)}") from None
    except (ValueError, RecursionError):
        raise RulesError(f"{name}: expected plain values") from None


def _first_mistake(error: ValidationError, fields: dict[str, Any]) -> str:
    mistake = error.errors(include_url=False)[0]
    at: Any = fields
    where = []
    for part in mistake["loc"]:
        inner = at[part] if isinstance(at, list) and isinstance(part, int) else None
        if isinstance(inner, dict) and "name" in inner:
            where.append(str(inner["name"]))
        else:
            where.append(str(part))
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            at = None
    place = ".".join(where)
    if mistake["type"] == "extra_forbidden":
        return f"unknown key {place}"
    if mistake["type"] == "missing":
        return f"{place} is missing; add it"
    said = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error" and not place:
        return said
    got = "" if isinstance(mistake["input"], dict) else f", got {mistake['input']!r}"
    return f"{place}: {said}{got}"


def load(path: Path) -> Book:
    """Read a file of rules.

    Raises:
        RulesError: it cannot be read, or is none.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise RulesError(f"{path}: cannot be read ({error.strerror}); give another file") from None
    except UnicodeDecodeError:
        raise RulesError(f"{path}: expected YAML in UTF-8") from None


def dump(book: Book) -> str:
    """Return rules as YAML that `parse` reads back as the same."""
    return yaml.safe_dump(book.plain(), sort_keys=False, allow_unicode=True, width=100)
