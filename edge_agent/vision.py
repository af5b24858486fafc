"""The process that owns the camera: it counts, decides, seals and signs.

It has no network and writes no file. What leaves it goes through one socket to the publisher.
"""

import logging
import math
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

from edge_agent import config
from edge_agent.config import AgentConfig, Loaded
from edge_agent.core import counting, ground
from edge_agent.core.attributes import Votes, heads
from edge_agent.core.boarding import Boarding
from edge_agent.core.counting import Passage
from edge_agent.core.gesture import Gestures
from edge_agent.core.observation import Observation
from edge_agent.core.release import Release, Speaker
from edge_agent.core.tally import ZoneTally
from edge_agent.core.windows import Windows
from edge_agent.core.zones import Zones
from edge_agent.io.light import Light
from edge_agent.io.outlet import ASK_STOPS_S, Outlet
from edge_agent.io.stops import Stops
from edge_agent.pixels.source import (
    FacesWanted,
    Keeper,
    Source,
    SourceError,
    check,
    is_live,
    open_source,
)
from edge_agent.wire.declaration import Declaration

log = logging.getLogger(__name__)

FINISH_WITHIN_S = 10.0
REPLAY_TICK_S = 60
LATE_ONE_IN = 100
"""A day on which more frames than one in so many were dropped was not kept up with."""


class _Stopped(Exception):  # noqa: N818 - not an error
    """Somebody asked vision to stop."""


class Halted(Exception):  # noqa: N818 - not an error
    """The city has stopped or lifted something: begin anew, with that."""


class Vision:
    """Observations in, drafts of records out."""

    def __init__(self, loaded: Loaded, speaker: Speaker, outlet: Outlet, light: Light) -> None:
        self._outlet = outlet
        self._light = light
        declared = loaded.declared
        self._declared = declared
        self._delay_s = declared.delay_s
        self._live = is_live(loaded.agent.camera.source)
        self._counter = counting.counter(
            [counting.Line(line.id, line.start, line.end) for line in declared.lines],
            loaded.agent.camera.view,
        )
        self._votes = Votes()
        self._gestures = Gestures()
        self._objectors: set[int] = set()
        self._zones = Zones(declared.zones, fitted(loaded.agent.ground))
        self._boarding = Boarding(declared.vehicle) if declared.vehicle else None
        self._windows = Windows(declared.window_min, self._close_zones, self._votes.masked)
        self._release = Release(declared, speaker)
        self._told_s = 0
        self._was_blind = False

    def run(self, observations: Iterable[Observation]) -> None:
        """Count until the observations end."""
        for observation in observations:
            self._light.tend(time.monotonic())
            if self._outlet.changed.is_set():
                raise Halted
            passages = self._follow(observation)
            counted = [passage for passage in passages if passage.track not in self._objectors]
            in_view = {track.id for track in self._counter.tracks}
            for window in self._windows.observe(observation, counted, in_view):
                # R1: a camera's records wait a fixed time; a replay's clock is not the wall's.
                due_s = time.monotonic() + (self._delay_s if self._live else 0.0)
                for draft in self._release.decide(window):
                    self._outlet.say(draft, due_s)
                self._tell_blindness()
            self._watch_zones(observation)
            if self._boarding:
                # What is believed of people on board knows nobody, and so no objector.
                self._boarding.update(observation, passages)
            self._heed(observation)
            if not self._live:
                self._tell_time(observation.at_s)

    def _follow(self, observation: Observation) -> tuple[Passage, ...]:
        """Follow people and what their faces wear; return the passages that are confirmed."""
        passages = self._counter.update(observation)
        alive = {track.id for track in self._counter.tracks}
        self._objectors &= alive
        self._votes.update(heads(observation, self._counter.tracks), alive)
        return passages

    def _heed(self, observation: Observation) -> None:
        """R12: take whoever has just shaken the head out of every count, and say so by light."""
        if not self._declared.objection:
            return
        shaken = self._gestures.update(observation)
        if not shaken:
            return
        owners = {face: track for track, face in heads(observation, self._counter.tracks).items()}
        for face in shaken:
            track = owners.get(face)
            self._windows.withdraw(track)
            if track is not None:
                self._objectors.add(track)
                self._zones.withdraw(track)
            self._light.acknowledge(time.monotonic())

    def _close_zones(self) -> dict[str, ZoneTally]:
        sums = self._zones.close()
        if self._boarding and self._declared.vehicle:
            on_board = self._boarding.close()
            if on_board is not None:
                sums[self._declared.vehicle.id] = on_board
        return sums

    def _watch_zones(self, observation: Observation) -> None:
        """Measure in zones while a module that needs it is on, and not a moment longer."""
        at = datetime.fromtimestamp(observation.at_s, UTC)
        distance = self._declared.allows("distance", at, at)
        if distance or self._declared.allows("occupancy", at, at):
            tracks = [t for t in self._counter.tracks if t.id not in self._objectors]
            self._zones.update(observation, tracks, distances=distance)

    def _tell_blindness(self) -> None:
        """Say, once a day at most, that masks could not be judged: nothing is published of them."""
        if self._release.is_blind_for_masks != self._was_blind:
            self._was_blind = self._release.is_blind_for_masks
            if self._was_blind:
                log.warning("event=masks_not_judged why='faces too small, or turned away'")
            else:
                log.info("event=masks_judged_again")

    def _tell_time(self, at_s: float) -> None:
        """Log a replay's clock, once a minute of its own time."""
        if at_s - self._told_s >= REPLAY_TICK_S:
            self._told_s = math.floor(at_s / REPLAY_TICK_S) * REPLAY_TICK_S
            at = datetime.fromtimestamp(self._told_s, UTC)
            log.info("event=replay at=%s", at.strftime("%Y-%m-%dT%H:%MZ"))


