"""The process that owns the camera: it counts, decides, seals and signs.

It has no network and writes no file. What leaves it goes through one socket to the publisher.
"""

import logging
import math
import signal
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from edge_agent.config import AgentConfig
from edge_agent.core import counting
from edge_agent.core.observation import Observation
from edge_agent.core.release import Release, ReleaseSettings, ServiceHours
from edge_agent.core.windows import Windows
from edge_agent.io import keys
from edge_agent.io.outlet import Outlet
from edge_agent.pixels.source import check, is_live, open_source

log = logging.getLogger(__name__)

SOCKET_NAME = "agent.sock"
FINISH_WITHIN_S = 10.0
REPLAY_TICK_S = 60


class _Stopped(Exception):  # noqa: N818 - not an error
    """Somebody asked vision to stop."""


class Vision:
    """Observations in, records out."""

    def __init__(self, config: AgentConfig, outlet: Outlet) -> None:
        self._config = config
        self._outlet = outlet
        self._live = is_live(config.camera.source)
        self._counter = counting.Counter(
            [counting.Line(line.id, line.start, line.end) for line in config.lines]
        )
        self._windows = Windows(config.release.window_min)
        service = config.release.service
        self._release = Release(
            ReleaseSettings(
                device=config.device,
                config=config.fingerprint(),
                window_min=config.release.window_min,
                k=config.release.k,
                service=ServiceHours(service.opens, service.closes, service.timezone),
            ),
            [line.id for line in config.lines],
        )
        self._told_s = 0

    def run(self, observations: Iterable[Observation]) -> None:
        """Count until the observations end."""
        for observation in observations:
            passages = self._counter.update(observation)
            for window in self._windows.observe(observation, passages):
                # R1: a camera's records wait a fixed time; a replay's clock is not the wall's.
                wait_s = self._config.release.delay_s if self._live else 0.0
                due_s = time.monotonic() + wait_s
                for record in self._release.decide(window):
                    self._outlet.say(record, due_s)
            if not self._live:
                self._tell_time(observation.at_s)

    def _tell_time(self, at_s: float) -> None:
        """Log a replay's clock, once a minute of its own time."""
        if at_s - self._told_s >= REPLAY_TICK_S:
            self._told_s = math.floor(at_s / REPLAY_TICK_S) * REPLAY_TICK_S
            at = datetime.fromtimestamp(self._told_s, UTC)
            log.info("event=replay at=%s", at.strftime("%Y-%m-%dT%H:%MZ"))


def resumed(config: AgentConfig, outlet: Outlet, now_s: float) -> AgentConfig:
    """Return a replay's configuration so that it begins where nothing was burnt yet.

    It begins at `replay.start`, or now, on a whole window, and after the newest burnt one.
    """
    length_s = 60 * config.release.window_min
    start = config.replay.start
    begin_s = start.timestamp() if start else math.floor(now_s / length_s) * length_s
    for line in config.lines:
        last_s = outlet.last_burnt_s(line.id)
        if last_s is not None:
            begin_s = max(begin_s, last_s + length_s)
    replay = config.replay.model_copy(update={"start": datetime.fromtimestamp(begin_s, UTC)})
    return config.model_copy(update={"replay": replay})


def run(config: AgentConfig, now_s: float) -> None:
    """Open the source and count until it ends or somebody stops us.

    Raises:
        SourceError: the source or the detector cannot be used.
        KeyFileError: the key cannot be used.
    """
    key = keys.load(config.key_file)
    check(config.camera.source)
    outlet = Outlet(config.data_dir / SOCKET_NAME, key.sign)
    fingerprint = config.fingerprint()
    running = config if is_live(config.camera.source) else resumed(config, outlet, now_s)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    with open_source(running.camera, running.replay, running.detector) as source:
        log.info("event=started config=%s width=%d height=%d", fingerprint, *source.size)
        outlet.start()
        try:
            Vision(config, outlet).run(source)
            log.info("event=source_ended")
        except _Stopped:
            log.info("event=stopping")
        health = source.health()
    outlet.finish(FINISH_WITHIN_S)
    within = health.late + health.overruns == 0
    log.info("event=stopped frames_within_100_ms=%s", "all" if within else "not all")


def _stop(_signal: int, _frame: object) -> None:
    raise _Stopped
