r"""Sees a head shake "no": a courtesy, by which a person leaves every count (R12).

This module does not recognise anybody. It follows heads for as long as they are in view, by place
alone, and keeps four seconds of two numbers of each: `turn` and `tilt` (`observation.Face`).

A shake is three swings to and fro, quick, alike and level. Turning to look is one or two, slow or
with a rest; a nod goes up and down::

    turn   /\  /\                     /-----\            ~~~~~~~~~
          /  \/  \   a "no"        __/       \__  a look  tilt /\/\/  a nod
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edge_agent.core.observation import Box, Face, Observation

MEMORY_S = 4.0


@dataclass(frozen=True, slots=True)
class ShakeSettings:
    """What a head shake is.

    Attributes:
        sure: score of the detector from which a face is followed.
        swings: to and fro, one after the other, that it takes.
        least: turn that each swing covers, in ways from eyes to mouth; of a large face.
        least_of_small: of a small one it is this, divided by the face's share of the picture's
            height: points of small faces tremble more.
        least_of_trembling: and so many times as much as tilt trembles from look to look.
        alike: share of the largest that the smallest must reach.
        steady: the longest swing may take so many times as long as the shortest.
        shortest_s, longest_s: of one swing.
        level: tilt may cover this share of the turn at most.
        looks_s: samples must not be farther apart, or swings are missed between them.
        many_s: nearer than this they are many.
    """

    sure: float = 0.4
    swings: int = 3
    least: float = 0.08
    least_of_small: float = 0.01
    least_of_trembling: float = 8.0
    alike: float = 0.55
    steady: float = 3.0
    shortest_s: float = 0.08
    longest_s: float = 0.9
    level: float = 0.65
    looks_s: float = 0.25
    many_s: float = 0.07


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a head."""

    at_s: float
    turn: float
    tilt: float


@dataclass(frozen=True, slots=True)
class Swing:
    """The turn between two extremes."""

    begin_s: float
    end_s: float
    turn: float


def swings(samples: Sequence[Sample], least: float) -> list[Swing]:
    """Return the swings of a head that are at least so large, the last one so far included.

    A turn back counts once it has gone half of `least`; less is trembling.
    """
    found: list[Swing] = []
    if not samples:
        return found
    begin = extreme = samples[0]
    for sample in samples[1:]:
        way = extreme.turn - begin.turn
        on = sample.turn - extreme.turn
        if way * on > 0 or (way == 0 and on):
            extreme = sample
        elif abs(on) >= least / 2:
            found.append(Swing(begin.at_s, extreme.at_s, way))
            begin, extreme = extreme, sample
        elif abs(way) < least / 2 and abs(sample.turn - begin.turn) > abs(way):
            extreme = sample
    found.append(Swing(begin.at_s, extreme.at_s, extreme.turn - begin.turn))
    return found


