"""Turns tracks into passages: crossings of a line, confirmed by hysteresis.

This module does not release anything and knows no window. What it holds of a person is which side
of a line the foot was last surely on; it is gone when the track is.

A passage needs the foot surely on one side, then surely on the other, the margin between::

            margin
          ┊ ◄──► ┊
    sure  ┊  │   ┊  sure            1 surely behind, 2 on the line, 3 surely before: one passage
      1 ──┼──2───┼─► 3              1, 2, back to 1: none, however often
          ┊  │   ┊
            line

The way between the two must meet the line between its ends. The margin scales with the person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.core.geometry import Point, Segment, crossing_point, stretch
from edge_agent.core.observation import Observation
from edge_agent.core.tracking import Track, Tracker, TrackerSettings


@dataclass(frozen=True, slots=True)
class Line:
    """A counting line in normalised coordinates; forward as `geometry.Segment` draws it."""

    id: str
    start: Point
    end: Point


@dataclass(frozen=True, slots=True)
class Passage:
    """One confirmed crossing.

    Attributes:
        line: the line's id.
        forward: the direction, as `geometry.Segment` draws it.
        at_s: event time of the confirmation.
        track: id of the track, local to the process; never logged, never sent.
        masked: whether a mask was worn; None where that was not judged.
    """

    line: str
    forward: bool
    at_s: float
    track: int
    masked: bool | None = None


@dataclass(frozen=True, slots=True)
class CounterSettings:
    """What counting depends on.

    Attributes:
        margin: how far from the line a foot is surely on a side, in person heights.
        end_slack: by how much a way may miss the ends of the line, in person heights.
    """

    margin: float = 0.1
    end_slack: float = 0.1


def counter(lines: Sequence[Line], view: Literal["side", "overhead"]) -> "Counter":
    """Return a counter for a camera that looks from the side, or straight down.

    From above a body's centre is seen at once and to the pixel, and people turn on the spot.
    """
    if view == "side":
        return Counter(lines)
    return Counter(lines, tracker=TrackerSettings(noise=0.03, acceleration=2.5))


@dataclass(slots=True)
class _Sure:
    """Where a track's foot was last surely on a side."""

    side: int
    foot: Point
    distance: float


class Counter:
    """Counts passages over lines. `update` once for each observation, in order of time."""

    def __init__(
        self,
        lines: Sequence[Line],
        settings: CounterSettings | None = None,
        tracker: TrackerSettings | None = None,
    ) -> None:
        self._lines = tuple(lines)
        self._settings = settings or CounterSettings()
        self._tracker = Tracker(tracker)
        self._sure: dict[int, dict[str, _Sure]] = {}

    @property
    def tracks(self) -> Sequence[Track]:
        """The live tracks."""
        return self._tracker.tracks

    def update(self, observation: Observation) -> tuple[Passage, ...]:
        """Take an observation in; return the passages that it confirms."""
        self._tracker.update(observation)
        alive = {track.id for track in self._tracker.tracks}
        for gone in self._sure.keys() - alive:
            del self._sure[gone]
        if not observation.seen:
            return ()
        passages = []
        for line in self._lines:
            segment = Segment(
                stretch(line.start, observation.aspect), stretch(line.end, observation.aspect)
            )
            for track in self._tracker.tracks:
                if track.seen_at_s < observation.at_s:
                    continue
                forward = self._crossed(line.id, segment, track)
                if forward is not None:
                    passages.append(Passage(line.id, forward, observation.at_s, track.id))
        return tuple(passages)

    def _crossed(self, line_id: str, segment: Segment, track: Track) -> bool | None:
        """Return the direction in which a track has just surely crossed, or None."""
        foot = track.foot
        distance = segment.side(foot)
        known = self._sure.setdefault(track.id, {})
        if abs(distance) < self._settings.margin * track.height:
            return None
        side = 1 if distance > 0 else -1
        before = known.get(line_id)
        if before is None or before.side == side:
            known[line_id] = _Sure(side, foot, distance)
            return None
        if not track.confirmed:
            return None
        known[line_id] = _Sure(side, foot, distance)
        at = segment.along(crossing_point(before.foot, foot, before.distance, distance))
        slack = self._settings.end_slack * track.height / segment.length
        return side > 0 if -slack <= at <= 1 + slack else None
