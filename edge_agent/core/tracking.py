"""Links detections of successive frames into tracks.

This module does not count, recognise or remember anybody: a track is a position, a velocity and a
size. It has no look, it cannot be found again once lost, and all of it goes when the track does.

Two rounds of association, as in ByteTrack (Zhang et al., 2022): tracks are first matched with the
detections that the detector is sure of, and those still unmatched with the unsure ones, which may
continue a track but never begin one. Positions are filtered with one constant-velocity Kalman
filter an axis; all noise scales with the person's height, so no setting knows a resolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.core.assignment import FORBIDDEN, assign
from edge_agent.core.geometry import Point, overlap
from edge_agent.core.observation import Box, Observation


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """What tracking depends on; the defaults hold for side views from 5 to 30 frames a second.

    Attributes:
        sure: score from which a detection may begin a track and is matched first.
        unsure: score below which a detection is ignored.
        confirm_hits: detections that a track needs before it counts as a person.
        keep_s: how long a track without detections goes on, predicted.
        reach: how far from its prediction a detection may be, in person heights.
        reach_growth: by how much that grows for each second without a detection.
        noise: standard deviation of a detection's position, in person heights.
        acceleration: standard deviation of a walker's, in person heights per s².
    """

    sure: float = 0.5
    unsure: float = 0.15
    confirm_hits: int = 3
    keep_s: float = 1.5
    reach: float = 0.35
    reach_growth: float = 0.4
    reach_most: float = 0.9
    noise: float = 0.1
    acceleration: float = 0.8
    duplicate_s: float = 0.6


class _Axis:
    """Position and velocity along one axis, with their uncertainty (a Kalman filter of order 2)."""

    __slots__ = ("at", "p00", "p01", "p11", "speed")

    def __init__(self, at: float, noise: float, speed_noise: float) -> None:
        self.at = at
        self.speed = 0.0
        self.p00 = noise * noise
        self.p01 = 0.0
        self.p11 = speed_noise * speed_noise

    def predict(self, dt_s: float, acceleration: float) -> None:
        q = acceleration * acceleration
        self.at += self.speed * dt_s
        self.p00 += dt_s * (2 * self.p01 + dt_s * self.p11) + q * dt_s**4 / 4
        self.p01 += dt_s * self.p11 + q * dt_s**3 / 2
        self.p11 += q * dt_s * dt_s

    def correct(self, measured: float, noise: float) -> None:
        spread = self.p00 + noise * noise
        gain, speed_gain = self.p00 / spread, self.p01 / spread
        off = measured - self.at
        self.at += gain * off
        self.speed += speed_gain * off
        self.p11 -= speed_gain * self.p01
        self.p01 *= 1 - gain
        self.p00 *= 1 - gain


class Track:
    """One person followed from frame to frame, in isotropic coordinates.

    Attributes:
        id: local to this process, and gone with the track.
        foot: bottom centre, filtered.
        width, height: of the box, smoothed.
        hits: detections so far.
        seen_at_s: instant of the last detection.
    """

    __slots__ = (
        "_x",
        "_y",
        "begun_at_s",
        "confirmed",
        "height",
        "hits",
        "id",
        "score",
        "seen_at_s",
        "shadowed_s",
        "width",
    )

    def __init__(self, track_id: int, box: Box, at_s: float, settings: TrackerSettings) -> None:
        x, y = box.foot
        self.id = track_id
        self.height = box.height
        self.width = box.width
        self._x = _Axis(x, settings.noise * box.height, 0.8 * box.height)
        self._y = _Axis(y, settings.noise * box.height, 0.4 * box.height)
        self.begun_at_s = at_s
        self.seen_at_s = at_s
        self.hits = 1
        self.confirmed = False
        self.score = 0.0
        self.shadowed_s = 0.0

    @property
    def foot(self) -> Point:
        """Bottom centre, filtered."""
        return self._x.at, self._y.at

    @property
    def speed(self) -> Point:
        """Velocity of the foot in picture heights per second."""
        return self._x.speed, self._y.speed

    @property
    def box(self) -> Box:
        """The box where the person is now, predicted or just corrected."""
        x, y = self.foot
        return Box(x - self.width / 2, y - self.height, x + self.width / 2, y)

    def predict(self, dt_s: float, settings: TrackerSettings) -> None:
        """Move on by a time step."""
        push = settings.acceleration * self.height
        self._x.predict(dt_s, push)
        self._y.predict(dt_s, push)

    def correct(self, box: Box, at_s: float, settings: TrackerSettings) -> None:
        """Take a detection in."""
        x, y = box.foot
        noise = settings.noise * self.height
        self._x.correct(x, noise)
        self._y.correct(y, 1.5 * noise)
        self.height += 0.2 * (box.height - self.height)
        self.width += 0.2 * (box.width - self.width)
        self.hits += 1
        self.seen_at_s = at_s
        self.confirmed = self.confirmed or self.hits >= settings.confirm_hits


class Tracker:
    """All tracks of one camera. `update` once for each observation, in order of time."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._tracks: list[Track] = []
        self._next_id = 1
        self._at_s = -math.inf

    @property
    def tracks(self) -> Sequence[Track]:
        """The live tracks, those not yet confirmed and those predicted included."""
        return self._tracks

    def update(self, observation: Observation) -> None:
        """Move all tracks on to the observation's instant and match them with what it shows.

        1. Predict.
        2. Match confirmed tracks with sure detections.
        3. Match what is left of the tracks with unsure detections.
        4. Match young tracks with what is left of the sure ones.
        5. Begin tracks, end tracks, end doubles.
        """
        settings = self._settings
        dt_s = max(0.0, observation.at_s - self._at_s)
        self._at_s = observation.at_s
        # 1.
        for track in self._tracks:
            track.predict(min(dt_s, settings.keep_s), settings)
        if observation.seen:
            boxes = [(d.box.stretched(observation.aspect), d.score) for d in observation.detections]
            sure = [(b, s) for b, s in boxes if s >= settings.sure]
            unsure = [(b, s) for b, s in boxes if settings.unsure <= s < settings.sure]
            # 2.
            left, sure = self._match([t for t in self._tracks if t.confirmed], sure, 1.0)
            # 3.
            _, unsure = self._match(left, unsure, 0.7)
            # 4.
            young = [t for t in self._tracks if not t.confirmed]
            young, sure = self._match(young, sure, 1.0)
            self._match(young, unsure, 0.7)
            # 5.
            self._begin(sure)
        self._end(dt_s)

    def _match(
        self, tracks: list[Track], found: list[tuple[Box, float]], reach: float
    ) -> tuple[list[Track], list[tuple[Box, float]]]:
        if not tracks or not found:
            return tracks, found
        costs = [[self._cost(track, box, reach) for box, _ in found] for track in tracks]
        pairs = assign(costs)
        for row, column in pairs:
            tracks[row].correct(found[column][0], self._at_s, self._settings)
            tracks[row].score = found[column][1]
        rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
        return (
            [track for i, track in enumerate(tracks) if i not in rows],
            [detection for i, detection in enumerate(found) if i not in columns],
        )

    def _cost(self, track: Track, box: Box, reach: float) -> float:
        """Return how badly a detection fits a track: distance and size, in person heights."""
        settings = self._settings
        unseen_s = self._at_s - track.seen_at_s
        allowed = min(settings.reach + settings.reach_growth * unseen_s, settings.reach_most)
        tx, ty = track.foot
        x, y = box.foot
        # A person whose legs are hidden keeps the head where it was: the nearer end decides.
        dy = min(abs(y - ty), abs(box.top - (ty - track.height)) + 0.1 * track.height)
        distance = math.hypot(x - tx, dy) / track.height
        size = abs(math.log(box.height / track.height))
        if distance > allowed * reach or size > 0.6:
            return FORBIDDEN
        iou, _ = overlap(track.box, box)
        return distance + 0.4 * size + 0.5 * (1 - iou)

    def _begin(self, found: list[tuple[Box, float]]) -> None:
        for box, score in found:
            near = (overlap(track.box, box) for track in self._tracks)
            if any(iou > 0.5 or inside > 0.8 for iou, inside in near):
                continue
            track = Track(self._next_id, box, self._at_s, self._settings)
            track.score = score
            self._tracks.append(track)
            self._next_id += 1

    def _end(self, dt_s: float) -> None:
        now_s = self._at_s
        settings = self._settings
        self._tracks = [
            track
            for track in self._tracks
            if now_s - track.seen_at_s <= (settings.keep_s if track.confirmed else 0.5)
        ]
        doubles = set()
        for i, older in enumerate(self._tracks):
            for younger in self._tracks[i + 1 :]:
                iou, inside = overlap(older.box, younger.box)
                if iou > 0.7 or (inside > 0.9 and iou > 0.45):
                    younger.shadowed_s += dt_s
                    if younger.shadowed_s > settings.duplicate_s:
                        doubles.add(younger.id)
        self._tracks = [track for track in self._tracks if track.id not in doubles]
