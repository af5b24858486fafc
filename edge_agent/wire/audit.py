"""Checks a journal: that it was not changed, that nothing is missing, and that the rules were kept.

This module takes lines in and gives findings back; it opens no file, and needs nothing but this
folder and pydantic. So somebody who trusts neither the city nor us can read what it does.

A journal is JSON Lines: a head, then one line an entry, in the order of arrival::

    {"journal":1,"devices":{"bus-1":"RSA modulus, hex"},"declarations":[{…},…]}
    {"n":1,"chain":"…","sealed":"hex"}          chain = SHA-256(chain before + sealed)
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from edge_agent.wire import codec
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import (
    OBJECTIONS,
    DeviceId,
    Digest,
    Directed,
    Message,
    Record,
    Total,
    rounded,
)
from edge_agent.wire.signature import is_valid

START = hashlib.sha256(b"dizaine journal 1\n").hexdigest()
"""The chain's value before the first entry."""

M = TypeVar("M", bound=Message)
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*$")]


class Head(Message):
    """A journal's first line."""

    journal: Literal[1] = 1
    devices: dict[DeviceId, Hex]
    declarations: tuple[Declaration, ...]


class Entry(Message):
    """One record in a journal, as it was received."""

    n: Annotated[int, Field(ge=1)]
    chain: Digest
    sealed: Hex


def link(before: str, sealed: bytes) -> str:
    """Return an entry's chain value."""
    return hashlib.sha256(bytes.fromhex(before) + sealed).hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be, or, as a note, that a reader should know.

    Attributes:
        grave: whether the journal fails because of it.
        where: an entry's number, or a scope.
        what: one line.
    """

    grave: bool
    where: str
    what: str

    def __str__(self) -> str:
        return f"{'WRONG' if self.grave else 'note '}  {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is needed of a record to hold it against its neighbours."""

    window_s: int
    length_s: int
    covers: int
    status: str
    digest: str
    before: str | None
    epsilon_milli: int
    day: int


@dataclass(slots=True)
class Audit:
    """Takes a journal's entries in one after the other; `finish` then looks at it as a whole."""

    devices: Mapping[str, bytes]
    declarations: Iterable[Declaration]
    entries: int = 0
    chain: str = START
    said: dict[str, int] = field(default_factory=dict)
    """How many records of each status were read."""
    builds: set[str] = field(default_factory=set)
    _scopes: dict[tuple[str, str], list[_Kept]] = field(default_factory=dict)
    _declared: dict[tuple[str, str], Declaration] = field(default_factory=dict)
    _development: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._declared = {(d.device, d.fingerprint()): d for d in self.declarations}

    def take(self, entry: Entry) -> Iterator[Finding]:
        """Check one entry by itself.

        1. It follows the entry before it, in number and in chain.
        2. It is a sealed record, and its device has signed these bytes.
        3. It says nothing that its declared configuration does not allow.
        """
        where = f"entry {entry.n}"
        sealed = bytes.fromhex(entry.sealed)
        # 1.
        self.entries += 1
        if entry.n != self.entries:
            yield Finding(
                True, where, f"expected entry {self.entries}: one was taken out or put in"
            )
            self.entries = entry.n
        if link(self.chain, sealed) != entry.chain:
            yield Finding(True, where, "does not follow from the entry before it")
        self.chain = entry.chain
        # 2.
        try:
            unsealed = codec.unseal(sealed)
        except codec.WireError as error:
            yield Finding(True, where, f"no record: {error}")
            return
        record = unsealed.record
        key = self.devices.get(record.device)
        if key is None or not is_valid(key, unsealed.signature, unsealed.signed):
            yield Finding(True, where, f"not signed by {record.device}")
            return
        # 3.
        declared = self._declared.get((record.device, record.config))
        if declared is None:
            yield Finding(True, where, f"its configuration {record.config} was never declared")
        else:
            for offence in offences(record, declared):
                yield Finding(True, where, offence)
        self._keep(record, codec.digest(sealed), declared)

    def _keep(self, record: Record, digest: str, declared: Declaration | None) -> None:
        self.said[record.status] = self.said.get(record.status, 0) + 1
        self.builds.add(record.build)
        if record.development:
            self._development[record.device] = self._development.get(record.device, 0) + 1
        kept = _Kept(
            window_s=int(record.window.timestamp()),
            length_s=60 * record.window_min,
            covers=record.covers,
            status=record.status,
            digest=digest,
            before=record.before,
            epsilon_milli=record.epsilon_milli or 0,
            day=declared.service.day_of(record.window) if declared else 0,
        )
        self._scopes.setdefault((record.device, record.scope), []).append(kept)

    def finish(self) -> Iterator[Finding]:
        """Check every scope's records against each other, and each day's privacy budget."""
        spent: dict[tuple[str, int], int] = {}
        for (device, scope), records in sorted(self._scopes.items()):
            records.sort(key=lambda kept: kept.window_s)
            yield from _in_order(f"{device}/{scope}", records)
            if scope != OBJECTIONS:
                for kept in records:
                    if kept.status in ("ok", "low"):
                        key = (device, kept.day)
                        spent[key] = spent.get(key, 0) + kept.epsilon_milli
        budgets = {d.device: d.dp.day_budget_milli for d in self._declared.values() if d.dp}
        for (device, day), milli in sorted(spent.items()):
            if device in budgets and milli > budgets[device]:
                date = datetime.fromordinal(day).date()
                yield Finding(True, device, f"{date}: spent more epsilon than its budget")
        for device, count in sorted(self._development.items()):
            yield Finding(False, device, f"{count} records from unsafe surroundings (development)")


