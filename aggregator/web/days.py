"""The page of a day, and the newest batch of every place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aggregator.core.day import Block, Stored, Sum, blocks, total
from aggregator.core.measures import masks
from aggregator.core.roles import Role
from aggregator.core.rollup import NOTHING, Sums
from aggregator.store.figures import Choice, Scope
from aggregator.web import chart
from aggregator.web.visit import Refusal, Site, Visit
from edge_agent.wire.messages import K_FLOOR

MOST_PANELS = 12
"""More places than these are shown as a table of sums, from which one is chosen."""
MOST_ROWS = 300
"""More lines than these are added up by site: a page stays light in a country, too."""
LATELY_S = 86_400


@dataclass(frozen=True, slots=True)
class Total:
    """One row of a table of sums: a line, or all lines of a site."""

    site: str
    label: str
    sums: Sums
    runs: int

    @property
    def most(self) -> int:
        """What was published, and the most that was withheld."""
        return self.sums.said + self.runs * (K_FLOOR - 1)


def table_of(
    lines: Sequence[Scope], totals: Mapping[tuple[str, str], tuple[Sums, int]]
) -> list[Total]:
    """Return a row a line, or a site where there are too many; what is not there says nothing."""
    rows = [
        Total(one.site, one.label, *totals.get((one.device, one.scope), (NOTHING, 0)))
        for one in lines
    ]
    if len(rows) <= MOST_ROWS:
        return rows
    sites: dict[str, Total] = {}
    for row in rows:
        old = sites.get(row.site, Total(row.site, "", NOTHING, 0))
        sites[row.site] = Total(row.site, "", old.sums + row.sums, old.runs + row.runs)
    return list(sites.values())


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a block in words."""

    when: str
    state: str
    look: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One scope's day, ready to be shown."""

    scope: Scope
    sum: Sum | None
    chart: chart.Chart
    development: bool
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def level_words(record: Stored, said: dict[str, str]) -> str:
    """Return how full a place was, in a word."""
    return said[f"level_{record.occupancy_level}"] if record.occupancy_level else ""


def mask_words(record: Stored, said: dict[str, str]) -> str:
    """Return the share of masks as it was published."""
    share = masks(record)
    if share is None:
        return ""
    return said[record.masks_bound or "between"].format(a=f"{share.low:g}", b=f"{share.high:g}")


def number(value: int | None) -> str:
    """Return a number, or nothing."""
    return "" if value is None else str(value)


def _cells(kind: str, record: Stored, said: dict[str, str]) -> tuple[str, ...]:
    if kind == "line":
        cells = (number(record.forward), number(record.backward), number(record.passages))
        return (*cells, mask_words(record, said))
    distance = "" if record.mean_cm is None else f"{record.mean_cm / 100:.2f} m"
    near = "" if record.under_1m is None else said[record.under_1m]
    return (number(record.occupancy_mean), level_words(record, said), distance, near)