def trembling(values: Sequence[float]) -> float:
    """Return the standard deviation of what changes from look to look, whatever else moves.

    Second differences see no steady motion; their median is not moved by a few odd looks.
    """
    bends = sorted(
        abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)
    )
    return bends[len(bends) // 2] / (0.6745 * math.sqrt(6))


def is_shake(samples: Sequence[Sample], settings: ShakeSettings, height: float = 1.0) -> bool:
    """Return whether a head has just been shaken.

    1. One odd look among three is an error, where looks are many: medians of three.
    2. The last swings are large enough, quick, and like each other.
    3. They are level, and no look is missing between.

    Args:
        samples: looks at one head, in order of time.
        settings: what a shake is.
        height: of the face, as a share of the picture's.
    """
    # 1.
    if len(samples) < 2 * settings.swings:
        return False
    least = max(
        settings.least,
        settings.least_of_small / height,
        settings.least_of_trembling * trembling([sample.tilt for sample in samples]),
    )
    step_s = (samples[-1].at_s - samples[0].at_s) / (len(samples) - 1)
    smooth = list(samples)
    if step_s < settings.many_s:
        smooth = [
            Sample(b.at_s, sorted((a.turn, b.turn, c.turn))[1], sorted((a.tilt, b.tilt, c.tilt))[1])
            for a, b, c in zip(samples, samples[1:], samples[2:], strict=False)
        ]
    # 2.
    last = swings(smooth, least)[-settings.swings :]
    if not _are_alike(last, least, 1.5 * step_s, settings):
        return False
    # 3.
    during = [sample for sample in smooth if last[0].begin_s <= sample.at_s <= last[-1].end_s]
    tilts = [sample.tilt for sample in during]
    widest = max(abs(swing.turn) for swing in last)
    gap_s = max(later.at_s - sooner.at_s for sooner, later in pairwise(during))
    return max(tilts) - min(tilts) <= settings.level * widest and gap_s <= settings.looks_s


def _are_alike(
    last: Sequence[Swing], least: float, shortest_s: float, settings: ShakeSettings
) -> bool:
    """Return whether swings are enough, wide enough, quick, and like each other."""
    if len(last) < settings.swings:
        return False
    ways = [abs(swing.turn) for swing in last]
    took_s = [swing.end_s - swing.begin_s for swing in last]
    return (
        min(ways) >= max(least, settings.alike * max(ways))
        and min(took_s) >= max(settings.shortest_s, shortest_s)
        and max(took_s) <= min(settings.longest_s, settings.steady * min(took_s))
    )


@dataclass(slots=True)
class _Head:
    box: Box
    seen_at_s: float
    samples: deque[Sample] = field(default_factory=deque)
    objected: bool = False


class Gestures:
    """The heads in view. `update` once for each observation, in order of time."""

    KEEP_S = 0.6

    def __init__(self, settings: ShakeSettings | None = None) -> None:
        self._settings = settings or ShakeSettings()
        self._heads: list[_Head] = []

    def update(self, observation: Observation) -> list[Face]:
        """Take an observation in; return the faces that have just been shaken, each head once."""
        now_s = observation.at_s
        self._heads = [head for head in self._heads if now_s - head.seen_at_s <= self.KEEP_S]
        shaken = []
        for head, face, box in self._matched(observation):
            head.box, head.seen_at_s = box, now_s
            head.samples.append(Sample(now_s, face.turn, face.tilt))
            while now_s - head.samples[0].at_s > MEMORY_S:
                head.samples.popleft()
            if head.objected:
                continue
            if is_shake(tuple(head.samples), self._settings, face.box.height):
                head.objected = True
                shaken.append(face)
        return shaken

    def _matched(self, observation: Observation) -> list[tuple[_Head, Face, Box]]:
        """Return heads with the face each has now, nearest first; a new head for a new face."""
        boxes = [
            (face, face.box.stretched(observation.aspect))
            for face in observation.faces
            if face.score >= self._settings.sure
        ]
        pairs = sorted(
            (_apart(head.box, box), i, j)
            for i, head in enumerate(self._heads)
            for j, (_, box) in enumerate(boxes)
        )
        heads: dict[int, int] = {}
        for apart, i, j in pairs:
            if apart < 1.0 and i not in heads.values() and j not in heads:
                heads[j] = i
        found = []
        for j, (face, box) in enumerate(boxes):
            if j in heads:
                head = self._heads[heads[j]]
            else:
                head = _Head(box, observation.at_s)
                self._heads.append(head)
            found.append((head, face, box))
        return found


def _apart(one: Box, other: Box) -> float:
    """Return how far two faces are from being one, in face sizes; 1 or more: they are not."""
    dx = (one.left + one.right - other.left - other.right) / 2
    dy = (one.top + one.bottom - other.top - other.bottom) / 2
    size = abs(math.log(one.height / other.height))
    if size > 0.5:
        return 1.0
    return math.hypot(dx, dy) / (0.7 * max(one.height, other.height)) + 0.3 * size
