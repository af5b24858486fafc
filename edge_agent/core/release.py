"""Decides what may be said of a closed window. The only place that makes a record.

This module does not count, seal, send or keep anything on disk, and reads no clock. It holds, for
each scope, the sums of the windows since the last `ok` record, in memory alone; a restart loses
them, and what is lost is never said. Rule numbers are those of the release rules
(docs/privacy-proof.md).

A decision comes in two steps, so that the window's number is burnt in between (R9)::

    decide(window) ──► Draft ──► [publisher burns scope and window] ──► draft.record(randbelow)
"""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_agent.core import noise
from edge_agent.core.noise import RandBelow
from edge_agent.core.tally import FARTHEST_CM, LONGEST_STAY_S, LineTally, ZoneTally
from edge_agent.core.windows import ClosedWindow
from edge_agent.wire.declaration import Declaration
from edge_agent.wire.messages import (
    K_FLOOR,
    MASK_BAND,
    MAX_CARRIED_WINDOWS,
    MAX_DAY_WINDOWS,
    MEAN_STEP_CM,
    OBJECTIONS,
    ROUND_TO,
    UNJUDGED_BAND,
    Class,
    Directed,
    Distance,
    Masks,
    Occupancy,
    Record,
    Status,
    Total,
    rounded,
)

UNOBSERVED_LIMIT_S = 5.0
"""R14: a window may miss this much and still have been observed whole."""
LATE_LIMIT = 0.05
"""R1: with a larger share of frames dropped the measurement cannot be trusted."""
MOST_UNJUDGED = 0.7
"""R5: of what was seen, a larger share that could not be judged makes the rest mean nothing."""
SMALLEST_GROUP = 3
"""R5: a share is banded only where both sides are at least this."""
LARGEST_SHARE = 0.25
"""R6: nobody makes up more than this share of what is said."""


def say_passages(forward: int, backward: int, k: int) -> Directed | Total | None:
    """Return what may be said of two directions, or None where nothing may be.

    1. R2: fewer than k passages are not said.
    2. R4: both directions only where each has at least k.
    3. R4: otherwise the total alone.
    """
    k = max(k, K_FLOOR)
    # 1.
    if forward + backward < k:
        return None
    # 2.
    if forward >= k and backward >= k:
        return Directed(forward=rounded(forward), backward=rounded(backward))
    # 3.
    return Total(total=rounded(forward + backward))


