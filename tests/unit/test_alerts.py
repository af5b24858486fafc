"""When an alert begins and ends, as tables of batches."""

from dataclasses import replace
from datetime import UTC, datetime
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aggregator import rulebook
from aggregator.core import mistakes
from aggregator.core.alerts import State, Target, concerns, preview, reading, step
from aggregator.core.day import Stored
from aggregator.core.measures import Interval, read
from aggregator.core.rules import Hours, Rota, Rule, Where
from aggregator.rulebook import RulesError

PARIS = ZoneInfo("Europe/Paris")
NOON_S = int(datetime(2026, 1, 5, 12, 0, tzinfo=UTC).timestamp())
QUARTER_S = 900
TARGET = Target("bus-1", "main", "Halle", "Porte", "8", ("centre",))


def batch(index: int, total: int | None = 40, **changes: Any) -> Stored:
    """Return the batch of a quarter-hour after noon."""
    fields: dict[str, Any] = {
        "window_s": NOON_S + index * QUARTER_S, "window_min": 15, "status": "ok", "covers": 1,
        "forward": None, "backward": None, "total": total,
    }  # fmt: skip
    return Stored(**{**fields, **changes})


def low(index: int) -> Stored:
    return batch(index, None, status="low")


def rule(**changes: Any) -> Rule:
    fields: dict[str, Any] = {
        "name": "crowd", "measure": "passages", "at_least": 100.0, "notify": ("marie",),
        "cool_down_min": 0,
    }  # fmt: skip
    return Rule(**{**fields, **changes})


def changes(chosen: Rule, *records: Stored) -> list[tuple[str, int]]:
    """Return what changes, and after which quarter-hour."""
    found = []
    state = State()
    for record in records:
        new = reading(chosen, record)
        if new is None:
            continue
        state, change = step(chosen, state, new, PARIS)
        if change is not None and change.kind != "goes on":
            found.append((change.kind, (change.at_s - NOON_S) // QUARTER_S))
    return found


def at(*totals: int | None) -> list[Stored]:
    return [low(i) if total is None else batch(i, total) for i, total in enumerate(totals)]


@pytest.mark.parametrize(
    ("changed", "totals", "expected"),
    [
        ({}, (90, 100, 110, 90), [("fired", 2), ("resolved", 4)]),
        ({"batches": 2}, (100, 90, 100, 100), [("fired", 4)]),
        ({"clear": 50.0}, (100, 60, 60, 45), [("fired", 1), ("resolved", 4)]),
        # What was withheld neither fires nor clears, nor breaks a row.
        ({}, (100, None, None, 90), [("fired", 1), ("resolved", 4)]),
        ({"batches": 2}, (100, None, 100), [("fired", 3)]),
        # A cool-down keeps what flaps from firing at each turn.
        ({"cool_down_min": 60}, (100, 10, 100, 10, 100, 100, 100), [
            ("fired", 1), ("resolved", 2), ("fired", 6)]),
        ({"at_least": None, "at_most": 20.0}, (30, 20, 30), [("fired", 2), ("resolved", 3)]),
    ],
)  # fmt: skip
def test_an_alert_begins_and_ends_as_its_rule_says(
    changed: dict[str, Any], totals: tuple[int | None, ...], expected: list[tuple[str, int]]
) -> None:
    assert changes(rule(**changed), *at(*totals)) == expected


def test_an_older_batch_changes_nothing() -> None:
    assert changes(rule(), batch(3, 100), batch(1, 10)) == [("fired", 4)]


def test_batches_hours_apart_are_not_in_a_row() -> None:
    assert changes(rule(batches=2), batch(0, 100), batch(40, 100)) == []


def test_a_rule_fires_only_within_its_hours_and_clears_at_any_time() -> None:
    # Noon UTC is 13:00 in Paris.
    hours = Hours(opens="13:30", closes="14:00")
    assert changes(rule(hours=hours), *at(100, 100, 100, 100, 10)) == [
        ("fired", 3),
        ("resolved", 5),
    ]


def test_a_rule_that_must_be_sure_looks_at_the_least_a_number_can_be() -> None:
    assert changes(rule(sure=True), *at(100, 105)) == [("fired", 2)]


def test_a_batch_of_several_windows_counts_by_window() -> None:
    assert changes(rule(at_least=20.0), batch(3, 60, covers=4)) == []
    assert changes(rule(at_least=15.0), batch(3, 60, covers=4)) == [("fired", 4)]


@pytest.mark.parametrize(
    ("fields", "measure", "expected"),
    [
        ({"total": 40}, "passages", Interval(37.5, 42.5)),
        ({"total": None, "forward": 20, "backward": 20}, "passages", Interval(35, 45)),
        ({"masks_bound": "at_least", "masks_percent": 90}, "mask_share", Interval(90, 100)),
        ({"masks_bound": "at_most", "masks_percent": 10}, "mask_share", Interval(0, 10)),
        ({"masks_bound": "between", "masks_percent": 60}, "mask_share", Interval(60, 65)),
        ({"occupancy_level": "crowded"}, "occupancy_level", Interval(2, 2)),
        ({"mean_cm": 100}, "mean_distance_m", Interval(0.875, 1.125)),
        ({"under_1m": "under_25"}, "share_under_1m", Interval(10, 25)),
        ({}, "mask_share", None),
        ({"status": "low", "total": None}, "passages", None),
    ],
)
def test_a_published_number_stands_for_an_interval(
    fields: dict[str, Any], measure: Any, expected: Interval | None
) -> None:
    assert read(batch(0, **fields), measure) == expected


def test_two_batches_with_the_same_record_cannot_be_told_apart_by_alerts() -> None:
    """A9, R10: an alert is a function of records alone."""
    one = changes(rule(), *at(100, 90, 100))
    assert one == changes(rule(), *at(100, 90, 100))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, True), ({"site": "Halle"}, True), ({"site": "Gare"}, False), ({"tag": "centre"}, True),
        ({"tag": "nord"}, False), ({"vehicle_line": "8", "scope": "main"}, True),
        ({"vehicle_line": "8", "scope": "side"}, False),
    ],
)  # fmt: skip
def test_a_place_includes_what_all_its_words_name(where: dict[str, str], expected: bool) -> None:
    assert concerns(Where(**where), TARGET) == expected  # type: ignore[arg-type]