def offences(record: Record, declared: Declaration) -> Iterator[str]:
    """Yield what a record says that its declaration does not allow.

    1. Its scope, its window's length, its profile are the declared ones.
    2. R2: no number below the declared k, rounded as R3 has it.
    3. R1: closed outside the service hours, and nothing else there; a batch is of one service day.
    4. Each module's numbers lie within its declared time.
    """
    end = record.window + timedelta(minutes=record.window_min)
    begin = end - record.covers * timedelta(minutes=record.window_min)
    # 1.
    known = declared.scopes
    if record.scope not in known:
        yield f"scope {record.scope} was not declared"
    if record.window_min != declared.window_min:
        yield f"a window of {record.window_min} min, declared were {declared.window_min}"
    epsilon = None if declared.dp is None else declared.dp.epsilon_milli
    if (record.profile, record.epsilon_milli) != (declared.profile, epsilon):
        yield "another privacy profile than declared"
    # 2.
    if any(number < rounded(declared.k) for number in _numbers(record)):
        yield f"a number below the declared k of {declared.k}"
    # 3.
    service = declared.service
    outside = not service.includes(record.window, end)
    if outside and record.status != "closed":
        yield "speaks outside its service hours"
    if not outside and record.status == "closed" and declared.dp is None:
        yield "says closed within its service hours"
    if record.covers > 1 and not (
        service.includes(begin, end) and service.day_of(begin) == service.day_of(record.window)
    ):
        yield "a batch over more than a service day"
    # 4.
    for name, spoken in (
        ("masks", record.masks), ("occupancy", record.occupancy), ("distance", record.distance),
    ):  # fmt: skip
        if spoken is not None and not declared.allows(name, begin, end):  # type: ignore[arg-type]
            yield f"module {name} was not declared for that time"


def _numbers(record: Record) -> list[int]:
    match record.passages:
        case Directed(forward=forward, backward=backward):
            return [forward, backward]
        case Total(total=total):
            return [total]
        case None:
            pass
    return [] if record.objections is None else [record.objections]


def _in_order(where: str, records: list[_Kept]) -> Iterator[Finding]:
    """Yield what is wrong between the records of a scope, sorted by window.

    1. One record a window.
    2. Each names the one before it: so none was dropped in between.
    3. A batch speaks of windows that nothing else speaks of.
    """
    spoken_until_s = None
    for i, record in enumerate(records):
        at = datetime.fromtimestamp(record.window_s, UTC).strftime("%Y-%m-%dT%H:%MZ")
        previous = records[i - 1] if i else None
        # 1.
        if previous is not None and previous.window_s == record.window_s:
            yield Finding(True, where, f"{at}: said twice, in two ways")
            continue
        # 2.
        if previous is not None and record.before is None:
            yield Finding(False, where, f"{at}: its device begins a new chain here")
        elif record.before != (previous.digest if previous else None):
            yield Finding(True, where, f"{at}: the record before it is missing")
        # 3.
        begin_s = record.window_s - (record.covers - 1) * record.length_s
        if spoken_until_s is not None and begin_s < spoken_until_s:
            yield Finding(True, where, f"{at}: speaks of a window that was spoken of before")
        if record.status == "ok":
            spoken_until_s = record.window_s + record.length_s
            low = {
                r.window_s for r in records[max(0, i - record.covers + 1) : i] if r.status == "low"
            }
            carried = set(range(begin_s, record.window_s, record.length_s))
            if carried - low:
                yield Finding(True, where, f"{at}: carries a window that was not low")


def check(lines: Iterable[str]) -> Iterator[Finding | Audit]:
    """Yield the findings of a journal's lines, and at the end the audit itself, with its sums.

    Raises:
        codec.WireError: a line is not a journal's.
    """
    read = iter(lines)
    head = _parse(Head, next(read, ""), 1)
    keys = {name: bytes.fromhex(key) for name, key in head.devices.items()}
    audit = Audit(keys, head.declarations)
    for number, line in enumerate(read, 2):
        yield from audit.take(_parse(Entry, line, number))
    yield from audit.finish()
    yield audit


def _parse(model: type[M], line: str, number: int) -> M:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise codec.WireError(f"line {number}: not a journal's: {first['msg']}") from None


def head_line(devices: Mapping[str, bytes], declarations: Iterable[str]) -> str:
    """Return a journal's first line; declarations are given in their canonical encoding."""
    bodies = ",".join(declarations)
    keys = json.dumps({name: key.hex() for name, key in devices.items()}, separators=(",", ":"))
    return f'{{"journal":1,"devices":{keys},"declarations":[{bodies}]}}'


def entry_line(n: int, chain: str, sealed: bytes) -> str:
    """Return an entry's line."""
    return json.dumps({"n": n, "chain": chain, "sealed": sealed.hex()}, separators=(",", ":"))
