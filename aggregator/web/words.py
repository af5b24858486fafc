"""What the pages say, in French and English. One place for every word a citizen reads."""

from typing import Literal

Language = Literal["fr", "en"]

WORDS: dict[str, dict[Language, str]] = {
    "title": {"fr": "Passages", "en": "Passages"},
    "tagline": {
        "fr": "Des comptages, jamais des personnes.",
        "en": "Counts, never people.",
    },
    "day": {"fr": "Jour", "en": "Day"},
    "show": {"fr": "Afficher", "en": "Show"},
    "previous": {"fr": "Jour précédent", "en": "Previous day"},
    "next": {"fr": "Jour suivant", "en": "Next day"},
    "skip": {"fr": "Aller au contenu", "en": "Skip to content"},
    "passages": {"fr": "passages", "en": "passages"},
    "about": {"fr": "environ", "en": "about"},
    "up_to": {
        "fr": "au plus {most} avec ce qui est retenu",
        "en": "at most {most} with what is withheld",
    },
    "batches": {"fr": "Lots publiés", "en": "Batches published"},
    "withheld_windows": {"fr": "fenêtres retenues", "en": "windows withheld"},
    "unknown_windows": {"fr": "fenêtres sans mesure", "en": "windows without a measure"},
    "forward": {"fr": "aller", "en": "forward"},
    "backward": {"fr": "retour", "en": "backward"},
    "both": {"fr": "deux sens ensemble", "en": "both directions together"},
    "ok": {"fr": "publié", "en": "published"},
    "low": {"fr": "retenu : moins de dix", "en": "withheld: fewer than ten"},
    "closed": {"fr": "hors service", "en": "out of service"},
    "defect": {"fr": "mesure non fiable", "en": "measure not trustworthy"},
    "missing": {"fr": "rien reçu", "en": "nothing received"},
    "legend": {"fr": "Légende", "en": "Legend"},
    "table": {"fr": "Les mêmes données en tableau", "en": "The same data as a table"},
    "window": {"fr": "Fenêtre", "en": "Window"},
    "status": {"fr": "État", "en": "State"},
    "total": {"fr": "total", "en": "total"},
    "per_window": {"fr": "passages par fenêtre", "en": "passages per window"},
    "chart": {
        "fr": "Passages par lot, {line}, {day}. Les mêmes valeurs sont dans le tableau.",
        "en": "Passages per batch, {line}, {day}. The same values are in the table.",
    },
    "newest": {"fr": "Dernière fenêtre reçue : {at}", "en": "Newest window received: {at}"},
    "no_line": {
        "fr": "Aucune ligne de comptage pour l'instant. Enregistrez un appareil :",
        "en": "No counting line yet. Register a device:",
    },
    "development": {
        "fr": "Appareil de développement : les images pourraient quitter sa mémoire.",
        "en": "A development device: pictures could leave its memory.",
    },
    "journal": {
        "fr": "Télécharger le journal de tout ce qui a quitté les appareils",
        "en": "Download the journal of all that ever left the devices",
    },
    "journal_end": {
        "fr": "· {n} entrées, la chaîne finit par",
        "en": "· {n} entries, the chain ends with",
    },
    "honest": {
        "fr": "Les nombres sont arrondis à 5 et ne parlent jamais de moins de dix passages. "
        "« Retenu » comprend aussi zéro. Une même personne qui passe deux fois compte deux fois.",
        "en": "Numbers are rounded to 5 and never speak of fewer than ten passages. "
        "“Withheld” includes none at all. Somebody who passes twice counts twice.",
    },
    "bad_day": {
        "fr": "Date attendue au format AAAA-MM-JJ, reçu : {got}",
        "en": "Expected a day as YYYY-MM-DD, got: {got}",
    },
    "covers": {"fr": "{n} fenêtres ensemble", "en": "{n} windows together"},
}


def words(language: Language) -> dict[str, str]:
    """Return all words in one language."""
    return {name: said[language] for name, said in WORDS.items()}


def choose(wanted: str | None, header: str | None, default: Language) -> Language:
    """Return the language that a visitor asked for, by a link or by the browser's preference."""
    if wanted in ("fr", "en"):
        return "fr" if wanted == "fr" else "en"
    for part in (header or "").lower().split(","):
        tag = part.split(";")[0].strip()[:2]
        if tag in ("fr", "en"):
            return "fr" if tag == "fr" else "en"
    return default
