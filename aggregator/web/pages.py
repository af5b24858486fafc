"""The pages and the start of the API. All numbers are functions of released records (R10)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aggregator.config import AggregatorConfig
from aggregator.core.day import Block, Sum, blocks, total
from aggregator.store.database import Database, Line
from aggregator.web import chart
from aggregator.web.words import Language, choose, words

HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a block in words."""

    when: str
    state: str
    look: str
    forward: str
    backward: str
    total: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One line's day, ready to be shown."""

    line: Line
    sum: Sum
    chart: chart.Chart
    development: bool
    rows: tuple[Row, ...]


class Pages:
    """Builds what the template shows."""

    def __init__(self, config: AggregatorConfig, database: Database) -> None:
        self._config = config
        self._database = database
        self._zone = ZoneInfo(config.timezone)
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
        )

    def today(self, now: datetime) -> date:
        """Return the day shown by default: the newest with a record, else today's."""
        newest = self._database.newest()
        at = now if newest is None else datetime.fromtimestamp(newest - 1, UTC)
        return at.astimezone(self._zone).date()

    def day(self, chosen: date, language: Language, now: datetime) -> str:
        """Return the page of one day."""
        said = words(language)
        bounds = [
            int(datetime.combine(day, time(), self._zone).timestamp())
            for day in (chosen, chosen + timedelta(days=1))
        ]
        newest = self._database.newest()
        panels = [
            self._panel(line, (bounds[0], bounds[1]), said, chosen, now)
            for line in self._database.lines()
        ]
        newest_at = None if newest is None else self._clock(newest, "%Y-%m-%d %H:%M")
        return self._templates.get_template("day.html").render(
            said=said,
            language=language,
            day=chosen,
            before=chosen - timedelta(days=1),
            after=chosen + timedelta(days=1),
            panels=panels,
            newest=newest_at,
            journal=self._database.journal_end(),
            frame=chart,
        )

    def problem(self, text: str, language: Language) -> str:
        """Return a page that says what is wrong with a request."""
        return self._templates.get_template("problem.html").render(
            said=words(language),
            language=language,
            text=text,
            journal=self._database.journal_end(),
        )

    def _clock(self, at_s: int, form: str = "%H:%M") -> str:
        return datetime.fromtimestamp(at_s, self._zone).strftime(form)

    def _panel(
        self, line: Line, bounds_s: tuple[int, int], said: dict[str, str], day: date, now: datetime
    ) -> Panel:
        start_s, end_s = bounds_s
        records = self._database.stretch(line, start_s, end_s)
        window_min = records[-1].window_min if records else 15
        newest_s = records[-1].window_s + 60 * window_min if records else int(now.timestamp())
        shown_until_s = min(end_s, max(newest_s, start_s))
        found = blocks(records, start_s, end_s)
        past = [block for block in found if block.start_s < shown_until_s]
        rows = tuple(self._row(block, said) for block in found)
        marks = [
            (int(datetime.combine(day, time(hour), self._zone).timestamp()), f"{hour:02d}")
            for hour in range(0, 24, 3)
        ]
        titles = [f"{row.when} · {row.state} · {row.total}".rstrip(" ·") for row in rows]
        return Panel(
            line=line,
            sum=total(past, window_min),
            development=any(record.development for record in records),
            chart=chart.draw(found, titles, marks, bounds_s),
            rows=tuple(
                row for row, block in zip(rows, found, strict=True) if block.look != "missing"
            ),
        )

    def _row(self, block: Block, said: dict[str, str]) -> Row:
        when = f"{self._clock(block.start_s)} - {self._clock(block.end_s)}"
        state = said[block.look]
        record = block.record
        if record is None or block.look != "ok":
            return Row(when, state, block.look, "", "", "")
        if record.covers > 1:
            state = f"{state}, {said['covers'].format(n=record.covers)}"
        forward, backward = ("" if n is None else str(n) for n in (record.forward, record.backward))
        return Row(when, state, block.look, forward, backward, str(record.passages))


def build(
    config: AggregatorConfig,
    database: Database,
    is_connected: Callable[[], bool],
    now: Callable[[], datetime],
) -> FastAPI:
    """Return the web application."""
    app = FastAPI(title="Dizaine", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    pages = Pages(config, database)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    @app.middleware("http")
    async def harden(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await answer(request)
        response.headers.update(_HEADERS)
        return response

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def show_day(request: Request, day: str | None = None, lang: str | None = None) -> Response:
        language = choose(lang, request.headers.get("accept-language"), config.language)
        try:
            chosen = date.fromisoformat(day) if day else pages.today(now())
            page = pages.day(chosen, language, now())
        except (ValueError, OverflowError):
            text = words(language)["bad_day"].format(got=(day or "")[:40])
            return HTMLResponse(pages.problem(text, language), status_code=400)
        return HTMLResponse(page)

    @app.get("/api/v1/records", summary="Stored records, in the order of their arrival")
    def records(after: int = Query(0, ge=0), limit: int = Query(100, ge=1, le=1000)) -> Any:
        found = list(database.records_after(after, limit))
        for record in found:
            at = datetime.fromtimestamp(record.pop("window_s"), UTC)
            record["window"] = at.strftime("%Y-%m-%dT%H:%MZ")
        return {"records": found}

    @app.get("/journal.jsonl", summary="All that ever left a device, to be checked by anybody")
    def journal() -> StreamingResponse:
        lines = (f"{line}\n" for line in database.journal())
        name = {"Content-Disposition": 'attachment; filename="journal.jsonl"'}
        return StreamingResponse(lines, media_type="application/jsonl", headers=name)

    @app.get("/healthz", summary="Whether the process lives")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether database and broker answer")
    def readyz() -> JSONResponse:
        state = {"database": database.is_ready(), "broker": is_connected()}
        return JSONResponse(state, status_code=200 if all(state.values()) else 503)

    return app
