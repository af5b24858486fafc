"""What has been published, as files and over the API: CSV, Parquet, JSON, with their dictionary.

No number here is anything but what a device released (R10); what it withheld is the word `low`.
"""

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from aggregator.core.roles import Role
from aggregator.web.visit import Refusal, Site, Visit
from edge_agent.wire.messages import K_FLOOR, MAX_CARRIED_WINDOWS, ROUND_TO

Whole = tempfile.SpooledTemporaryFile[bytes]
Kind = Literal["string", "integer", "boolean", "datetime"]
COLUMNS: tuple[tuple[str, Kind, str, str], ...] = (
    ("site", "string", "Lieu de l'appareil", "Where the device hangs"),
    ("device", "string", "Identifiant de l'appareil", "The device's id"),
    ("scope", "string", "Ligne, zone ou véhicule", "Line, zone or vehicle"),
    ("label", "string", "Son nom", "Its name"),
    ("window", "datetime", "Début de la fenêtre, UTC", "Start of the window, UTC"),
    ("window_min", "integer", "Durée de la fenêtre, minutes", "Length of the window, minutes"),
    ("status", "string",
     "ok : publié ; low : retenu, moins de dix ; closed : hors service ; defect : non fiable",
     "ok: published; low: withheld, fewer than ten; closed: out of service; defect: not trusted"),
    ("covers", "integer", "Fenêtres que le lot couvre, celle-ci comprise",
     "Windows that the batch covers, this one the last"),
    ("forward", "integer", "Passages à l'aller, arrondis à 5", "Passages forward, rounded to 5"),
    ("backward", "integer", "Passages au retour, arrondis à 5", "Passages backward, rounded to 5"),
    ("total", "integer", "Les deux sens ensemble, quand un seul nombre pouvait être dit",
     "Both directions together, where one number alone could be said"),
    ("masks_bound", "string", "between : de masks_percent à +5 ; at_least ; at_most",
     "between: from masks_percent to +5; at_least; at_most"),
    ("masks_percent", "integer", "Part de masques, pour cent", "Share of masks, percent"),
    ("masks_unjudged", "integer", "Part non jugée : de cette valeur à +10, pour cent",
     "Share that could not be judged: from this value to +10, percent"),
    ("occupancy_mean", "integer", "Personnes présentes en moyenne, arrondies à 5",
     "People present on average, rounded to 5"),
    ("occupancy_level", "string", "free, busy, crowded, full", "free, busy, crowded, full"),
    ("under_1m", "string", "Part à moins d'un mètre d'autrui, en quatre classes",
     "Share under one metre from another, in four classes"),
    ("under_2m", "string", "Part à moins de deux mètres, en quatre classes",
     "Share under two metres, in four classes"),
    ("mean_cm", "integer", "Distance moyenne au plus proche, au quart de mètre, cm",
     "Mean distance to the nearest, to a quarter of a metre, cm"),
    ("objections", "integer", "Objections d'un jour, arrondies à 5", "A day's objections, rounded"),
    ("profile", "string", "standard, ou dp : bruit de confidentialité différentielle",
     "standard, or dp: differential privacy's noise"),
    ("config", "string", "Empreinte de la configuration déclarée",
     "Fingerprint of the declared configuration"),
    ("build", "string", "Empreinte du programme", "Fingerprint of the program"),
    ("development", "boolean", "L'appareil n'était pas dans un environnement sûr",
     "The device's surroundings were not safe"),
    ("digest", "string", "Empreinte de l'enregistrement signé, à retrouver dans le journal",
     "Digest of the signed record, to be found in the journal"),
)  # fmt: skip
NAMES = tuple(column[0] for column in COLUMNS)
RULE = {
    "fr": f"Aucun nombre ne parle de moins de {K_FLOOR} passages. Une fenêtre en dessous est"
    f" « low » et reportée entière dans la suivante, au plus {MAX_CARRIED_WINDOWS} fois ; « low »"
    f" comprend zéro et n'est jamais un nombre. Les comptages sont arrondis à {ROUND_TO}.",
    "en": f"No number speaks of fewer than {K_FLOOR} passages. A window below is “low” and carried "
    f"whole into the next, at most {MAX_CARRIED_WINDOWS} times; “low” includes none at all and is "
    f"never a number. Counts are rounded to {ROUND_TO}.",
}
MOST_DAYS = 400
_IN_MEMORY = 16_000_000
"""Bytes of a file that is made whole; what is larger is made on disk."""
_PAGE = 5000


