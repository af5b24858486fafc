"""Attacks A1 to A19: what an attacker gains against the naive promise, and against these rules.

Each attacker sees only what it could: public records, the network's metadata, a disk without
power, or, where stated, everything but one person. A1 to A14 are those of the release rules; A15
to A19 are further ones from statistical disclosure control.
"""

import inspect
import itertools
import logging
import math
import random
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.core.day import Stored, blocks, total
from aggregator.core.verdict import Accepted, Device, Reason, judge
from aggregator.store.database import Database, Incoming
from aggregator.store.registry import Place
from edge_agent.config import Loaded
from edge_agent.core import noise
from edge_agent.core.observation import Box, Detection, Observation
from edge_agent.core.release import Draft, Release, Speaker, say_masks, say_passages
from edge_agent.core.tally import LineTally
from edge_agent.core.windows import ClosedWindow
from edge_agent.io.ledger import Ledger
from edge_agent.io.light import Light
from edge_agent.io.spool import Spool
from edge_agent.vision import Vision
from edge_agent.wire import codec, topics
from edge_agent.wire.declaration import Module
from edge_agent.wire.messages import Directed, Masks, Record, Total, rounded
from edge_agent.wire.signature import is_valid
from tests.attacks import naive
from tests.attacks.crowd import Crowd, crowd, poisson
from tests.records import KEY, NO_SIGNATURE, a_declaration, a_private_declaration
from tests.unit.test_config import GOOD, parse

pytestmark = pytest.mark.attacks

LENGTH_S = 900
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
MONDAY_S = int(MONDAY.timestamp())
SPEAKER = Speaker("0" * 16, development=False)
MASKS_ON = Module(
    name="masks", legal_basis="law", purpose="counting", contact="dpo@x.example",
    start=MONDAY, end=MONDAY + timedelta(days=400),
)  # fmt: skip


def closed(index: int, tally: LineTally) -> ClosedWindow:
    start_s = MONDAY_S + index * LENGTH_S
    return ClosedWindow(start_s, LENGTH_S, LENGTH_S, 0, 6300, {"main": tally})


def tally(people: Crowd) -> LineTally:
    return LineTally(people.count, 0, people.masked, people.unmasked)


def device(*, masks: bool = True) -> Release:
    return Release(a_declaration(modules=(MASKS_ON,) if masks else ()), SPEAKER)


def no_draw(_below: int) -> int:
    raise AssertionError("the standard profile draws nothing")


def said(release: Release, index: int, held: LineTally) -> Record:
    (draft,) = release.decide(closed(index, held))
    return draft.record(no_draw, None, within_budget=True)


def without_window(record: Record) -> str:
    return str(record.model_dump(exclude={"window", "before"}))


# -- A1: a small cell


def test_a1_small_cells(gained: Any) -> None:
    """11 of 12 masked tells on the twelfth; all of a group tells on everybody."""
    chance = random.Random(1)
    could_be: dict[tuple[Any, Any], set[int]] = defaultdict(set)
    for masked, unmasked in itertools.product(range(130), repeat=2):
        key = (say_passages(masked + unmasked, 0, 10), say_masks(masked, unmasked, 0, 10))
        could_be[key].add(min(masked, unmasked))
    naive_hits = hits = published = 0
    for _ in range(4000):
        people = crowd(chance.choice([10, 14, 20, 30, 50]), chance.choice([0.6, 0.8, 0.95]), chance)
        batch = naive.publish(people)
        if batch is None:
            continue
        published += 1
        minority = min(people.masked, people.unmasked)
        exact = round(batch.share * batch.count / 100) == people.masked
        naive_hits += exact and minority <= 2
        record = said(device(), 0, tally(people))
        candidates = could_be[record.passages, record.masks]
        hits += len(candidates) == 1 and minority <= 2
    gained("A1", "small cell or homogeneous group", f"{naive_hits} of {published} told", hits)
    assert naive_hits > 500
    assert hits == 0


# -- A2: a sum minus its parts