class Days:
    """Builds both pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._figures = site.database.figures

    def newest_day(self) -> date:
        """Return the day shown by default: the newest with a record, else today's."""
        newest = self._figures.newest()
        at = self._site.now() if newest is None else datetime.fromtimestamp(newest - 1, UTC)
        return at.astimezone(self._site.zone).date()

    def bounds(self, day: date) -> tuple[int, int]:
        """Return the first instant of a local day and of the next, seconds since 1970 UTC."""
        return self._site.database.clock.bounds(day.toordinal())

    def day(self, visit: Visit, chosen: date, choice: Choice) -> Response:
        """Return the page of one day."""
        scopes = self._figures.scopes()
        shown = [one for one in scopes if choice.includes(one)]
        newest = self._figures.newest()
        panels: list[Panel] = []
        sums: list[Total] | None = None
        bounds_s = self.bounds(chosen)
        if len(shown) <= MOST_PANELS:
            records = self._figures.stretches(shown, *bounds_s)
            panels = [
                self._panel(visit, one, records.get((one.device, one.scope), []), chosen)
                for one in shown
            ]
        else:
            day = chosen.toordinal()
            lines = [one for one in shown if one.kind == "line"]
            sums = table_of(lines, self._figures.total_by_scope(lines, day, day))
        return visit.page(
            "day.html",
            day=chosen,
            before=chosen - timedelta(days=1),
            after=chosen + timedelta(days=1),
            sites=sorted({one.site for one in scopes}),
            choice=choice,
            panels=panels,
            places=len(shown),
            sums=sums,
            newest=None if newest is None else visit.clock(newest, "%Y-%m-%d %H:%M"),
            frame=chart,
        )

    def _panel(self, visit: Visit, scope: Scope, records: list[Stored], day: date) -> Panel:
        said = visit.said
        start_s, end_s = self.bounds(day)
        window_min = records[-1].window_min if records else 15
        newest_s = records[-1].end_s if records else visit.now_s()
        shown_until_s = min(end_s, max(newest_s, start_s))
        found = blocks(records, start_s, end_s)
        past = [block for block in found if block.start_s < shown_until_s]
        rows = [self._row(visit, scope.kind, block) for block in found]
        heads: tuple[str, ...]
        marks = [
            (int(datetime.combine(day, time(hour), self._site.zone).timestamp()), f"{hour:02d}")
            for hour in range(0, 24, 3)
        ]
        if scope.kind == "line":
            heads = (said["forward"], said["backward"], said["total"], said["masks"])
        else:
            people = said["on_board" if scope.kind == "vehicle" else "people"]
            heads = (people, said["level"], said["mean_distance"], said["under_1m"])
        if not any(row.cells[3] for row in rows):
            # A column that says nothing all day is left away.
            heads = heads[:3]
            rows = [replace(row, cells=row.cells[:3]) for row in rows]
        titles = [" · ".join(filter(None, (r.when, r.state, *r.cells[2:]))) for r in rows]
        draw = chart.draw if scope.kind == "line" else chart.draw_people
        return Panel(
            scope=scope,
            sum=total(past, window_min) if scope.kind == "line" else None,
            chart=draw(found, titles, marks, (start_s, end_s)),
            development=any(record.development for record in records),
            heads=heads,
            rows=tuple(
                row for row, block in zip(rows, found, strict=True) if block.look != "missing"
            ),
        )

    @staticmethod
    def _row(visit: Visit, kind: str, block: Block) -> Row:
        said = visit.said
        when = f"{visit.clock(block.start_s)} - {visit.clock(block.end_s)}"
        state = said[block.look]
        record = block.record
        if record is None or block.look != "ok":
            return Row(when, state, block.look, ("", "", "", ""))
        if record.covers > 1:
            state = f"{state}, {said['covers'].format(n=record.covers)}"
        return Row(when, state, block.look, _cells(kind, record, said))

    def now(self, visit: Visit, choice: Choice) -> Response:
        """Return the page of the newest batch of each place."""
        said = visit.said
        scopes = self._figures.scopes()
        shown = [one for one in scopes if choice.includes(one)]
        until_s = max(self._figures.newest() or 0, visit.now_s())
        records = self._figures.newest_of(shown, until_s - LATELY_S)
        rows = []
        for one in shown:
            record = records.get((one.device, one.scope))
            if record is None:
                rows.append((one, Row(said["never"], "", "missing", ("", "", "", ""))))
                continue
            when = f"{visit.clock(record.begin_s)} - {visit.clock(record.end_s)}"
            cells = _cells(one.kind, record, said) if record.status == "ok" else ("", "", "", "")
            rows.append((one, Row(when, said[record.status], record.status, cells)))
        sites = sorted({one.site for one in scopes})
        return visit.page("now.html", rows=rows, sites=sites, choice=choice)


def router(site: Site) -> APIRouter:
    """Return both pages."""
    routes = APIRouter(include_in_schema=False)
    days = Days(site)

    @routes.get("/")
    def show_day(
        request: Request, day: str | None = None, site_name: str = "", device: str = ""
    ) -> Response:
        visit = site.visit(request)
        visit.demand(Role.PUBLIC)
        choice = Choice(site=request.query_params.get("site", site_name), device=device)
        try:
            chosen = date.fromisoformat(day) if day else days.newest_day()
            return days.day(visit, chosen, choice)
        except (ValueError, OverflowError):
            raise Refusal(400, "bad_day", got=(day or "")[:40]) from None

    @routes.get("/now")
    def show_now(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.PUBLIC)
        return days.now(visit, Choice(site=request.query_params.get("site", "")))

    return routes
