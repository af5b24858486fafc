"""What faces say of tracks: whether a mask is worn, by a vote over all looks at a person.

This module does not recognise anybody: a face is a place and a word (`observation.Face`), it
belongs to whoever's box it is the head of, and the votes die with the track.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.core.assignment import FORBIDDEN, assign
from edge_agent.core.observation import Box, Face, Observation
from edge_agent.core.tracking import Track


@dataclass(frozen=True, slots=True)
class VoteSettings:
    """When a vote over a person's faces says something.

    Attributes:
        fewest: looks that must have been judged.
        majority: share of them, weighted by the detector's score, that must agree.
    """

    fewest: int = 2
    majority: float = 0.6


def heads(observation: Observation, tracks: Sequence[Track]) -> dict[int, Face]:
    """Return the faces of an observation by the id of the track whose head they are.

    A head is in the upper part of a person's box; each face belongs to one person at most.
    """
    seen = [track for track in tracks if track.seen_at_s == observation.at_s]
    if not seen or not observation.faces:
        return {}
    costs = [
        [_misfit(track.box, face.box.stretched(observation.aspect)) for face in observation.faces]
        for track in seen
    ]
    return {seen[row].id: observation.faces[column] for row, column in assign(costs)}


def _misfit(person: Box, face: Box) -> float:
    """Return how far a face is from where a person's head is, in person heights."""
    x = (face.left + face.right) / 2
    y = (face.top + face.bottom) / 2
    slack = 0.1 * person.width
    aside = abs(x - (person.left + person.right) / 2)
    down = (y - person.top) / person.height
    size = face.height / person.height
    if aside > person.width / 2 + slack or not -0.1 <= down <= 0.5 or not 0.03 <= size <= 0.9:
        return FORBIDDEN
    return aside / person.height + abs(down - size / 2)


class Votes:
    """How often each live track was seen with a mask and without. `update` once an observation."""

    def __init__(self, settings: VoteSettings | None = None) -> None:
        self._settings = settings or VoteSettings()
        self._looks: dict[int, list[float]] = {}

    def update(self, faces: Mapping[int, Face], alive: Collection[int]) -> None:
        """Take the faces of one observation in, by track; forget tracks that have ended."""
        for gone in self._looks.keys() - set(alive):
            del self._looks[gone]
        for track, face in faces.items():
            if face.mask == "unknown":
                continue
            votes = self._looks.setdefault(track, [0.0, 0.0, 0.0])
            votes[0] += 1
            # Worn wrongly is not worn.
            votes[1 if face.mask == "mask" else 2] += face.score

    def masked(self, track: int) -> bool | None:
        """Return whether a track's person wears a mask; None where the looks do not say."""
        looks, worn, bare = self._looks.get(track, (0.0, 0.0, 0.0))
        if looks < self._settings.fewest:
            return None
        if max(worn, bare) < self._settings.majority * (worn + bare):
            return None
        return worn > bare
