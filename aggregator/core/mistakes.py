"""What is wrong with something that was given: one line, in French and English.

A kind is either one of pydantic's, or one of ours, which a validator raises as `MistakeError`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aggregator.core.language import Language

_OURS: dict[str, dict[Language, str]] = {
    "person_unreachable": {
        "fr": "personne {name} : adresse e-mail ou numéro de SMS attendu",
        "en": "person {name}: expected an email or an sms number",
    },
    "hours_turned": {
        "fr": "l'ouverture doit précéder la fermeture, reçu {opens} et {closes} ;"
        " pour passer minuit, écrire deux règles",
        "en": "expected opens before closes, got {opens} and {closes};"
        " write a span over midnight as two rules",
    },
    "sides": {
        "fr": "règle {rule} : un seul seuil attendu, at_least ou at_most, avec {measure}",
        "en": "rule {rule}: expected either at_least or at_most with {measure}",
    },
    "no_sides": {
        "fr": "règle {rule} : aucun seuil attendu avec {measure}",
        "en": "rule {rule}: expected neither at_least nor at_most with {measure}",
    },
    "silent_minutes": {
        "fr": "règle {rule} : at_least attendu, en minutes, avec device_silent",
        "en": "rule {rule}: expected at_least, in minutes, with device_silent",
    },
    "of_a_device": {
        "fr": "règle {rule} : {measure} concerne un appareil, pas des lots ;"
        " retirer where.scope, for et clear",
        "en": "rule {rule}: {measure} is of a device and not of batches;"
        " leave where.scope, for and clear away",
    },
    "level_wanted": {
        "fr": "règle {rule} : free, busy, crowded ou full attendu, reçu {value}",
        "en": "rule {rule}: expected free, busy, crowded or full, got {value}",
    },
    "number_wanted": {
        "fr": "règle {rule} : nombre attendu, reçu {value}",
        "en": "rule {rule}: expected a number, got {value}",
    },
    "clear_above": {
        "fr": "règle {rule} : clear doit être au plus égal au seuil, reçu {clear}",
        "en": "rule {rule}: expected clear at or below the threshold, got {clear}",
    },
    "clear_below": {
        "fr": "règle {rule} : clear doit être au moins égal au seuil, reçu {clear}",
        "en": "rule {rule}: expected clear at or above the threshold, got {clear}",
    },
    "named_twice": {
        "fr": "{name} : ce nom est donné deux fois ; en choisir un autre",
        "en": "{name}: named twice; give another name",
    },
    "rota_unknown": {
        "fr": "astreinte {rota} : {name} n'est pas parmi les personnes ; l'y ajouter",
        "en": "rota {rota}: {name} is not among people; add them",
    },
    "told_unknown": {
        "fr": "règle {rule} : {name} n'est ni une personne ni une astreinte ; l'ajouter",
        "en": "rule {rule}: {name} is neither a person nor a rota; add them",
    },
    "told_unreachable": {
        "fr": "règle {rule} : {name} n'a rien pour recevoir : {channels}",
        "en": "rule {rule}: {name} has no {channels}",
    },
    "no_yaml": {
        # What the parser says of it is in English.
        "fr": "YAML attendu, voir la ligne {line}",
        "en": "expected YAML, see line {line}: {problem}",
    },
    "no_plain_yaml": {
        "fr": "YAML avec des valeurs simples attendu",
        "en": "expected YAML with plain values",
    },
    "no_rules": {
        "fr": "people, rotas et rules attendus, reçu autre chose",
        "en": "expected people, rotas and rules, got {what}",
    },
    "too_large": {
        "fr": "au plus {most} octets attendus, reçu {got}",
        "en": "expected at most {most} bytes, got {got}",
    },
}
_PYDANTICS: dict[str, dict[Language, str]] = {
    # Texts with a form of their own, by field.
    "email": {"fr": "adresse e-mail attendue", "en": "expected an e-mail address"},
    "sms": {
        "fr": "numéro attendu avec indicatif, comme +33612345678",
        "en": "expected a number with its country, as +33612345678",
    },
    "account": {
        "fr": "nom sans espace ni deux-points attendu",
        "en": "expected a name without spaces and colons",
    },
    "clock": {"fr": "heure attendue, comme 08:00", "en": "expected a time of day, as 08:00"},
    "timezone": {
        "fr": "fuseau horaire attendu, comme Europe/Paris",
        "en": "expected a time zone, as Europe/Paris",
    },
    "threshold": {
        "fr": "nombre attendu, ou free, busy, crowded, full",
        "en": "expected a number, or free, busy, crowded, full",
    },
    # The kind itself, or what it begins with.
    "missing": {"fr": "manque ; l'ajouter", "en": "is missing; add it"},
    "extra_forbidden": {"fr": "clé inconnue", "en": "unknown key"},
    "string_pattern_mismatch": {
        "fr": "1 à 40 lettres a-z, chiffres ou tirets attendus",
        "en": "expected 1 to 40 of a-z, 0-9 and hyphens",
    },
    "string_too_short": {"fr": "texte attendu", "en": "expected some text"},
    "string_too_long": {
        "fr": "au plus {max_length} caractères attendus",
        "en": "expected at most {max_length} characters",
    },
    "too_short": {
        "fr": "au moins {min_length} élément attendu",
        "en": "expected at least {min_length} of them",
    },
    "too_long": {
        "fr": "au plus {max_length} éléments attendus",
        "en": "expected at most {max_length} of them",
    },
    "greater_than_equal": {"fr": "au moins {ge:.12g} attendu", "en": "expected at least {ge:.12g}"},
    "less_than_equal": {"fr": "au plus {le:.12g} attendu", "en": "expected at most {le:.12g}"},
    "literal_error": {"fr": "attendu : {expected}", "en": "expected {expected}"},
    "string": {"fr": "texte attendu", "en": "expected text"},
    "int": {"fr": "nombre entier attendu", "en": "expected a whole number"},
    "float": {"fr": "nombre attendu", "en": "expected a number"},
    "finite": {"fr": "nombre attendu", "en": "expected a number"},
    "bool": {"fr": "true ou false attendu", "en": "expected true or false"},
    "date": {"fr": "date attendue, comme 2026-01-31", "en": "expected a date, as 2026-01-31"},
    "list": {"fr": "liste attendue", "en": "expected a list"},
    "tuple": {"fr": "liste attendue", "en": "expected a list"},
    "model": {"fr": "clés et valeurs attendues", "en": "expected keys and values"},
    "other": {"fr": "autre chose attendu", "en": "expected something else"},
}
_BY_FIELD = {
    "email": "email", "sms": "sms", "timezone": "timezone", "account": "account",
    "opens": "clock", "closes": "clock", "changes_at": "clock",
    "at_least": "threshold", "at_most": "threshold", "clear": "threshold",
}  # fmt: skip
"""What belongs in these fields, where something else came."""
_SECRET = frozenset({"password", "form"})
"""Fields of forms whose content is never repeated."""
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong.

    Attributes:
        place: the keys that lead there, and a rule's or person's name instead of its number.
        got: what came there, as JSON; nothing where that says nothing.
    """

    kind: str
    particulars: Mapping[str, Any] = field(default_factory=dict)
    place: tuple[str, ...] = ()
    got: str = ""

    def said(self, language: Language, label: str | None = None) -> str:
        """Return it in one line; `label` is what readers know the place by."""
        what = (_OURS | _PYDANTICS)[self.kind][language].format(**self.particulars)
        where = ".".join(self.place) if label is None else label
        if self.kind == "missing":
            return f"{where} {what}"
        colon, got = ("\u00a0: ", "reçu") if language == "fr" else (": ", "got")
        line = f"{where}{colon}{what}" if where else what
        return f"{line}, {got} {self.got}" if self.got else line