def say_masks(masked: int, unmasked: int, unjudged: int, k: int) -> Masks | None:
    """Return what may be said of masks, or None where nothing may be.

    1. R5: only over at least k judged passages, and not where most could not be judged.
    2. R5: a side of fewer than 3 is coded so that 0, 1 and 2 look alike.
    3. R5: otherwise a band 5 points wide.
    """
    judged = masked + unmasked
    # 1.
    if judged < max(k, K_FLOOR) or unjudged > MOST_UNJUDGED * (judged + unjudged):
        return None
    blind = min(100 * unjudged // (judged + unjudged) // UNJUDGED_BAND * UNJUDGED_BAND, 90)
    # 2.
    edge = 100 * (judged - SMALLEST_GROUP + 1) // judged // MASK_BAND * MASK_BAND
    if unmasked < SMALLEST_GROUP:
        return Masks(bound="at_least", percent=edge, unjudged=blind)
    if masked < SMALLEST_GROUP:
        return Masks(bound="at_most", percent=100 - edge, unjudged=blind)
    # 3.
    return Masks(
        bound="between", percent=100 * masked // judged // MASK_BAND * MASK_BAND, unjudged=blind
    )


def say_occupancy(
    tally: ZoneTally, length_s: float, capacity: int, k: int, stay_limit_s: float = LONGEST_STAY_S
) -> Occupancy | None:
    """Return what may be said of stays in a zone or on board, or None where nothing may be.

    1. R6: at least k contributors.
    2. R6: none for longer than is allowed, nor with more than a quarter of it all.
    3. R6: the mean over time, rounded to 5, and a level against the capacity, taken of the rounded
       mean so that it says nothing more.
    """
    # 1.
    if tally.contributors < max(k, K_FLOOR) or tally.stayed_s <= 0:
        return None
    # 2.
    if tally.longest_s > stay_limit_s or tally.longest_s > LARGEST_SHARE * tally.stayed_s:
        return None
    # 3.
    mean = ROUND_TO * math.floor(tally.stayed_s / length_s / ROUND_TO + 0.5)
    share = mean / capacity
    if share < 0.35:
        return Occupancy(mean=mean, level="free")
    if share < 0.7:
        return Occupancy(mean=mean, level="busy")
    return Occupancy(mean=mean, level="crowded" if share < 1 else "full")


def say_distance(tally: ZoneTally, k: int) -> Distance | None:
    """Return what may be said of distances, or None where nothing may be.

    1. R7: over at least k people, one value each.
    2. R7: a share in four classes, only where both sides are at least 10.
    3. R7: the mean of distances of 5 m at most, to a quarter of a metre.
    """
    # 1.
    if tally.people < max(k, K_FLOOR):
        return None
    # 2.
    shares = [_class(within, tally.people) for within in (tally.within_1m, tally.within_2m)]
    # 3.
    mean_cm = MEAN_STEP_CM * math.floor(tally.apart_cm / tally.people / MEAN_STEP_CM + 0.5)
    return Distance(under_1m=shares[0], under_2m=shares[1], mean_cm=min(mean_cm, int(FARTHEST_CM)))


def _class(within: int, people: int) -> Class | None:
    if within < K_FLOOR or people - within < K_FLOOR:
        return None
    share = within / people
    if share < 0.1:
        return "under_10"
    if share < 0.25:
        return "under_25"
    return "under_50" if share < 0.5 else "from_50"


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks, and from which surroundings: what a record says besides its numbers."""

    build: str
    development: bool
    config: str | None = None
    """Fingerprint of what was declared, where a part of it is stopped; else it is computed."""


@dataclass(frozen=True, slots=True)
class _Noisy:
    """What the profile dp may say once it has drawn its noise: counts of disjoint classes."""

    line: LineTally
    masks: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision whose record is not made yet.

    Attributes:
        scope: of which line or zone.
        window_s: start of the window, seconds since 1970 UTC.
    """

    scope: str
    window_s: int
    _fields: dict[str, object] = field(repr=False)
    _noisy: _Noisy | None = field(default=None, repr=False)
    _k: int = K_FLOOR

    def record(self, randbelow: RandBelow, before: str | None, *, within_budget: bool) -> Record:
        """Make the record; once, and only after its window's number was burnt (R9).

        Args:
            randbelow: cryptographically secure; returns an integer from 0 to below its argument.
            before: digest of the sealed record before this one in its scope.
            within_budget: False where the day's epsilon is spent: then nothing is drawn or said.
        """
        fields = {**self._fields, "before": before}
        if self._noisy is not None:
            if within_budget:
                said = self._draw(self._noisy, randbelow)
                fields |= said or {"status": "low"}
            else:
                fields["status"] = "closed"
        return Record.model_validate(fields)

    def _draw(self, noisy: _Noisy, randbelow: RandBelow) -> dict[str, object] | None:
        """Return what the profile dp says, or None.

        1. R2 holds before any noise: fewer than k true passages are not said.
        2. One passage changes one coordinate by one; each gets its own noise.
        3. Only a noisy sum that reaches tau is said.
        4. From here on every number is a function of the noisy ones, rounded as in R3 to R5.
        """
        line, epsilon_milli = noisy.line, self._fields["epsilon_milli"]
        assert isinstance(epsilon_milli, int)  # noqa: S101 - for the type checker
        # 1.
        if line.total < self._k:
            return None
        # 2.
        cells = (
            (line.masked, line.unmasked, line.unjudged)
            if noisy.masks
            else (line.forward, line.backward)
        )
        drawn = [n + noise.discrete_laplace(epsilon_milli, randbelow) for n in cells]
        # 3.
        if sum(drawn) < noise.threshold(epsilon_milli, self._k, len(cells)):
            return None
        # 4.
        kept = [max(0, n) for n in drawn]
        if noisy.masks:
            masks = say_masks(kept[0], kept[1], kept[2], self._k)
            return {"status": "ok", "passages": Total(total=rounded(sum(kept))), "masks": masks}
        return {"status": "ok", "passages": say_passages(kept[0], kept[1], self._k)}


@dataclass(slots=True)
class _Held:
    """Whole windows held back since the last `ok` record of a scope (R2)."""

    windows: int = 0
    line: LineTally = field(default_factory=LineTally)
    zone: ZoneTally = field(default_factory=ZoneTally)
    masks: bool = True


class Release:
    """Decides, window after window, for all scopes of one device."""

    def __init__(self, declared: Declaration, speaker: Speaker) -> None:
        """Begin with nothing held.

        Args:
            declared: what the operator declared.
            speaker: who speaks.
        """
        self._declared = declared
        self._speaker = speaker
        self._lines = tuple(line.id for line in declared.lines)
        self._capacity = {zone.id: zone.capacity for zone in declared.zones}
        self._on_board = declared.vehicle.id if declared.vehicle else None
        if declared.vehicle:
            self._capacity[declared.vehicle.id] = declared.vehicle.capacity
        self._held: dict[str, _Held] = {}
        self._objections = 0
        self._day_windows = 0
        self._day: int | None = None
        self._mask_batches = self._blind_batches = 0
        self.is_blind_for_masks = False
        """Whether, of the last service day's batches, most could not say anything of masks.

        It is a function of what was released alone.
        """
        self._forget()

    def decide(self, window: ClosedWindow) -> tuple[Draft, ...]:
        """Return one draft a scope for a closed window (R1).

        1. R2: what is held ends with the service day.
        2. R1: outside service hours the window is closed; nothing is held over it.
        3. R14: a window not observed whole, or with too many late frames, is a defect, and so
           would be any batch with it: what is held is destroyed.
        4. R2 to R7: otherwise held sums and this window's are said together, or held on.
        5. R12: objections are said once, with the day's last window.
        """
        service = self._declared.service
        start = window.start
        end = start + timedelta(seconds=window.length_s)
        # 1.
        day = service.day_of(start)
        if day != self._day:
            self._forget()
            self.is_blind_for_masks = 2 * self._blind_batches > self._mask_batches
            self._mask_batches = self._blind_batches = 0
        self._day = day
        # 2.
        if not service.includes(start, end):
            self._forget()
            return self._all(window, "closed")
        # 3.
        whole = window.observed_s >= window.length_s - UNOBSERVED_LIMIT_S
        if not whole or window.late > LATE_LIMIT * window.looks:
            self._forget()
            return self._all(window, "defect")
        # 4.
        drafts = [self._decide_line(window, start, end, scope) for scope in self._lines]
        drafts += [self._decide_zone(window, end, scope) for scope in self._capacity]
        # 5.
        if self._declared.objection:
            drafts.append(self._decide_objections(window, start, end))
        return tuple(drafts)

    def _forget(self) -> None:
        self._held = {scope: _Held() for scope in (*self._lines, *self._capacity)}
        self._objections = self._day_windows = 0

    def _all(self, window: ClosedWindow, status: Status) -> tuple[Draft, ...]:
        return tuple(self._draft(window, scope, status) for scope in self._declared.scopes)

    def _decide_line(
        self, window: ClosedWindow, start: datetime, end: datetime, scope: str
    ) -> Draft:
        """R2 to R5. A module speaks of a batch only if it was on for the whole of it."""
        tally = window.lines.get(scope, LineTally())
        masks = self._declared.allows("masks", start, end)
        if self._declared.dp is not None:
            # The profile dp never merges: disjoint windows compose in parallel.
            return self._draft(window, scope, "ok", noisy=_Noisy(tally, masks))
        held = self._held[scope]
        held.windows += 1
        held.line += tally
        held.masks = held.masks and masks
        passages = say_passages(held.line.forward, held.line.backward, self._declared.k)
        if passages is None:
            return self._hold(window, scope)
        self._held[scope] = _Held()
        line = held.line
        said = (
            say_masks(line.masked, line.unmasked, line.unjudged, self._declared.k)
            if held.masks
            else None
        )
        self._mask_batches += held.masks
        self._blind_batches += held.masks and said is None
        return self._draft(window, scope, "ok", covers=held.windows, passages=passages, masks=said)

    def _decide_zone(self, window: ClosedWindow, end: datetime, scope: str) -> Draft:
        """R2, R6, R7. The profile dp says nothing of zones: one person moves several values.

        In a zone, a stay is capped; on board nobody's is known, and may be all of the time. Where
        people on board are not known, a batch with such a window would not be true; that is `low`
        like any other, since a few passages decide whether they are known (R1).
        """
        if scope == self._on_board and scope not in window.zones:
            self._held[scope] = _Held()
            return self._draft(window, scope, "low")
        held = self._held[scope]
        held.windows += 1
        held.zone = held.zone.then(window.zones.get(scope, ZoneTally()))
        length_s = float(held.windows * window.length_s)
        allows, k = self._declared.allows, self._declared.k
        begun = end - timedelta(seconds=length_s)
        occupancy = distance = None
        if self._declared.dp is None:
            if allows("occupancy", begun, end):
                limit_s = length_s if scope == self._on_board else held.windows * LONGEST_STAY_S
                occupancy = say_occupancy(held.zone, length_s, self._capacity[scope], k, limit_s)
            if allows("distance", begun, end):
                distance = say_distance(held.zone, k)
        if occupancy is None and distance is None:
            return self._hold(window, scope)
        self._held[scope] = _Held()
        return self._draft(
            window, scope, "ok", covers=held.windows, occupancy=occupancy, distance=distance
        )

    def _decide_objections(self, window: ClosedWindow, start: datetime, end: datetime) -> Draft:
        """R12: the day's number is a cell of its own, under R2 and R3; dp has no noise for it."""
        self._objections += window.objections
        self._day_windows += 1
        ends = self._declared.service.ends_with(start, end)
        said, covers = self._objections, min(self._day_windows, MAX_DAY_WINDOWS)
        if ends:
            self._objections = self._day_windows = 0
        if not ends or said < self._declared.k or self._declared.dp is not None:
            return self._draft(window, OBJECTIONS, "low")
        return self._draft(window, OBJECTIONS, "ok", covers=covers, objections=rounded(said))

    def _hold(self, window: ClosedWindow, scope: str) -> Draft:
        """R2: carry a window whole into the next, 16 at most; then destroy what is held."""
        if self._held[scope].windows == MAX_CARRIED_WINDOWS:
            self._held[scope] = _Held()
        return self._draft(window, scope, "low")

    def _draft(
        self,
        window: ClosedWindow,
        scope: str,
        status: Status,
        noisy: _Noisy | None = None,
        **said: object,
    ) -> Draft:
        declared = self._declared
        fields: dict[str, object] = {
            "device": declared.device,
            "scope": scope,
            "window": window.start,
            "window_min": declared.window_min,
            "status": status,
            "profile": declared.profile,
            "epsilon_milli": None if declared.dp is None else declared.dp.epsilon_milli,
            "config": self._speaker.config or declared.fingerprint(),
            "build": self._speaker.build,
            "development": self._speaker.development,
            **said,
        }
        return Draft(scope, window.start_s, fields, noisy, declared.k)