def test_a_preview_says_how_often_a_rule_would_have_fired() -> None:
    records = [(TARGET, record) for record in at(100, 10, 100)]
    found = preview(rule(), records, lambda _t, _r: True, PARIS)
    assert [change.kind for _, change in found] == ["fired", "resolved", "fired"]
    assert preview(rule(), records, lambda _t, _r: False, PARIS) == []


def test_whoever_is_on_call_changes_at_the_hour_that_the_rota_says() -> None:
    rota = Rota(name="call", members=("ann", "bob"), starts=datetime(2026, 1, 5).date())  # noqa: DTZ001
    for day, hour, expected in ((5, 9, "ann"), (12, 7, "ann"), (12, 9, "bob"), (19, 9, "ann")):
        instant = datetime(2026, 1, day, hour, 0, tzinfo=PARIS)
        assert rota.on_call(instant, PARIS) == expected


WHOLE = """
people:
- {name: marie, email: m@ville.fr, sms: +33612345678}
rules:
- {name: crowd, measure: occupancy_level, at_least: crowded, clear: busy, for: 2, notify: [marie],
   hours: {opens: 08:00, closes: 22:00}}
"""


def test_rules_are_the_same_when_written_and_read_again() -> None:
    book = rulebook.parse(WHOLE)
    assert rulebook.parse(rulebook.dump(book)) == book