def test_a2_a_roll_up_minus_its_parts(gained: Any) -> None:
    """The hour minus three published quarters is the fourth, which was suppressed."""
    chance = random.Random(2)
    tried = naive_hits = hits = 0
    for _ in range(2000):
        counts = [poisson(16, chance) for _ in range(4)]
        low = [i for i, n in enumerate(counts) if n < naive.K]
        if len(low) != 1:
            continue
        tried += 1
        published = sum(n for i, n in enumerate(counts) if i not in low)
        naive_hits += sum(counts) - published == counts[low[0]]
        release = device(masks=False)
        records = [said(release, i, LineTally(n, 0)) for i, n in enumerate(counts)]
        day = total(blocks([stored(r) for r in records], MONDAY_S, MONDAY_S + 3600), 15)
        # Whatever the suppressed window held, nothing that is shown changes but a batch's total.
        other = list(counts)
        other[low[0]] = (counts[low[0]] + 1) % naive.K
        release = device(masks=False)
        again = [said(release, i, LineTally(n, 0)) for i, n in enumerate(other)]
        told = total(blocks([stored(r) for r in again], MONDAY_S, MONDAY_S + 3600), 15)
        carried = any(record.covers > 1 for record in records)
        hits += (day != told) and not carried
        hits += day.most - day.said not in (0, 9)
    gained("A2", "roll-up minus its parts", f"{naive_hits} of {tried} recovered", hits)
    assert naive_hits == tried > 200
    assert hits == 0


def stored(record: Record) -> Stored:
    passages = record.passages
    directed = passages if isinstance(passages, Directed) else None
    return Stored(
        window_s=int(record.window.timestamp()),
        window_min=record.window_min,
        status=record.status,
        covers=record.covers,
        forward=directed.forward if directed else None,
        backward=directed.backward if directed else None,
        total=passages.total if isinstance(passages, Total) else None,
    )


# -- A3: overlapping windows


def test_a3_overlapping_windows_and_scopes(gained: Any) -> None:
    chance = random.Random(3)
    pairs = naive_hits = 0
    for _ in range(300):
        minutes = [poisson(2, chance) for _ in range(40)]
        for start in range(1, 25):
            one, next_one = sum(minutes[start - 1 : start + 14]), sum(minutes[start : start + 15])
            if min(one, next_one) >= naive.K:
                pairs += 1
                naive_hits += one != next_one
    overlaps = 0
    release = device(masks=False)
    spoken: set[int] = set()
    for index in range(960):
        record = said(release, index, LineTally(poisson(6, chance), 0))
        if record.status == "ok":
            windows = set(range(index - record.covers + 1, index + 1))
            overlaps += len(windows & spoken)
            spoken |= windows
    gained("A3", "overlapping windows subtracted", f"{naive_hits} of {pairs} pairs", overlaps)
    assert naive_hits > 0.7 * pairs
    assert overlaps == 0
    with pytest.raises(Exception, match="count the same people"):
        parse({**GOOD, "lines": [*GOOD["lines"], {"id": "b", "start": [0.5, 0], "end": [0.5, 1]}]})


# -- A4: the instant of publication