class MistakeError(ValueError):
    """What a validator raises where a mistake of ours was made."""

    def __init__(self, kind: str, **particulars: object) -> None:
        self.mistake = Mistake(kind, particulars)
        super().__init__(self.mistake.said("en"))


def first_of(errors: Sequence[Mapping[str, Any]], given: object = None) -> Mistake:
    """Return the first mistake that pydantic found (`errors()`) in what was given."""
    error = errors[0]
    kind, particulars = error["type"], dict(error.get("ctx", {}))
    raised = particulars.get("error")
    if isinstance(raised, MistakeError):
        return raised.mistake
    place = _place(error["loc"], given)
    if kind not in _PYDANTICS:
        kind = kind.split("_")[0]
    if kind in ("string_pattern_mismatch", "value", "float") and place:
        kind = _BY_FIELD.get(place[-1], kind)
    if kind not in _PYDANTICS:
        kind = "other"
    if kind == "literal_error":
        particulars["expected"] = particulars["expected"].replace(" or ", ", ")
    silent = kind in ("missing", "extra_forbidden") or not _SECRET.isdisjoint(place)
    got = "" if silent else _shown(error["input"])
    return Mistake(kind, particulars, place, got)


def _place(parts: Sequence[int | str], given: object) -> tuple[str, ...]:
    """Return the way to what is wrong; what pydantic adds below a plain value is left away."""
    at, found = given, []
    for part in parts:
        in_list = isinstance(at, list) and isinstance(part, int)
        if given is not None and not in_list and not isinstance(at, dict):
            break
        inner = at[part] if in_list else None  # type: ignore[index]
        name = inner.get("name") if isinstance(inner, dict) else None
        found.append(name if isinstance(name, str) else str(part))
        try:
            at = at[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            at = None
    return tuple(found)


def _shown(value: object) -> str:
    if isinstance(value, dict | list | tuple):
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
