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
article {{ display: grid; grid-template-columns: 34mm 1fr; gap: 4mm; min-height: 44mm;
  padding: 4mm; border: 1px solid #000; border-radius: 3mm;
  box-sizing: border-box; break-inside: avoid }}
svg {{ width: 34mm; height: 34mm }}
h1 {{ font-size: 22px; line-height: 1.1; margin: 0; overflow-wrap: anywhere }}
p {{ margin: 1mm 0 }}
small {{ font-size: 11px; line-height: 1.2; display: block }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: 2mm 4mm 2mm 0 }}
</style>
{body}
</html>
"""
_BOTH = (Words("fr"), Words("en"))


@dataclass(frozen=True, slots=True)
class Label:
    """What a label says; at `link` a citizen reads what this device counts, and why."""

    device: str
    site: str
    link: str


def sheet(labels: list[Label], words: Words) -> str:
    """Return a sheet of labels."""
    return _PAGE.format(
        language=words.language,
        title=words["labels_title"],
        body="<main>" + "".join(map(_one, labels)) + "</main>",
    )


def _one(label: Label) -> str:
    code = segno.make(label.link, error="q", micro=False).svg_inline(border=2, omitsize=True)
    said = html.escape
    # Citizens read it, whatever language the technician speaks.
    says = "".join(f'<p lang="{w.language}"><small>{w["label_says"]}</small></p>' for w in _BOTH)
    names = f"<h1>{said(label.device)}</h1><p>{said(label.site)}</p>"
    return f"<article>{code}<div>{names}{says}</div></article>"


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
