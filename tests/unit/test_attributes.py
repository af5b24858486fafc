"""Faces belong to the people whose heads they are; votes over them make one word a person."""

from edge_agent.core.attributes import Votes, heads
from edge_agent.core.counting import Counter
from edge_agent.core.observation import Box, Detection, Face, Mask, Observation


def person(x: float) -> Detection:
    return Detection(Box(x - 0.05, 0.2, x + 0.05, 0.8), 0.9)


def face(x: float, y: float = 0.22, mask: Mask = "mask", score: float = 0.9) -> Face:
    return Face(Box(x - 0.015, y, x + 0.015, y + 0.08), score, 0.0, 0.5, mask)


def follow(*faces: Face, people: tuple[float, ...] = (0.3, 0.7)) -> tuple[Counter, Observation]:
    counter = Counter([])
    observation = Observation(0.0, 1.0)
    for step in range(5):
        seen = tuple(person(x) for x in people)
        observation = Observation(1000 + step / 10, 1.0, seen, faces)
        counter.update(observation)
    return counter, observation


def test_a_face_is_the_head_of_whoever_it_sits_on() -> None:
    left, right = face(0.31), face(0.69)
    counter, observation = follow(left, right)
    owners = {
        min((0.3, 0.7), key=lambda x: abs(x - track.foot[0])): heads(observation, counter.tracks)[
            track.id
        ]
        for track in counter.tracks
    }
    assert owners == {0.3: left, 0.7: right}


def test_a_face_at_the_knees_or_beside_is_nobodys() -> None:
    counter, observation = follow(face(0.3, y=0.7), face(0.5))
    assert heads(observation, counter.tracks) == {}


def test_each_person_has_one_head() -> None:
    counter, observation = follow(face(0.3), face(0.31, y=0.26), people=(0.3,))
    assert len(heads(observation, counter.tracks)) == 1


def vote(*looks: Mask, score: float = 0.9) -> bool | None:
    votes = Votes()
    for mask in looks:
        votes.update({1: face(0.3, mask=mask, score=score)}, {1})
    return votes.masked(1)


def test_most_looks_decide() -> None:
    assert vote("mask", "mask", "no_mask") is True
    assert vote("no_mask", "no_mask", "mask") is False


def test_a_mask_worn_wrongly_is_not_worn() -> None:
    assert vote("incorrect", "incorrect", "incorrect") is False


def test_what_cannot_be_told_is_neither() -> None:
    assert vote("unknown", "unknown", "unknown") is None
    assert vote("mask") is None
    assert vote("mask", "no_mask") is None
    assert vote() is None


def test_votes_go_with_the_track() -> None:
    votes = Votes()
    for _ in range(3):
        votes.update({1: face(0.3), 2: face(0.7)}, {1, 2})
    votes.update({}, {2})
    assert votes.masked(1) is None
    assert votes.masked(2) is True
    assert set(votes._looks) == {2}
