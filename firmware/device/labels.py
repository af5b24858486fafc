"""Labels to print, and receipts: HTML that any browser prints, with nothing secret on it."""

import html
from dataclasses import dataclass
from datetime import datetime

import segno

from firmware.device.words import Words

_PAGE = """<!doctype html>
<html lang="{language}"><meta charset="utf-8"><title>{title}</title>
<style>
@page {{ size: A4; margin: 12mm }}
body {{ font: 16px/1.4 system-ui, sans-serif; color: #000; background: #fff; margin: 0 }}
main {{ display: grid; grid-template-columns: repeat(2, 92mm); gap: 3mm }}
article {{ border: 1px solid #000; border-radius: 3mm; padding: 4mm; display: grid; height: 44mm;
  grid-template-columns: 34mm 1fr; gap: 4mm; break-inside: avoid; box-sizing: border-box }}
svg {{ width: 34mm; height: 34mm }}
h1 {{ font-size: 24px; margin: 0 }}
p {{ margin: 1mm 0 }}
small {{ font-size: 11px }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: 2mm 4mm 2mm 0 }}
</style>
{body}
</html>
"""


@dataclass(frozen=True, slots=True)
class Label:
    """What a label says.

    Attributes:
        link: where a citizen reads what this device counts, and why.
        fingerprint: of the key that signs its records, where the device has it already.
    """

    device: str
    site: str
    link: str
    fingerprint: str = ""


def sheet(labels: list[Label], words: Words) -> str:
    """Return a sheet of labels."""
    return _PAGE.format(
        language=words.language,
        title=words["labels_title"],
        body="<main>" + "".join(_one(label, words) for label in labels) + "</main>",
    )


def _one(label: Label, words: Words) -> str:
    code = segno.make(label.link, error="q", micro=False).svg_inline(border=2)
    said = html.escape
    key = f"<p><small>{words['label_key']} {said(label.fingerprint)}</small></p>"
    return (
        f"<article>{code}<div><h1>{said(label.device)}</h1><p>{said(label.site)}</p>"
        f"<p><small>{words['label_says']}</small></p>"
        f"{key if label.fingerprint else ''}</div></article>"
    )


@dataclass(frozen=True, slots=True)
class Wiped:
    """A card that was wiped; `digest` is of what is left."""

    device: str
    card: str
    size: int
    digest: str
    at: datetime


def receipt(wiped: Wiped, words: Words) -> str:
    """Return a receipt of a card that was wiped."""
    rows = (
        ("receipt_device", wiped.device or "?"), ("receipt_card", wiped.card),
        ("receipt_size", f"{wiped.size:,}".replace(",", " ")),
        ("receipt_when", f"{wiped.at:%Y-%m-%d %H:%M UTC}"), ("receipt_digest", wiped.digest),
    )  # fmt: skip
    body = "".join(
        f"<tr><th scope='row'>{words[name]}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    title = words["receipt_title"]
    text = f"<h1>{title}</h1><p>{words['receipt_says']}</p><table>{body}</table>"
    return _PAGE.format(language=words.language, title=title, body=text)
