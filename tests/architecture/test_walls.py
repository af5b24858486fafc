"""House rules that import-linter cannot express. Each failure names the file and the line."""

import ast
import inspect
import re
import typing
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import NoneType, UnionType

import pytest
from pydantic import AwareDatetime, BaseModel

from edge_agent.wire import enrolment, messages

ROOT = Path(__file__).parents[2]
PURE_FOLDERS = ("edge_agent/core", "edge_agent/wire", "aggregator/core")
PURE = sorted(path for folder in PURE_FOLDERS for path in (ROOT / folder).rglob("*.py"))
ALLOWED = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "itertools",
    "json",
    "math",
    "operator",
    "typing",
    "unicodedata",
    "zoneinfo",
    "pydantic",
    "edge_agent",
    "aggregator",
}
IMPURE_CALLS = {"open", "exec", "eval", "compile", "input", "print", "__import__"}
CLOCKS = {"now", "today", "utcnow"}


def offences(source: str) -> Iterator[str]:
    """Yield what a pure module must not do, as `line: offence`."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] not in ALLOWED:
                yield f"{node.lineno}: imports {name}"
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                yield f"{node.lineno}: calls {called.id}"
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                yield f"{node.lineno}: reads a clock with {called.attr}"


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_reaches_no_file_socket_clock_or_array(path: Path) -> None:
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import numpy",
        "import socket",
        "from pathlib import Path",
        "import time",
        "open('x')",
        "from datetime import datetime\ndatetime.now()",
        "__import__('os')",
    ],
)
def test_a_planted_offence_is_found(planted: str) -> None:
    assert len(list(offences(planted))) == 1


def leaves(annotation: object) -> Iterator[object]:
    """Yield the plain types of an annotation, `Literal` values left out."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return
    if origin is typing.Annotated:
        inner, *limits = typing.get_args(annotation)
        if inner is str and any(getattr(limit, "pattern", None) for limit in limits):
            return
        yield from leaves(inner)
    elif origin in (typing.Union, UnionType, tuple, list, frozenset):
        for argument in typing.get_args(annotation):
            if argument is not Ellipsis:
                yield from leaves(argument)
    else:
        yield annotation


def wire_models() -> list[type[BaseModel]]:
    return [
        model
        for module in (messages, enrolment)
        for _, model in inspect.getmembers(module, inspect.isclass)
        if issubclass(model, messages.Message) and model.__module__ == module.__name__
    ]


def field_offences(model: type[BaseModel]) -> Iterator[str]:
    """Yield what a wire field must not be: an open or opaque type, or one named for a person."""
    safe = (int, bool, date, NoneType, AwareDatetime, messages.Message)
    for name, field in model.model_fields.items():
        for leaf in leaves(field.annotation):
            if leaf is str:
                if not any(getattr(extra, "pattern", None) for extra in field.metadata):
                    yield f"{model.__name__}.{name}: free text"
            elif not (isinstance(leaf, type) and issubclass(leaf, safe)):
                yield f"{model.__name__}.{name}: {leaf}"
        if any(word in name for word in ("track", "frame", "face", "person")):
            yield f"{model.__name__}.{name}: named for a track or a frame"
    if model.model_config.get("extra") != "forbid" or not model.model_config.get("strict"):
        yield f"{model.__name__}: not closed and strict"


@pytest.mark.parametrize("model", wire_models(), ids=lambda model: model.__name__)
def test_no_wire_field_can_carry_pixels_or_identity(model: type[BaseModel]) -> None:
    assert list(field_offences(model)) == []


class _Leak(messages.Message):
    blob: bytes
    note: str
    ratio: float
    anything: dict[str, int]
    track_id: int


def test_a_planted_wire_leak_is_found() -> None:
    found = {offence.split(":")[0] for offence in field_offences(_Leak)}
    assert found == {f"_Leak.{name}" for name in ("blob", "note", "ratio", "anything", "track_id")}


SHIPPED = sorted(
    path
    for folder in ("edge_agent", "aggregator", "audit")
    for path in (ROOT / folder).rglob("*.py")
)
RELEASE = ROOT / "edge_agent" / "core" / "release.py"


def makes_a_record(source: str) -> Iterator[int]:
    """Yield the lines on which a record is made, rather than decoded from sealed bytes."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            called = called.value if called.attr.startswith("model_") else called
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        else:
            name = getattr(called, "id", "")
        if name == "Record":
            yield node.lineno


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_release_makes_a_record(path: Path) -> None:
    made = list(makes_a_record(path.read_text()))
    assert bool(made) == (path == RELEASE)


@pytest.mark.parametrize(
    "planted",
    ["Record(a=1)", "Record.model_construct(a=1)", "messages.Record(a=1)",
     "wire.messages.Record.model_validate({})", "Record.model_validate_json(b'')"],
)  # fmt: skip
def test_a_record_made_elsewhere_is_found(planted: str) -> None:
    assert list(makes_a_record(planted)) == [1]


def test_every_rule_has_its_number_where_it_is_kept() -> None:
    """Rules that live in code are named at their line; so a reader can find each one."""
    text = "".join(path.read_text() for path in SHIPPED)
    missing = [f"R{n}" for n in range(1, 16) if not re.search(rf"\bR{n}\b", text)]
    assert missing == []