def test_a4_the_end_of_a_batch_tells_when_the_tenth_passed(gained: Any) -> None:
    """Here a batch ends on a window's boundary: it tells the window, and nothing within it."""
    chance = random.Random(4)
    naive_errors, errors, ends = [], [], set()
    for _ in range(3000):
        times, at = [], 0.0
        while at < 4 * LENGTH_S:
            at += chance.expovariate(14 / LENGTH_S)
            times.append(at)
        tenth = times[9]
        published = max(LENGTH_S, tenth)  # "at least 15 minutes, once ten have passed"
        if published > LENGTH_S:
            naive_errors.append(published - tenth)
        counts = Counter(int(t // LENGTH_S) for t in times)
        release = device(masks=False)
        for index in range(4):
            record = said(release, index, LineTally(counts[index], 0))
            if record.status == "ok":
                ends.add(LENGTH_S * (index + 1) % LENGTH_S)
                errors.append((tenth - LENGTH_S * index, index))
                break
    error = 0.0
    for index in {index for _, index in errors}:
        within = sorted(t for t, i in errors if i == index)
        guess = within[len(within) // 2]
        error += sum(abs(t - guess) for t in within)
    error /= len(errors)
    told = f"{sum(naive_errors) / len(naive_errors):.0f} s off"
    gained("A4", "when did the tenth pass", told, f"{error:.0f} s off: the crowd's own spread")
    assert ends == {0}
    assert error > 90


# -- A5, A6: an insider who knows all but one


def distribution(draft: Draft, epsilon_milli: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return the exact probability of every record that a private draft can lead to."""
    decay = math.exp(-epsilon_milli / 1000)
    reach = math.ceil(9 * 1000 / epsilon_milli)
    values = range(-reach, reach + 1)
    chances = {x: (1 - decay) / (1 + decay) * decay ** abs(x) for x in values}
    assert draft._noisy is not None
    found: Counter[str] = Counter()
    for cells in itertools.product(values, repeat=2):
        drawn = iter(cells)
        monkeypatch.setattr(noise, "discrete_laplace", lambda *_, d=drawn: next(d))
        told = draft._draw(draft._noisy, no_draw)
        found[str(told)] += math.prod(chances[x] for x in cells)  # type: ignore[assignment]
    return found


def advantage(one: Counter[str], other: Counter[str]) -> float:
    """Return the total variation: how much better than a coin an insider can guess."""
    return sum(max(0.0, one[key] - other[key]) for key in one.keys() | other.keys())


@pytest.mark.parametrize(("epsilon_milli", "bar"), [(1000, 0.46), (500, 0.24), (250, 0.12)])
def test_a5_a6_an_insider_knows_all_but_one(
    epsilon_milli: int, bar: float, gained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(a_private_declaration(epsilon_milli), SPEAKER)

    def told(forward: int, backward: int) -> Counter[str]:
        (draft,) = release.decide(closed(next(indices), LineTally(forward, backward)))
        return distribution(draft, epsilon_milli, monkeypatch)

    indices = itertools.count()
    crowds = [(10, 0), (9, 1), (24, 14), (30, 40)] if epsilon_milli > 250 else [(9, 1), (30, 40)]
    class_gain = max(advantage(told(f + 1, b), told(f, b + 1)) for f, b in crowds)
    presence_gain = max(advantage(told(f + 1, b), told(f, b)) for f, b in [*crowds, (9, 0)])
    epsilon = epsilon_milli / 1000
    gained("A5", f"insider: of which class is X? (dp, ε {epsilon:g})", 1.0, f"{class_gain:.3f}")
    gained("A6", f"insider: was X there? (dp, ε {epsilon:g})", 1.0, f"{presence_gain:.3f}")
    assert presence_gain <= bar + 0.02
    assert class_gain <= bar + 0.02


def test_a5_a6_no_threshold_helps_against_an_insider(gained: Any) -> None:
    """Stated in the README and the public notice: the standard profile does not claim to."""
    most = max(float(say_passages(n + 1, 0, 10) != say_passages(n, 0, 10)) for n in range(60))
    gained("A6", "insider: was X there? (standard)", 1.0, f"{most:g}, as stated")
    assert most == 1.0


# -- A7: smallest and largest


def test_a7_smallest_and_largest(gained: Any) -> None:
    chance = random.Random(7)
    published = naive_hits = 0
    for _ in range(3000):
        people = crowd(chance.choice([10, 15, 20]), 0.8, chance)
        couple = chance.random() < 0.5
        distances = people.distances_m + ((0.35, 0.35) if couple else (1.5, 1.5))
        batch = naive.publish(replace(people, distances_m=distances))
        if batch is not None:
            published += 1
            naive_hits += (batch.smallest_m <= 0.36) == couple
    names = set(Record.model_fields)
    for part in (Directed, Total, Masks):
        names |= set(part.model_fields)
    extremes = {name for name in names if any(w in name for w in ("min", "max", "first", "last"))}
    gained("A7", "smallest distance tells on a couple", f"{naive_hits} of {published}", 0)
    assert naive_hits > 0.75 * published
    assert extremes == {"window_min"}  # minutes of a window


# -- A8: size, topic, schedule


def test_a8_size_topic_and_schedule(gained: Any) -> None:
    chance = random.Random(8)
    naive_sizes, sizes, names, counts = set(), set(), set(), Counter()
    for mean in (0, 4, 12, 60, 500):
        release = device()
        for index in range(60):
            people = crowd(mean, 0.8, chance)
            batch = naive.publish(people)
            naive_sizes.add(len(batch.text) if batch else 0)
            record = said(release, index, tally(people))
            sizes.add(len(codec.seal(record, KEY.sign)))
            names.add(topics.record(record.device, record.scope))
            counts[mean] += 1
    gained("A8", "size, topic and schedule", f"{len(naive_sizes)} sizes", f"{len(sizes)} size")
    assert len(naive_sizes) > 3
    assert (len(sizes), len(names), set(counts.values())) == (1, 1, {60})


# -- A9: alerts


def test_a9_alerts_are_functions_of_records(gained: Any) -> None:
    """Whatever rule raises alerts, crowds with the same record get the same alert at one instant.

    All that reaches the city is a record's bytes; here they are equal for different crowds.
    """
    same = defaultdict(set)
    for count in range(10, 200):
        record = said(device(masks=False), 0, LineTally(count, 0))
        same[codec.seal(record, lambda _: NO_SIGNATURE)].add(count)
    smallest = min(len(counts) for counts in same.values() if max(counts) < 195)
    gained("A9", "an alert's instant", "to the second", f"{smallest}+ crowds look alike")
    assert smallest >= 3


# -- A10: what a compromised device could hide


def test_a10_capacity_of_a_record(gained: Any) -> None:
    """A record's alphabet, in bits; signature, padding and encoding carry none."""
    counts = range(10, 1001, 5)
    passages = len(counts) + len(counts) ** 2
    masks = {
        (m.bound, m.percent)
        for a, b in itertools.product(range(120), repeat=2)
        if (m := say_masks(a, b, 0, 10)) is not None
    }
    alphabet = 3 + passages * (1 + len(masks) * 10) * 16
    bits = math.log2(alphabet)
    record = said(device(), 0, LineTally(40, 0, 30, 10))
    sealed = codec.seal(record, KEY.sign)
    assert codec.seal(record, KEY.sign) == sealed
    signed = codec.unseal(sealed)
    number = int.from_bytes(signed.signature)
    modulus = int.from_bytes(KEY.modulus)
    for other in (number + 1, modulus - number, number ^ 1):
        assert not is_valid(KEY.modulus, other.to_bytes(384), signed.signed)
    for changed in (sealed[:-1] + b"\n", sealed.replace(b'"v":1', b'"v": 1')[:1024]):
        with pytest.raises(codec.WireError):
            codec.unseal(changed)
    gained("A10", "bits a compromised device can hide", "free text, floats", f"{bits:.1f} a window")
    assert bits < 32


# -- A11: releasing again


def test_a11_releasing_again_averages_the_noise_away(tmp_path: Path, gained: Any) -> None:
    chance = random.Random(11)
    exact = 0
    for _ in range(300):
        draws = [80 + noise.discrete_laplace(500, chance.randrange) for _ in range(50)]
        exact += round(sum(draws) / len(draws)) == 80
    releases = 0
    for _ in range(50):  # restarts
        ledger = Ledger(tmp_path / "ledger.db")
        releases += ledger.burn("main", MONDAY_S, LENGTH_S) == "burnt"
        ledger.close()
    gained(
        "A11",
        "50 restarts average noise away",
        f"exact in {exact / 3:.0f} %",
        f"{releases} release",
    )
    assert exact > 100
    assert releases == 1


# -- A12: restart, clock, spool, a copied device


def test_a12_restart_clock_spool_and_a_copied_device(tmp_path: Path, gained: Any) -> None:
    """1. After a restart, and 2. after the clock stepped back, no window is burnt again.
    3. A spooled record that was changed is refused by the city. 4. A copied device's record for a
    window that was said is set aside.
    """
    extra = 0
    # 1. and 2.
    for at in (0, 1, 1, 0, 2, 1):
        ledger = Ledger(tmp_path / "ledger.db")
        outcome = ledger.burn("main", MONDAY_S + at * LENGTH_S, LENGTH_S)
        ledger.close()
        extra += outcome == "burnt"
    extra -= 3
    # 3.
    record = said(device(masks=False), 0, LineTally(40, 0))
    changed = codec.seal(record, KEY.sign).replace(b'"total":40', b'"total":45')
    known = {"bus-1": Device("bus-1", KEY.modulus, revoked=False)}
    now = MONDAY + timedelta(days=1)
    verdict = judge(changed, topics.record("bus-1", "main"), known.get, is_valid, now)
    extra += verdict is not Reason.BAD_SIGNATURE
    # 4.
    city = Database(f"sqlite:///{tmp_path / 'city.db'}")
    city.registry.add(known["bus-1"], Place("Halle", "Bus"), 0)
    for count in (40, 60):
        twin = said(device(masks=False), 0, LineTally(count, 0))
        sealed = codec.seal(twin, KEY.sign)
        accepted = judge(sealed, topics.record("bus-1", "main"), known.get, is_valid, now)
        assert isinstance(accepted, Accepted)
        (outcome,) = city.store([Incoming(accepted, sealed)], [], 0)
        extra += outcome.stored and count == 60
    city.close()
    gained("A12", "restart, clock, spool, copied device", "a release each", f"{extra} extra")
    assert extra == 0


# -- A13: everything beside the records


class Deaf:
    """An outlet that only notes when it was asked to say what."""

    changed = threading.Event()

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def say(self, draft: Draft, _not_before_s: float) -> None:
        self.heard.append((draft.scope, draft.window_s))


def walk(crowded: bool, loaded: Loaded, caplog: pytest.LogCaptureFixture) -> tuple[Any, Any]:
    """Let vision look for an hour at nobody, or at people who cross all the time."""

    def looks() -> Sequence[Observation]:
        for step in range(2 * 3601):
            at_s = MONDAY_S + step / 2
            found = []
            if crowded:
                for person in range(8):
                    x = (step / 40 + person / 8) % 1
                    found.append(Detection(Box(x - 0.03, 0.3, x + 0.03, 0.6), 0.9))
            yield Observation(at_s, 4 / 3, tuple(found))

    outlet = Deaf()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        Vision(loaded, SPEAKER, outlet, Light.none()).run(looks())  # type: ignore[arg-type]
    return outlet.heard, [line.getMessage() for line in caplog.records]


def test_a13_logs_and_schedule_tell_nothing_about_the_crowd(
    gained: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = parse(GOOD)
    empty, busy = (walk(crowded, loaded, caplog) for crowded in (False, True))
    assert len(empty[0]) == 4
    differing = sum(a != b for a, b in itertools.zip_longest(empty[1], busy[1]))
    gained("A13", "logs, schedule, presence", "rates, counts, temperature", f"{differing} differ")
    assert empty == busy
    kinds = {name for name, made in vars(topics).items() if inspect.isfunction(made)}
    assert kinds == {"record", "presence", "health", "receipt", "stop", "device_of"}


# -- A14: a disk without power


def test_a14_nothing_of_an_open_window_is_on_disk(tmp_path: Path, gained: Any) -> None:
    """Nine passages are held in memory when the power fails; the disk holds no trace of them."""
    ledger, spool = Ledger(tmp_path / "ledger.db"), Spool(tmp_path / "spool.db")
    release = device(masks=False)
    for index, count in enumerate([40, 9, 0]):
        at_s = MONDAY_S + index * LENGTH_S
        record = said(release, index, LineTally(count, 0))
        assert ledger.burn("main", at_s, LENGTH_S) == "burnt"
        spool.add("main", at_s, codec.seal(record, KEY.sign))
    # The power fails: no close.
    told = {}
    for name in ("ledger", "spool"):
        with sqlite3.connect(f"file:{tmp_path}/{name}.db?immutable=1", uri=True) as disk:
            for (table,) in disk.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
                told[table] = {row[1] for row in disk.execute(f"PRAGMA table_info({table})")}
                if "sealed" in told[table]:
                    for (sealed,) in disk.execute(f"SELECT sealed FROM {table}"):
                        codec.unseal(sealed)
    gained("A14", "an open window on a disk without power", "the count so far", "nothing")
    assert told == {
        "burnt": {"scope", "window_s", "until_s"},
        "spent": {"day", "milli"},
        "configuration": {"one", "number", "name"},
        "stop": {"target", "number", "sealed"},
        "record": {"id", "digest", "sealed"},
        "newest": {"scope", "digest", "window_s"},
    }
    # SQLite's rollback journals hold earlier pages of the same two files.
    assert {path.name.removesuffix("-journal") for path in tmp_path.iterdir()} == {
        "ledger.db", "spool.db",
    }  # fmt: skip


# -- A15 to A19: further ones


def test_a15_a_carried_batch_minus_what_low_means(gained: Any) -> None:
    """`low, low, ok covering 3` bounds each part: how many values are left for each of them?"""
    parts: dict[tuple[int, int], list[set[int]]] = {}
    for covers in (2, 3):
        for counts in itertools.product(range(10), repeat=covers - 1):
            if sum(counts) >= 10:
                continue
            for last in range(10 - sum(counts), 40):
                key = (covers, rounded(sum(counts) + last))
                sets = parts.setdefault(key, [set() for _ in range(covers)])
                for values, value in zip(sets, (*counts, last), strict=True):
                    values.add(value)
    fewest = min(len(values) for (_, told), sets in parts.items() if told < 35 for values in sets)
    gained("A15", "a carried batch taken apart", "1 value left", f"{fewest} values left at least")
    assert fewest >= 3


def test_a16_the_same_crowd_every_day(gained: Any) -> None:
    """Rounding without chance: a year of the same count tells no more than a day of it."""
    left = []
    for count in range(10, 60):
        told = {said(device(masks=False), 0, LineTally(count, 0)).passages for _ in range(30)}
        assert len(told) == 1
        left.append(sum(say_passages(n, 0, 10) in told for n in range(10, 70)))
    gained("A16", "a year of the same crowd averaged", "1 value left", f"{min(left)} values left")
    assert min(left) >= 3


def test_a17_two_lines_of_one_corridor_subtracted(gained: Any) -> None:
    """Two lines that are allowed, apart from each other: did exactly one person turn around?"""
    chance = random.Random(17)
    naive_right = right = 0
    rounds = 20_000
    for _ in range(rounds):
        count = poisson(60, chance) + 12
        turned = chance.random() < 0.5
        naive_right += turned == (count != count - turned)
        near = say_passages(count, 0, 10)
        far = say_passages(count - turned, 0, 10)
        guess = near != far
        right += guess == turned
    naive_gain, gain = (2 * n / rounds - 1 for n in (naive_right, right))
    gained("A17", "two lines subtracted: did one turn around", f"{naive_gain:.2f}", f"{gain:.2f}")
    assert naive_gain == 1.0
    assert gain <= 1 / 5 + 0.02  # one rounding in five moves: the theory


def test_a18_both_directions_and_their_sum(gained: Any) -> None:
    """Three rounded numbers of two unknowns would narrow them; two do not."""
    three, two = defaultdict(set), defaultdict(set)
    for forward, backward in itertools.product(range(10, 60), repeat=2):
        told = (rounded(forward), rounded(backward))
        two[told].add((forward, backward))
        three[*told, rounded(forward + backward)].add((forward, backward))

    def fewest(told: dict[Any, set[tuple[int, int]]]) -> int:
        return min(len(pairs) for pairs in told.values() if max(map(max, pairs)) < 55)

    gained("A18", "directions and their sum", f"{fewest(three)} pairs left", f"{fewest(two)} pairs")
    assert fewest(two) >= 9 > fewest(three)
    assert "total" not in Directed.model_fields


def test_a19_attackers_who_walk_to_move_the_count(gained: Any) -> None:
    """Who walks j times himself shifts the rounding; one window gives one look, thus one bit."""
    chance = random.Random(19)
    naive_exact = exact = 0
    rounds = 5000
    for _ in range(rounds):
        count, own = poisson(30, chance) + 10, chance.randrange(5)
        naive_exact += 1
        record = say_passages(count + own, 0, 10)
        candidates = [n for n in range(10, 90) if say_passages(n + own, 0, 10) == record]
        exact += chance.choice(candidates) == count
    gained(
        "A19", "walking to move the count: it is exact", f"{naive_exact / rounds:.2f}",
        f"{exact / rounds:.2f}",
    )  # fmt: skip
    assert exact / rounds <= 0.25
