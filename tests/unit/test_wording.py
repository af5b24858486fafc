"""What messages say: what, where, since when, how sure, and a link, in one or two SMS."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core import gsm7
from aggregator.core.measures import Interval
from aggregator.core.wording import Told, Writer

WRITER = Writer(ZoneInfo("Europe/Paris"), "https://comptage.ville.example/")
TOLD = Told(
    42, "occupancy_level", "Marché Forville", "Étals", 1_767_614_400, 1_767_616_200,
    Interval(3, 3), True,
)  # fmt: skip


@pytest.mark.parametrize("language", ["fr", "en"])
def test_an_sms_says_what_where_since_when_how_sure_and_where_to_look(language: str) -> None:
    text = WRITER.sms([TOLD], "fired", language).body  # type: ignore[arg-type]
    level, sure = {"fr": ("saturée", "certain"), "en": ("full", "certain")}[language]
    for part in (
        "Marché Forville",
        level,
        sure,
        "13:00",
        "https://comptage.ville.example/alerts/42",
    ):
        assert gsm7.fold(part) in text


@given(st.text(min_size=1, max_size=120), st.text(min_size=1, max_size=120), st.integers(1, 10**9))
def test_an_sms_fits_two_segments_whatever_places_are_called(
    site: str, label: str, number: int
) -> None:
    told = Told(number, "mean_distance_m", site, label, 0, 900, Interval(0.8, 1.1), False)
    for language in ("fr", "en"):
        text = WRITER.sms([told] * 3, "escalated", language).body  # type: ignore[arg-type]
        assert gsm7.segments(text) <= 2
        assert text == gsm7.fold(text)
        assert text.endswith(f"/alerts/{number}")


@given(st.text(max_size=400))
def test_folded_text_is_in_the_alphabet_and_stays_as_it_is(text: str) -> None:
    once = gsm7.fold(text)
    assert gsm7.fold(once) == once


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [("a" * 160, 160, 1), ("a" * 161, 161, 2), ("€" * 80, 160, 1), ("€" * 81, 162, 2), ("", 0, 1)],
)
def test_segments_are_counted_as_the_network_does(text: str, size: int, parts: int) -> None:
    assert (gsm7.septets(text), gsm7.segments(text)) == (size, parts)


def test_an_email_names_every_alert_and_says_how_old_it_is() -> None:
    text = WRITER.email([TOLD, TOLD], "resolved", "fr")
    assert text.subject.startswith("FIN D'ALERTE: Marché Forville")
    assert text.body.count("/alerts/42") == 2
    assert "au moins 15 minutes" in text.body
    assert "\n" not in text.subject