def fitted(given: config.Ground | None) -> ground.Ground | None:
    """Return the ground that a configuration defines, if it defines one.

    Raises:
        GroundError: it cannot be trusted.
    """
    if given is None:
        return None
    if given.square is not None:
        return ground.square(given.square.corners, given.square.side_m)
    return ground.fit([ground.Mark(mark.picture, mark.floor_m) for mark in given.marks])


def faces_wanted(declared: Declaration) -> FacesWanted | None:
    """Return what faces are looked for, and when: while a module needs them, or objections do."""
    masks = any(module.name == "masks" for module in declared.modules)
    if not (masks or declared.objection):
        return None

    def when(at_s: float) -> bool:
        at = datetime.fromtimestamp(at_s, UTC)
        return declared.objection or declared.allows("masks", at, at)

    return FacesWanted(masks, when)


def resumed(agent: AgentConfig, outlet: Outlet, now_s: float) -> AgentConfig:
    """Return a replay's configuration so that it begins where nothing was burnt yet.

    It begins at `replay.start`, or now, on a whole window, and after the newest burnt one.
    """
    length_s = 60 * agent.release.window_min
    start = agent.replay.start
    begin_s = start.timestamp() if start else math.floor(now_s / length_s) * length_s
    for line in agent.lines:
        last_s = outlet.last_burnt_s(line.id)
        if last_s is not None:
            begin_s = max(begin_s, last_s + length_s)
    replay = agent.replay.model_copy(update={"start": datetime.fromtimestamp(begin_s, UTC)})
    return agent.model_copy(update={"replay": replay})


def run(
    loaded: Loaded,
    speaker: Speaker,
    outlet: Outlet,
    stops: Stops,
    light: Light,
    *,
    keeper: Keeper | None,
    now_s: float,
) -> None:
    """Open the source and count until it ends or somebody stops us.

    Args:
        loaded: the configuration.
        speaker: what records say of us.
        outlet: where they go.
        stops: what the city has stopped.
        light: that tells people that their objection was seen.
        keeper: of the camera's decoder.
        now_s: seconds since 1970 UTC.

    Raises:
        SourceError: the source or the detector cannot be used, or memory cannot be locked.
        GroundError: the calibration of the floor cannot be trusted.
        Halted: the city has stopped or lifted something; the camera is closed.
    """
    agent = loaded.agent
    check(agent.camera.source)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        loaded, speaker = _allowed(loaded, speaker, outlet, stops)
    except _Stopped:
        log.info("event=stopped")
        return
    running = agent if is_live(agent.camera.source) else resumed(agent, outlet, now_s)
    wanted = faces_wanted(loaded.declared)
    with open_source(running.camera, running.replay, running.detector, keeper, wanted) as source:
        if not (source.is_locked() or speaker.development):
            raise SourceError("memory for pictures cannot be locked: allow 32 MiB (LimitMEMLOCK=)")
        log.info("event=started config=%s width=%d height=%d", speaker.config, *source.size)
        looking = Vision(loaded, speaker, outlet, light)
        outlet.start()
        halted = False
        try:
            looking.run(_daily(source, outlet))
            log.info("event=source_ended")
        except _Stopped:
            log.info("event=stopping")
        except Halted:
            halted = True
        health = source.health()
    light.close()
    if halted:
        # The camera is closed; what was decided before may still be said, after its fixed delay.
        log.warning("event=halted why='a stop command'")
        outlet.obey()
        outlet.finish(loaded.declared.delay_s + FINISH_WITHIN_S)
        raise Halted
    outlet.finish(FINISH_WITHIN_S)
    within = health.late + health.overruns == 0
    log.info("event=stopped frames_within_100_ms=%s", "all" if within else "not all")


def _allowed(
    loaded: Loaded, speaker: Speaker, outlet: Outlet, stops: Stops
) -> tuple[Loaded, Speaker]:
    """Return what may run now; wait, with the camera closed, while nothing may.

    Records go on naming what was declared: what is stopped is a part of it.
    """
    told = False
    while True:
        outlet.ask_stops()
        outlet.obey()
        if not stops.everything:
            break
        if not told:
            log.warning("event=halted why='everything is stopped'; the camera stays closed")
        told = True
        time.sleep(ASK_STOPS_S)
    declared = loaded.declared
    kept = tuple(module for module in declared.modules if module.name not in stops.modules)
    if len(kept) < len(declared.modules):
        log.warning("event=modules_stopped modules=%s", ",".join(sorted(stops.modules)))
    said = replace(speaker, config=declared.fingerprint())
    return replace(loaded, declared=declared.model_copy(update={"modules": kept})), said


def _daily(source: Source, outlet: Outlet) -> Iterator[Observation]:
    """Pass observations on, and tell once a day (UTC) how well frames were dealt with (R11)."""
    day, before = date.min, source.health()
    for observation in source:
        today = datetime.fromtimestamp(observation.at_s, UTC).date()
        if today != day:
            health = source.health()
            if day != date.min:
                looked = health.frames - before.frames
                late = health.late - before.late
                outlet.tell_health(
                    day.toordinal(),
                    latency=health.overruns == before.overruns,
                    kept_up=late * LATE_ONE_IN < looked + late or late == 0,
                )
            day, before = today, health
        yield observation


def _stop(_signal: int, _frame: object) -> None:
    raise _Stopped
