"""People on board of a vehicle, from its doors: who got in less who got out, and how sure that is.

This module does not know who is on board, and follows nobody: it adds and subtracts passages. Each
passage may be wrong, so what it believes drifts; how far, it says by the square root of passages
(a random walk). Where that is too far, or a door was not watched, it says nothing until the
vehicle stands empty at a terminus::

    on board    ┌──┐ ┌───┐     nobody at a door for three minutes, and by
              ┌─┘  └─┘   └┐    what is believed perhaps nobody on board: empty
              ┘           └──────
"""

import math
from collections.abc import Sequence

from edge_agent.core.counting import Passage
from edge_agent.core.observation import Observation
from edge_agent.core.tally import ZoneTally
from edge_agent.wire.declaration import Vehicle

WRONG_SHARE = 0.05
"""Of passages, so many are taken to be missed, or counted twice."""
WIDE_SHARE = 0.1
"""Of the capacity, beyond which what is believed is not said."""
LEAST_DRIFT = 5.0
TERMINUS_S = 180.0
LONGEST_STEP_S = 1.0
LONGEST_GAP_S = 5.0


class Boarding:
    """The people on board of one vehicle. `update` once for each observation, in order of time."""

    def __init__(self, vehicle: Vehicle) -> None:
        """Begin not knowing: the device may have been started with people on board."""
        self._inward = {door.line: door.inward == "forward" for door in vehicle.doors}
        self._most_drift = max(LEAST_DRIFT, WIDE_SHARE * vehicle.capacity)
        self._believed = 0
        self._passages = 0
        self._too_many_out = 0
        self._is_known = False
        self._was_known = True
        self._at_s: float | None = None
        self._seen_s: float | None = None
        self._quiet_since_s: float | None = None
        self._boarded = 0
        self._stayed_s = 0.0
        self._length_s = 0.0

    @property
    def drift(self) -> float:
        """How far what is believed may be off, in people: two standard deviations."""
        return 2 * math.sqrt(WRONG_SHARE * self._passages)

    @property
    def is_sayable(self) -> bool:
        """Whether what is believed is near enough to the truth."""
        return self._is_known and self.drift <= self._most_drift

    @property
    def believed(self) -> int:
        """People on board, by what is believed."""
        return self._believed

    def update(self, observation: Observation, passages: Sequence[Passage]) -> None:
        """Take an observation and its passages in.

        1. Time goes on for whoever is on board; a door that was not watched makes us unsure.
        2. People get in and out; more of them out than can have been in makes us unsure, too.
        3. A long rest with perhaps nobody on board is a terminus: empty.
        """
        now_s = observation.at_s
        # 1.
        step_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._stayed_s += self._believed * min(step_s, LONGEST_STEP_S)
        self._length_s += min(step_s, LONGEST_STEP_S)
        if self._seen_s is not None and now_s - self._seen_s > LONGEST_GAP_S:
            self._is_known, self._quiet_since_s = False, now_s
        if observation.seen:
            self._seen_s = now_s
        # 2.
        for passage in passages:
            if passage.line in self._inward:
                self._pass(inward=passage.forward == self._inward[passage.line], at_s=now_s)
        # 3.
        if self._quiet_since_s is None:
            self._quiet_since_s = now_s
        if now_s - self._quiet_since_s >= TERMINUS_S and self._believed <= self.drift:
            self._believed = self._passages = self._too_many_out = 0
            self._is_known = True
        self._was_known = self._was_known and self.is_sayable

    def _pass(self, *, inward: bool, at_s: float) -> None:
        self._quiet_since_s = at_s
        self._passages += 1
        self._boarded += inward
        self._believed += 1 if inward else -1
        if self._believed < 0:
            self._believed = 0
            self._too_many_out += 1
            if self._too_many_out > self.drift + 2:
                self._is_known = False

    def close(self) -> ZoneTally | None:
        """Return the sums since the last call; None where not all of them can be relied on.

        Contributors are those who boarded: nobody counts for two windows. Nobody's stay is known,
        so the longest is taken to be all of the time.
        """
        tally = None
        if self._was_known:
            tally = ZoneTally(self._boarded, self._stayed_s, self._length_s)
        self._boarded, self._stayed_s, self._length_s = 0, 0.0, 0.0
        self._was_known = self.is_sayable
        return tally
