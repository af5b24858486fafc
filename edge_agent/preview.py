"""The process that owns the camera while a device is installed: it has no network and no file.

It shares the newest coarse picture and a few words with the assistant, and counts what the walk
test asks for. What it may do is taken away before anything here is loaded, as for vision.
"""

from typing import Any, Literal

from edge_agent.config import AgentConfig
from edge_agent.core import counting
from edge_agent.core.observation import Observation
from edge_agent.io.preview_link import Shown, View, WalkState
from edge_agent.pixels.keeper import Keeper
from edge_agent.pixels.preview import Scene, open_preview

MOST_LATE = 0.05
LEAST_FOCUS, DARKEST, BRIGHTEST = 0.25, 0.08, 0.92
MOST_GLARE, MOST_COVERED, MOST_TILT_DEG = 0.3, 0.85, 6.0
WALK_EACH_WAY = 5


class Walk:
    """The walk test: somebody walks five times in and five times out over a line."""

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

    def obey(self, order: dict[str, Any]) -> None:
        """Do what the technician asks."""
        if order["walk"] == "begin":
            self.begin(tuple(order["start"]), tuple(order["end"]))
        else:
            self.end()

    def observe(self, observation: Observation) -> None:
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


def judged(scene: Scene, *, late: bool) -> dict[str, bool | None]:
    """Return which checks a scene passes."""
    tilt = None if scene.tilt_deg is None else abs(scene.tilt_deg) <= MOST_TILT_DEG
    return {
        "focus": scene.focus >= LEAST_FOCUS,
        "light": DARKEST <= scene.light <= BRIGHTEST and scene.glare <= MOST_GLARE,
        "covered": scene.covered <= MOST_COVERED,
        "tilt": tilt,
        "in_time": not late,
    }


def run(agent: AgentConfig, keeper: Keeper, shown: Shown) -> None:
    """Show the newest picture, and count what the walk test asks for, until the camera ends.

    Raises:
        SourceError: the camera or the networks cannot be used.
    """
    walk, shown_last = Walk(agent.camera.view), None
    source, looking = open_preview(agent.camera, agent.replay, agent.detector, keeper)
    with source:
        width, height = source.size
        for observation in source:
            for order in shown.orders():
                walk.obey(order)
            walk.observe(observation)
            if looking.newest is None or looking.newest is shown_last:
                continue
            shown_last = picture, scene = looking.newest
            health = source.health()
            late = health.late > MOST_LATE * max(1, health.frames)
            works = judged(scene, late=late)
            view = View(picture.coarse, works, width / height, walk.seen, walk.state, walk.why)
            shown.publish(view, picture.jpeg)
