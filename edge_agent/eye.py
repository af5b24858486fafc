"""The process that owns the camera while a device is installed: it has no network and no file.

It writes the newest coarse picture and a few numbers into memory that the assistant shares, and
takes what the technician draws from its standard input, a line of JSON each.
"""

import json
import logging
import mmap
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_agent import config, sandbox
from edge_agent.core import counting
from edge_agent.io.glass import SHARED, View, WalkState, publish
from edge_agent.io.process import log_to_stderr
from edge_agent.pixels import keeper as decoding

if TYPE_CHECKING:
    from edge_agent.pixels.preview import Preview, Scene

log = logging.getLogger(__name__)

MOST_LATE = 0.05
LEAST_FOCUS, DARKEST, BRIGHTEST = 0.25, 0.08, 0.92
MOST_GLARE, MOST_COVERED, MOST_TILT_DEG = 0.3, 0.85, 6.0
WALK_EACH_WAY = 5


class Walk:
    """The walk test: somebody walks five times in and five times out over each line drawn."""

    def __init__(self, view: Literal["side", "overhead"]) -> None:
        self._view: Literal["side", "overhead"] = view
        self._counter: Any = None
        self._forward = self._backward = 0
        self.state: WalkState = "off"
        self.seen = False
        self.why = ""

    def begin(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Count over a line from now on."""
        self._counter = counting.counter([counting.Line("walk", start, end)], self._view)
        self._forward = self._backward = 0
        self.state, self.why = "walking", ""

    def observe(self, observation: Any) -> None:
        """Take an observation in."""
        if self.state != "walking":
            return
        for passage in self._counter.update(observation):
            self.seen = not self.seen
            self._forward += passage.forward
            self._backward += not passage.forward

    def end(self) -> None:
        """Say whether what was seen is what was walked."""
        wrong = [
            f"{'too_many' if found > WALK_EACH_WAY else 'too_few'}_{way}"
            for way, found in (("forward", self._forward), ("backward", self._backward))
            if found != WALK_EACH_WAY
        ]
        self.state, self.why = ("failed", wrong[0]) if wrong else ("passed", "")
        self._forward = self._backward = 0


def judged(scene: "Scene", *, late: bool) -> dict[str, bool | None]:
    """Return which checks a scene passes."""
    tilt = None if scene.tilt_deg is None else abs(scene.tilt_deg) <= MOST_TILT_DEG
    return {
        "focus": scene.focus >= LEAST_FOCUS,
        "light": DARKEST <= scene.light <= BRIGHTEST and scene.glare <= MOST_GLARE,
        "covered": scene.covered <= MOST_COVERED,
        "tilt": tilt,
        "in_time": not late,
    }


class _Orders:
    """What the technician asks, line by line, without ever waiting for it."""

    def __init__(self) -> None:
        os.set_blocking(sys.stdin.fileno(), False)
        self._rest = b""

    def obey(self, walk: Walk) -> None:
        """Take what there is, if anything; end where the assistant has gone."""
        try:
            data = os.read(sys.stdin.fileno(), 4096)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit(0)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            if asked["walk"] == "begin":
                walk.begin(tuple(asked["start"]), tuple(asked["end"]))
            else:
                walk.end()


def main() -> None:
    """Look until the assistant goes. Arguments: descriptor of the shared memory, agent.toml."""
    sandbox.die_with_parent(signal.SIGKILL)
    sandbox.forbid_dumps()
    log_to_stderr()
    descriptor, path, unsafe = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "unsafe"
    memory = mmap.mmap(descriptor, SHARED)
    os.close(descriptor)
    agent = config.parse(config.read(path), str(path), signed=True).agent
    keeper = decoding.Keeper(decoding.order(agent.camera, agent.replay, lenient=unsafe))
    try:
        sandbox.confine(sandbox.Needs(devices=sandbox.accelerator(agent.detector.runtime)))
    except sandbox.SandboxError:
        if not unsafe:
            raise
    # Only now what can hold a picture.
    from edge_agent.pixels.preview import Preview, SourceError  # noqa: PLC0415

    try:
        with Preview(agent.camera, agent.replay, agent.detector, keeper) as preview:
            _look(preview, Walk(agent.camera.view), memory)
    except SourceError as error:
        log.error("event=cannot_look why=%r", str(error))  # noqa: TRY400


def _look(preview: "Preview", walk: Walk, memory: mmap.mmap) -> None:
    """Show the newest picture, and count what the walk test asks for."""
    orders, shown, number = _Orders(), None, 0
    for observation, picture, scene in preview:
        orders.obey(walk)
        walk.observe(observation)
        if picture is None or scene is None or picture is shown:
            continue
        shown, number = picture, number + 1
        health = preview.health()
        late = health.late > MOST_LATE * max(1, health.frames)
        works = judged(scene, late=late)
        view = View(picture.coarse, works, preview.aspect, walk.seen, walk.state, walk.why)
        publish(memory, number, view, picture.jpeg)


if __name__ == "__main__":
    main()