class PublishedRecord(BaseModel):
    """One released record, as the API gives it."""

    id: int = Field(description="In the order of arrival; ask for what comes after it.")
    site: str
    label: str
    device: str
    scope: str
    window: str = Field(description="Start, UTC.", examples=["2026-11-21T08:15Z"])
    window_min: int
    status: Literal["ok", "low", "closed", "defect"]
    covers: int
    forward: int | None
    backward: int | None
    total: int | None
    masks_bound: str | None
    masks_percent: int | None
    masks_unjudged: int | None
    occupancy_mean: int | None
    occupancy_level: str | None
    under_1m: str | None
    under_2m: str | None
    mean_cm: int | None
    objections: int | None
    config: str
    digest: str
    profile: str
    build: str
    development: bool


class Page(BaseModel):
    """A page of records."""

    records: list[PublishedRecord]


class ScopeInfo(BaseModel):
    """A line, a zone or a vehicle."""

    device: str
    scope: str
    site: str
    label: str
    kind: Literal["line", "zone", "vehicle"]
    vehicle_line: str
    tags: list[str]


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a stored record with its window as text."""
    at = datetime.fromtimestamp(record["window_s"], UTC)
    own = {key: value for key, value in record.items() if key != "window_s"}
    return {**own, "window": at.strftime("%Y-%m-%dT%H:%MZ")}


def as_csv(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a CSV file in pieces."""
    out = io.StringIO()
    table = csv.DictWriter(out, NAMES, extrasaction="ignore")
    table.writeheader()
    for index, record in enumerate(records, 1):
        table.writerow(plain(record))
        if index % _PAGE == 0:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def as_json(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a JSON file in pieces: dictionary, rule, records."""
    head = {"rule": RULE, "dictionary": dictionary()}
    yield json.dumps(head, ensure_ascii=False)[:-1] + ',"records":['
    for index, record in enumerate(records):
        told = {name: value for name, value in plain(record).items() if name in NAMES}
        yield ("" if index == 0 else ",") + json.dumps(told, ensure_ascii=False)
    yield "]}"


def as_parquet(records: Iterable[dict[str, Any]]) -> Whole:
    """Return a Parquet file; dictionary and rule are in its metadata."""
    import pyarrow as pa  # noqa: PLC0415 - large, and used here alone
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds = {
        "string": pa.string(), "integer": pa.int32(), "boolean": pa.bool_(),
        "datetime": pa.timestamp("s", "UTC"),
    }  # fmt: skip
    told = {"rule": json.dumps(RULE), "dictionary": json.dumps(dictionary())}
    schema = pa.schema([(c[0], kinds[c[1]]) for c in COLUMNS], metadata=told)
    out = _whole()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        for record in records:
            rows.append({**record, "window": datetime.fromtimestamp(record["window_s"], UTC)})
            if len(rows) == 10 * _PAGE:
                flush()
        flush()
    return out


def dictionary() -> list[dict[str, str]]:
    """Return what each column means."""
    return [{"name": n, "datatype": kind, "fr": fr, "en": en} for n, kind, fr, en in COLUMNS]


def csvw() -> dict[str, Any]:
    """Return the metadata of the CSV file, as CSV on the Web (W3C) has it."""
    return {
        "@context": "http://www.w3.org/ns/csvw",
        "url": "records.csv",
        "dc:description": RULE,
        "tableSchema": {
            "columns": [
                {
                    "name": name, "titles": name, "datatype": kind,
                    "dc:description": {"fr": fr, "en": en},
                }
                for name, kind, fr, en in COLUMNS
            ]
        },
    }  # fmt: skip


def open_data(records: Iterable[dict[str, Any]]) -> Whole:
    """Return a ZIP file: the records, their metadata, and a page to read."""
    readme = "\n".join(
        [f"# {RULE['fr']}\n\n# {RULE['en']}\n"]
        + [f"- `{name}` ({kind}): {fr} / {en}" for name, kind, fr, en in COLUMNS]
    )
    out = _whole()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        with pack.open("records.csv", "w") as table:
            for piece in as_csv(records):
                table.write(piece.encode())
        pack.writestr("records.csv-metadata.json", json.dumps(csvw(), ensure_ascii=False, indent=1))
        pack.writestr("README.md", readme)
    return out


def _whole() -> Whole:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def router(site: Site) -> APIRouter:
    """Return the API, the files and the pages about them."""
    routes = APIRouter()
    database = site.database

    def enter(request: Request) -> Visit:
        """Let in whoever holds a key or a role, and everybody where the city publishes."""
        visit = site.visit(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if not database.accounts.is_key(token.strip(), visit.now_s()):
                raise Refusal(401, "not_allowed")
            return visit
        visit.demand(Role.PUBLIC)
        return visit

    def bounds(first: date, last: date) -> tuple[int, int]:
        if not 0 <= (last - first).days < MOST_DAYS:
            raise Refusal(400, "wrong_input", what="from ≤ to")
        clock = database.clock
        return clock.bounds(first.toordinal())[0], clock.bounds(last.toordinal())[1]

    @routes.get("/api/v1/records", summary="Released records, in the order of their arrival")
    def records(
        request: Request,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Page:
        enter(request)
        found = [plain(record) for record in database.figures.after(after, limit)]
        return Page(records=[PublishedRecord(**record) for record in found])

    @routes.get("/api/v1/scopes", summary="Lines, zones and vehicles")
    def scopes(request: Request) -> list[ScopeInfo]:
        enter(request)
        return [
            ScopeInfo(
                device=s.device, scope=s.scope, site=s.site, label=s.label, kind=s.kind,
                vehicle_line=s.vehicle_line, tags=list(s.tags),
            )
            for s in database.figures.scopes()
        ]  # fmt: skip

    @routes.get("/api/v1/dictionary", summary="What each column means, and what is withheld")
    def meaning(request: Request) -> dict[str, Any]:
        enter(request)
        return {"rule": RULE, "dictionary": dictionary()}

    @routes.get("/api/v1/export", summary="Released records of whole local days, as a file")
    def export(
        request: Request,
        first: Annotated[date, Query(alias="from")],
        last: Annotated[date, Query(alias="to")],
        form: Annotated[Literal["csv", "json", "parquet", "open-data"], Query(alias="format")],
    ) -> Response:
        enter(request)
        found = database.figures.between(*bounds(first, last))
        name = f"dizaine-{first}-{last}"
        if form == "open-data":
            return _file(open_data(found), f"{name}.zip", "application/zip")
        if form == "parquet":
            kind = "application/vnd.apache.parquet"
            return _file(as_parquet(found), f"{name}.parquet", kind)
        if form == "json":
            pieces, kind = as_json(found), "application/json"
        else:
            pieces, kind = as_csv(found), "text/csv; charset=utf-8"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}.{form}"',
            "Link": '</api/v1/csv-metadata.json>; rel="describedby"; type="application/csvm+json"',
        }
        return StreamingResponse(pieces, media_type=kind, headers=headers)

    @routes.get("/api/v1/csv-metadata.json", summary="The CSV file's metadata (CSV on the Web)")
    def metadata(request: Request) -> JSONResponse:
        enter(request)
        return JSONResponse(csvw(), media_type="application/csvm+json")

    @routes.get("/journal.jsonl", summary="All that ever left a device, to be checked by anybody")
    def journal(request: Request) -> StreamingResponse:
        enter(request)
        lines = (f"{line}\n" for line in database.journal.lines())
        name = {"Content-Disposition": 'attachment; filename="journal.jsonl"'}
        return StreamingResponse(lines, media_type="application/jsonl", headers=name)

    @routes.get("/exports", include_in_schema=False)
    def show(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ANALYST)
        newest = database.figures.newest_day()
        last = site.now().date() if newest is None else date.fromordinal(newest)
        return visit.page(
            "exports.html", columns=COLUMNS, rule=RULE[visit.language], last=last,
            first=last - timedelta(days=30),
        )  # fmt: skip

    @routes.get("/about", include_in_schema=False)
    def about(request: Request) -> Response:
        # Open to everybody, always: the code on each device's label leads here.
        visit = site.visit(request)
        devices = [d for d in database.registry.all() if d.revoked_s is None]
        declared = database.registry.newest_declarations()
        return visit.page("about.html", devices=devices, declared=declared)

    return routes


def _file(content: Whole, name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}

    def pieces() -> Iterator[bytes]:
        with content:
            content.seek(0)
            while piece := content.read(1 << 16):
                yield piece

    return StreamingResponse(pieces(), media_type=kind, headers=headers)