@pytest.mark.parametrize(
    ("old", "new", "english", "french"),
    [
        ("notify: [marie]", "notify: [bob]", "neither a person nor a rota", "ni une personne"),
        ("notify: [marie]", "notify: marie", "expected a list", "liste attendue"),
        ("notify: [marie]", "notify: []", "at least 1 of them", "au moins 1 élément"),
        ("clear: busy", "clear: full", "at or below the threshold", "au plus égal au seuil"),
        ("at_least: crowded", "at_least: 3", "expected free, busy", "full attendu, reçu 3"),
        ("at_least: crowded", "at_least: abc", 'got "abc"', "nombre attendu, ou free"),
        ("at_least: crowded", "at_least: [1]", "rules.crowd.at_least: expected a number", "nombre"),
        ("at_least: crowded", "at_least: -3", "at least 0, got -3", "au moins 0 attendu"),
        ("at_least: crowded, ", "", "either at_least or at_most", "un seul seuil attendu"),
        ("for: 2", "for: 0", "rules.crowd.for: expected at least 1, got 0", "au moins 1 attendu"),
        ("for: 2", "for: 2.5", "a whole number", "nombre entier"),
        ("measure:", "measures:", "rules.crowd.measure is missing", "manque ; l'ajouter"),
        ("measure: occupancy_level", "measure: noise", 'got "noise"', "attendu : 'passages'"),
        ("opens: 08:00", "opens: 23:00", "opens before closes", "précéder la fermeture"),
        ("closes: 22:00", "closes: 25:00", "a time of day", "heure attendue"),
        ("+33612345678", "0612345678", 'got "0612345678"', "numéro attendu avec indicatif"),
        ("m@ville.fr", "ville.fr", "an e-mail address", "adresse e-mail"),
        (", email: m@ville.fr, sms: +33612345678", "", "or an sms number", "numéro de SMS"),
        (", email: m@ville.fr", "", "marie has no email", "rien pour recevoir : email"),
        ("rules:", "rules: [", "see line 5", "voir la ligne 5"),
        ("rules:", "colour: red\nrules:", "colour: unknown key", "clé inconnue"),
        ("rules:", "timezone: Mars\nrules:", "a time zone", "fuseau horaire"),
        ("rules:", "rules: 5\nnone:", "rules: expected a list, got 5", "liste attendue"),
        ("name: crowd", "name: Crowd!", "of a-z, 0-9 and hyphens", "lettres a-z"),
    ],
)
def test_a_mistake_in_rules_is_told_in_one_line_in_both_languages(
    old: str, new: str, english: str, french: str
) -> None:
    with pytest.raises(RulesError) as told:
        rulebook.parse(WHOLE.replace(old, new), "rules.yaml")
    mistake = told.value.mistake
    assert mistake is not None
    said = (str(told.value), mistake.said("fr"))
    assert said[0].startswith("rules.yaml: ")
    assert english in said[0]
    assert french in said[1]
    assert "\n" not in "".join(said)


def test_every_mistake_is_said_with_the_same_particulars_in_both_languages() -> None:
    for kind, said in (mistakes._OURS | mistakes._PYDANTICS).items():
        named = {
            language: {part[1] for part in Formatter().parse(line) if part[1]}
            for language, line in said.items()
        }
        assert named["fr"] <= named["en"], kind


def test_a_mistake_in_a_password_does_not_repeat_it() -> None:
    for field, shown in (("password", False), ("account", True)):
        error = {
            "type": "string_too_long", "loc": ("body", field), "input": "hush" * 60,
            "ctx": {"max_length": 200},
        }  # fmt: skip
        said = mistakes.first_of([error]).said("fr", field)
        assert said.startswith(f"{field}\u00a0: au plus 200 caractères attendus")
        assert ("hush" in said) is shown


@pytest.mark.parametrize("text", ["5", "[1]", "a: &a [*a]", "!!python/object:os.system x", "\x00"])
def test_what_is_no_rules_is_refused(text: str) -> None:
    with pytest.raises(RulesError):
        rulebook.parse(text)


def test_a_state_says_nothing_of_another_target() -> None:
    state, _ = step(rule(), State(), reading(rule(), batch(0, 100)), PARIS)  # type: ignore[arg-type]
    assert state.firing
    assert not replace(State(), seen_s=state.seen_s).firing
