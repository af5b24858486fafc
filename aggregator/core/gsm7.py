"""Text for SMS: the GSM 7-bit alphabet (3GPP TS 23.038, 6.2.1), how long it is, how to fit it."""

import unicodedata

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = "^{}\\[~]|€\f"
ONE, PART = 160, 153
"""Septets that one message holds, and each part of one in several."""
_NEAR = {
    "\u0153": "oe", "\u0152": "OE", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\u2013": "-", "\u2014": "-", "\u2264": "<=", "\u2265": ">=", "\u2026": "...", "\u00a0": " ",
    "\u202f": " ", "\u00ab": '"', "\u00bb": '"', "\u00b7": "-", "\u2248": "~",
}  # fmt: skip
"""Ligatures, typographic quotes, dashes and signs, as plain ones."""


def fold(text: str) -> str:
    """Return a text in the alphabet: what it lacks becomes the nearest letter, or `?`."""
    found = []
    for letter in text:
        if letter in _BASIC or letter in _EXTENDED:
            found.append(letter)
        elif letter in _NEAR:
            found.append(_NEAR[letter])
        else:
            base = unicodedata.normalize("NFKD", letter)[0]
            found.append(base if base in _BASIC else "?")
    return "".join(found)


def septets(text: str) -> int:
    """Return how many septets a folded text takes."""
    return sum(2 if letter in _EXTENDED else 1 for letter in text)


def segments(text: str) -> int:
    """Return how many messages a folded text takes."""
    size = septets(text)
    return 1 if size <= ONE else -(-size // PART)


def fit(text: str, most: int) -> str:
    """Return the beginning of a folded text that takes at most so many septets."""
    used = 0
    for index, letter in enumerate(text):
        used += 2 if letter in _EXTENDED else 1
        if used > most:
            return text[:index]
    return text
