"""When an alert begins and ends: a function of the released records of one scope, in their order.

This module does not read a clock, store or send. What was withheld, a defect, and nothing at all
neither fire nor clear (R10); what comes late is told to nobody.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from aggregator.core.day import Stored
from aggregator.core.measures import Interval, read
from aggregator.core.rules import OF_DEVICES, Rule, Where

STALE_S = 3600
"""A batch that arrives later than this after its end changes no alert."""
LONGEST_GAP_S = 4 * 3600
"""Batches further apart than this are not in a row."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule may look at: one scope of one device, and what the registry says of them.

    `scope` is empty where the device itself is meant.
    """

    device: str
    scope: str
    site: str
    label: str
    vehicle_line: str = ""
    tags: tuple[str, ...] = ()


def concerns(where: Where, target: Target) -> bool:
    """Return whether a rule's place includes a target."""
    return (
        where.site in (None, target.site)
        and where.device in (None, target.device)
        and where.scope in (None, target.scope)
        and where.vehicle_line in (None, target.vehicle_line)
        and (where.tag is None or where.tag in target.tags)
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """One batch's value.

    Attributes:
        begin_s, end_s: of the batch, half open, seconds since 1970 UTC.
        value: what was said.
    """

    begin_s: int
    end_s: int
    value: Interval


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of one rule and one target.

    Attributes:
        pending: batches in a row that met the rule.
        since_s: start of the first of them.
        seen_s: end of the newest batch that was looked at.
        firing: whether an alert is open.
        quiet_until_s: no alert begins before, since one has just ended.
    """

    pending: int = 0
    since_s: int = 0
    seen_s: int = 0
    firing: bool = False
    quiet_until_s: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """An alert begins, goes on with a new value, or ends."""

    kind: Literal["fired", "goes on", "resolved"]
    since_s: int
    at_s: int
    value: Interval
    sure: bool


def reading(rule: Rule, record: Stored) -> Reading | None:
    """Return what a record says of a rule's measure, if anything."""
    if rule.measure in OF_DEVICES:
        return None
    value = read(record, rule.measure)  # type: ignore[arg-type]
    return None if value is None else Reading(record.begin_s, record.end_s, value)


def meets(rule: Rule, value: Interval) -> tuple[bool, bool]:
    """Return whether a value meets a rule, and whether all that it can be does."""
    if rule.at_least is not None:
        sure = value.low >= rule.threshold
        likely = value.middle >= rule.threshold
    else:
        sure = value.high <= rule.threshold
        likely = value.middle <= rule.threshold
    return (sure if rule.sure else likely), sure


def is_over(rule: Rule, value: Interval) -> bool:
    """Return whether a value lies beyond the clear level."""
    if rule.at_least is not None:
        return value.middle < rule.clear_at
    return value.middle > rule.clear_at


def step(rule: Rule, state: State, new: Reading, zone: ZoneInfo) -> tuple[State, Change | None]:
    """Return the state after a batch, and what changes by it.

    1. A batch that is not newer than the newest changes nothing.
    2. A firing alert ends beyond its clear level, and not before.
    3. What meets the rule within its hours is counted; so many in a row fire.
    """
    # 1.
    if new.end_s <= state.seen_s:
        return state, None
    in_a_row = new.begin_s - state.seen_s <= LONGEST_GAP_S
    state = replace(state, seen_s=new.end_s)
    met, sure = meets(rule, new.value)
    # 2.
    if state.firing:
        if is_over(rule, new.value):
            quiet_s = new.end_s + 60 * rule.cool_down_min
            over = Change("resolved", state.since_s, new.end_s, new.value, sure)
            return State(seen_s=new.end_s, quiet_until_s=quiet_s), over
        return state, Change("goes on", state.since_s, new.end_s, new.value, sure)
    # 3.
    inside = rule.hours.include(datetime.fromtimestamp(new.begin_s, UTC), zone)
    if not (met and inside):
        return replace(state, pending=0), None
    pending = state.pending + 1 if state.pending and in_a_row else 1
    since_s = state.since_s if pending > 1 else new.begin_s
    if pending < rule.batches or new.end_s < state.quiet_until_s:
        return replace(state, pending=pending, since_s=since_s), None
    fired = replace(state, pending=pending, since_s=since_s, firing=True)
    return fired, Change("fired", since_s, new.end_s, new.value, sure)


def preview(
    rule: Rule,
    records: Iterable[tuple[Target, Stored]],
    may_alert: Callable[[Target, Stored], bool],
    zone: ZoneInfo,
) -> list[tuple[Target, Change]]:
    """Return the alerts that a rule would have raised and ended over stored records.

    Args:
        rule: perhaps one that is only being written.
        records: in the order of their windows.
        may_alert: whether the record's device declared alerts for its time.
        zone: the city's.
    """
    states: dict[Target, State] = {}
    found: list[tuple[Target, Change]] = []
    for target, record in records:
        new = reading(rule, record)
        if new is None or not concerns(rule.where, target) or not may_alert(target, record):
            continue
        state, change = step(rule, states.get(target, State()), new, zone)
        states[target] = state
        if change is not None and change.kind != "goes on":
            found.append((target, change))
    return found
