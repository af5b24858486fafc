"""What an alert says, in French and English: what, where, since when, how sure, and a link.

Every sentence is a function of released records and of the registry's names (R10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from aggregator.core import gsm7
from aggregator.core.language import Language
from aggregator.core.measures import LEVELS, Interval
from aggregator.core.rules import Subject

Occasion = Literal["fired", "resolved", "reminder", "escalated", "test"]
MOST_SEGMENTS = 2

_NAMES: dict[Subject, dict[Language, str]] = {
    "passages": {"fr": "passages par fenêtre", "en": "passages a window"},
    "mask_share": {"fr": "part de masques", "en": "share of masks"},
    "occupancy": {"fr": "personnes présentes", "en": "people present"},
    "occupancy_level": {"fr": "affluence", "en": "occupancy"},
    "mean_distance_m": {"fr": "distance moyenne", "en": "mean distance"},
    "share_under_1m": {"fr": "part à moins d'un mètre", "en": "share under one metre"},
    "device_silent": {"fr": "appareil muet", "en": "device silent"},
    "device_unhealthy": {"fr": "appareil en défaut", "en": "device unhealthy"},
}
_LEVELS: dict[str, dict[Language, str]] = {
    "free": {"fr": "fluide", "en": "free"},
    "busy": {"fr": "soutenue", "en": "busy"},
    "crowded": {"fr": "dense", "en": "crowded"},
    "full": {"fr": "saturée", "en": "full"},
}
_WORDS: dict[str, dict[Language, str]] = {
    "fired": {"fr": "ALERTE", "en": "ALERT"},
    "resolved": {"fr": "FIN D'ALERTE", "en": "RESOLVED"},
    "reminder": {"fr": "RAPPEL", "en": "REMINDER"},
    "escalated": {"fr": "SANS REPONSE", "en": "NOBODY ANSWERED"},
    "test": {"fr": "ESSAI", "en": "TEST"},
    "since": {"fr": "depuis {at}", "en": "since {at}"},
    "until": {"fr": "de {a} à {b}", "en": "from {a} to {b}"},
    "sure": {"fr": "certain", "en": "certain"},
    "likely": {"fr": "probable", "en": "likely"},
    "more": {"fr": "+{n} autres", "en": "+{n} more"},
    "test_body": {
        "fr": "Message d'essai : rien à faire. Ce canal fonctionne.",
        "en": "Test message: nothing to do. This channel works.",
    },
    "honest": {
        "fr": "Une alerte a au moins 15 minutes : elle parle de fenêtres entières, publiées. "
        "Regardez avant d'agir, puis notez ce qui a été fait dans le registre.",
        "en": "An alert is at least 15 minutes old: it speaks of whole windows, published. "
        "Look before you act, then note in the register what was done.",
    },
    "open": {"fr": "Ouvrir", "en": "Open"},
}


def measure_name(measure: Subject, language: Language) -> str:
    """Return what a measure is called."""
    return _NAMES[measure][language]


def level_name(level: str, language: Language) -> str:
    """Return what a level of occupancy is called."""
    return _LEVELS[level][language]


def value_text(measure: Subject, value: Interval, language: Language) -> str:
    """Return a value with its unit, as wide as it was published."""

    def number(amount: float, digits: int = 0) -> str:
        text = f"{amount:.{digits}f}"
        return text.replace(".", ",") if language == "fr" else text

    to = " à " if language == "fr" else " to "
    percent = "\u00a0%" if language == "fr" else "%"
    match measure:
        case "occupancy_level":
            return level_name(LEVELS[int(value.middle)], language)
        case "mean_distance_m":
            return f"{number(value.middle, 2)} m"
        case "mask_share" | "share_under_1m":
            return f"{number(value.low)}{to}{number(value.high)}{percent}"
        case "device_silent":
            return f"{number(value.middle)} min"
        case "device_unhealthy":
            return ""
        case _:
            return f"≈ {number(value.middle)}"


@dataclass(frozen=True, slots=True)
class Told:
    """One alert, as a message tells it."""

    number: int
    measure: Subject
    site: str
    label: str
    since_s: int
    until_s: int
    value: Interval
    sure: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A message: e-mail has a subject, SMS has none."""

    subject: str
    body: str


class Writer:
    """Writes messages in one city's time and under its address."""

    def __init__(self, zone: ZoneInfo, address: str) -> None:
        """Take the city's time zone, and the address that links begin with, ending in `/`."""
        self._zone = zone
        self._address = address

    def _clock(self, at_s: int, language: Language) -> str:
        local = datetime.fromtimestamp(at_s, UTC).astimezone(self._zone)
        return local.strftime("%d/%m %H:%M" if language == "fr" else "%d %b %H:%M")

    def _line(self, one: Told, occasion: Occasion, language: Language) -> str:
        said = {key: words[language] for key, words in _WORDS.items()}
        value = value_text(one.measure, one.value, language)
        if occasion == "resolved":
            span = said["until"].format(
                a=self._clock(one.since_s, language), b=self._clock(one.until_s, language)
            )
        else:
            span = said["since"].format(at=self._clock(one.since_s, language))
        what = f"{measure_name(one.measure, language)} {value}".strip()
        certainty = "" if not value else f", {said['sure' if one.sure else 'likely']}"
        return f"{what}{certainty}, {span}"

    def email(self, told: Sequence[Told], occasion: Occasion, language: Language) -> Text:
        """Return an e-mail."""
        said = {key: words[language] for key, words in _WORDS.items()}
        if occasion == "test":
            return Text(f"Dizaine: {said['test']}", f"{said['test_body']}\n\n{self._address}\n")
        first = told[0]
        more = "" if len(told) == 1 else f" ({said['more'].format(n=len(told) - 1)})"
        where = " · ".join(part for part in (first.site, first.label) if part)
        subject = f"{said[occasion]}: {where}, {measure_name(first.measure, language)}{more}"
        blocks = [
            f"{one.site} · {one.label}\n{self._line(one, occasion, language)}\n"
            f"{said['open']}: {self._link(one)}"
            for one in told
        ]
        return Text(" ".join(subject.split()), "\n\n".join([*blocks, said["honest"]]) + "\n")

    def sms(self, told: Sequence[Told], occasion: Occasion, language: Language) -> Text:
        """Return an SMS of one or two segments; names are cut first, the link never."""
        said = {key: words[language] for key, words in _WORDS.items()}
        if occasion == "test":
            return Text("", gsm7.fold(f"Dizaine {said['test']}: {said['test_body']}"))
        first = told[0]
        more = "" if len(told) == 1 else f" {said['more'].format(n=len(told) - 1)}"
        tail = gsm7.fold(f": {self._line(first, occasion, language)}{more} {self._link(first)}")
        head = gsm7.fold(f"{said[occasion]} {first.site}, {first.label}")
        whole = head + tail
        if gsm7.segments(whole) <= MOST_SEGMENTS:
            return Text("", whole)
        room = MOST_SEGMENTS * gsm7.PART - gsm7.septets(tail)
        return Text("", gsm7.fit(head, max(0, room)) + tail)

    def _link(self, one: Told) -> str:
        return f"{self._address}alerts/{one.number}"
