"""Pages over longer times, from the sums: a week, hours of the week, comparisons, bus lines."""

from dataclasses import dataclass
from datetime import date, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aggregator.core.roles import Role
from aggregator.core.rollup import Sums
from aggregator.store.figures import Choice, Heat, Scope
from aggregator.web import chart
from aggregator.web.days import Days, table_of
from aggregator.web.visit import Refusal, Site, Visit
from edge_agent.wire.messages import K_FLOOR, MEAN_STEP_CM

MOST_DAYS = 400


def mean(sums: Sums, measure: Heat) -> float | None:
    """Return a measure's mean over batches, or None where nothing of it was said.

    Passages are those of an hour in which batches were published; the rest is the middle of what
    was published.
    """
    if measure == "passages":
        return 60 * sums.said / sums.minutes if sums.minutes else None
    if measure == "masks":
        return (sums.masks_low + sums.masks_high) / 2 / sums.masks_n if sums.masks_n else None
    if measure == "people":
        return sums.people / sums.people_n if sums.people_n else None
    return sums.distance_cm / sums.distance_n / 100 if sums.distance_n else None


def span(sums: Sums, measure: Heat) -> tuple[float, float] | None:
    """Return between which values the mean of what was published lies."""
    middle = mean(sums, measure)
    if middle is None:
        return None
    if measure == "masks":
        return sums.masks_low / sums.masks_n, sums.masks_high / sums.masks_n
    if measure == "distance":
        return middle - MEAN_STEP_CM / 200, middle + MEAN_STEP_CM / 200
    half = 2.5 if measure == "people" else 60 * 2.5 * sums.batches / sums.minutes
    return max(0.0, middle - half), middle + half


def shown(value: float | None, measure: Heat) -> str:
    """Return a mean as text."""
    if value is None:
        return ""
    match measure:
        case "masks":
            return f"{value:.0f} %"
        case "distance":
            return f"{value:.2f} m"
        case _:
            return f"{value:.0f}"


def choice_of(request: Request, prefix: str = "") -> Choice:
    """Return which scopes a request means."""
    names = ("site", "device", "scope", "vehicle_line", "tag")
    return Choice(**{name: request.query_params.get(prefix + name, "")[:120] for name in names})


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both ends included, as ordinals."""

    first: int
    last: int


class Trends:
    """Builds the pages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._figures = site.database.figures
        self._days = Days(site)

    def _scopes(self, choice: Choice) -> tuple[list[Scope], list[str]]:
        every = self._figures.scopes()
        return [s for s in every if choice.includes(s)], sorted({s.site for s in every})

    # -- a week

    def week(self, visit: Visit, text: str, choice: Choice) -> Response:
        """Return seven days of the chosen lines."""
        monday = self._monday(text)
        first = monday.toordinal()
        scopes, sites = self._scopes(choice)
        lines = [one for one in scopes if one.kind == "line"]
        by_day = self._figures.total_by_day(lines, first, first + 6)
        by_scope = self._figures.total_by_scope(lines, first, first + 6)
        bars: list[chart.Bar] = []
        rows: list[tuple[str, date, Sums | None, int]] = []
        for offset in range(7):
            sums, runs = by_day.get(first + offset, (None, 0))
            name = visit.said[f"day_{offset}"]
            day = monday + timedelta(days=offset)
            if sums is None:
                bars.append(chart.Bar(name, None, None, "both", name))
                rows.append((name, day, None, 0))
                continue
            most = sums.said + runs * (K_FLOOR - 1)
            bars.append(chart.Bar(name, sums.said, most, "both", f"{name}: {sums.said} - {most}"))
            rows.append((name, day, sums, most))
        table = table_of(lines, by_scope)
        year, week, _ = monday.isocalendar()
        return visit.page(
            "week.html", week=f"{year}-W{week:02d}", monday=monday,
            before=self._name(monday - timedelta(days=7)),
            after=self._name(monday + timedelta(days=7)),
            chart=chart.draw_bars(bars), rows=rows, table=table, sites=sites, choice=choice,
            frame=chart,
        )  # fmt: skip

    @staticmethod
    def _name(monday: date) -> str:
        year, week, _ = monday.isocalendar()
        return f"{year}-W{week:02d}"

    def _monday(self, text: str) -> date:
        if not text:
            day = self._days.newest_day()
            return day - timedelta(days=day.weekday())
        try:
            year, _, week = text.partition("-W")
            return date.fromisocalendar(int(year), int(week), 1)
        except (ValueError, OverflowError):
            raise Refusal(400, "wrong_input", what="2026-W47") from None

    # -- hours of the week

    def hours(self, visit: Visit, choice: Choice) -> Response:
        """Return a heat map over whole months."""
        query = visit.request.query_params
        newest = self._days.newest_day()
        first = self._month(query.get("from", ""), newest - timedelta(days=330))
        last = self._month(query.get("to", ""), newest)
        measure = query.get("measure", "passages")
        if measure not in ("passages", "masks", "people", "distance"):
            raise Refusal(400, "wrong_input", what="passages, masks, people, distance")
        scopes, sites = self._scopes(choice)
        cells = self._figures.hours(scopes, first, last, measure)  # type: ignore[arg-type]
        values = [mean(cells.get(cell, Sums()), measure) for cell in range(168)]  # type: ignore[arg-type]
        titles = []
        for cell, value in enumerate(values):
            own = cells.get(cell, Sums())
            name = f"{visit.said[f'day_{cell // 24}']} {cell % 24:02d}:00"
            text = shown(value, measure) or visit.said["nothing_said"]  # type: ignore[arg-type]
            withheld = max(0, own.withheld)
            more = f", {visit.said['withheld_windows']}: {withheld}" if withheld else ""
            titles.append(f"{name}: {text}{more}")
        return visit.page(
            "hours.html", first=self._month_name(first), last=self._month_name(last),
            measure=measure, cells=chart.draw_heat(values, titles),
            texts=[shown(value, measure) for value in values],  # type: ignore[arg-type]
            sites=sites, choice=choice, frame=chart,
        )  # fmt: skip

    @staticmethod
    def _month(text: str, default: date) -> int:
        if not text:
            return 100 * default.year + default.month
        try:
            at = date.fromisoformat(f"{text}-01")
        except ValueError:
            raise Refusal(400, "wrong_input", what="2026-11") from None
        return 100 * at.year + at.month

    @staticmethod
    def _month_name(month: int) -> str:
        return f"{month // 100}-{month % 100:02d}"

    # -- two choices side by side

    def compare(self, visit: Visit) -> Response:
        """Return two choices over two periods."""
        newest = self._days.newest_day()
        sides = []
        for name, back in (("a", 0), ("b", 28)):
            choice = choice_of(visit.request, f"{name}_")
            period = self._period(visit, name, newest - timedelta(days=back))
            scopes, sites = self._scopes(choice)
            lines = [one for one in scopes if one.kind == "line"]
            by_day = self._figures.total_by_day(lines, period.first, period.last)
            whole = sum((sums for sums, _ in by_day.values()), Sums())
            whole_most = whole.said + sum(runs for _, runs in by_day.values()) * (K_FLOOR - 1)
            sides.append((name.upper(), choice, period, by_day, whole_most, whole))
        length = max(side[2].last - side[2].first for side in sides) + 1
        bars = []
        for offset in range(length):
            for name, _, period, by_day, *_ in sides:
                sums, runs = by_day.get(period.first + offset, (None, 0))
                day = date.fromordinal(period.first + offset).isoformat()
                said = None if sums is None else sums.said
                most = None if said is None else said + runs * (K_FLOOR - 1)
                look = "forward" if name == "A" else "backward"
                bars.append(chart.Bar(str(offset + 1), said, most, look, f"{name} {day}: {said}"))
        every = 2 * max(1, length // 14)
        return visit.page(
            "compare.html", sides=sides, chart=chart.draw_bars(bars, every), sites=sites,
            frame=chart, name=date.fromordinal, mean=mean, shown=shown, length=length,
        )  # fmt: skip

    @staticmethod
    def _period(visit: Visit, name: str, newest: date) -> Period:
        query = visit.request.query_params
        try:
            last = date.fromisoformat(query.get(f"{name}_to") or newest.isoformat())
            start = (last - timedelta(days=27)).isoformat()
            first = date.fromisoformat(query.get(f"{name}_from") or start)
        except (ValueError, OverflowError):
            raise Refusal(400, "wrong_input", what="2026-11-21") from None
        if not 0 <= last.toordinal() - first.toordinal() < MOST_DAYS:
            raise Refusal(400, "wrong_input", what=f"1 - {MOST_DAYS} {visit.said['day'].lower()}")
        return Period(first.toordinal(), last.toordinal())

    # -- bus lines

    def vehicles(self, visit: Visit) -> Response:
        """Return, for each bus line, people and distance by hour of the day."""
        newest = self._days.newest_day()
        query = visit.request.query_params
        first = self._month(query.get("from", ""), newest - timedelta(days=60))
        last = self._month(query.get("to", ""), newest)
        panels = [
            self._vehicle(visit, line, by_hour)
            for line, by_hour in self._figures.hours_of_lines(first, last).items()
        ]
        return visit.page(
            "vehicles.html", panels=panels, first=self._month_name(first),
            last=self._month_name(last), frame=chart,
        )  # fmt: skip

    @staticmethod
    def _vehicle(visit: Visit, line: str, by_hour: list[Sums]) -> dict[str, object]:
        near = [(mean(sums, "distance"), hour) for hour, sums in enumerate(by_hour)]
        told = [(metres, hour) for metres, hour in near if metres is not None]
        advice = ""
        if told:
            value, hour = min(told)
            advice = visit.said["vehicles_advice"].format(hour=hour, value=shown(value, "distance"))
        measure: Heat = "people" if any(sums.people_n for sums in by_hour) else "passages"
        bars = []
        for hour, sums in enumerate(by_hour):
            middle, limits = mean(sums, measure), span(sums, measure)
            text = shown(middle, measure) or visit.said["nothing_said"]
            high = None if limits is None else limits[1]
            bars.append(chart.Bar(f"{hour:02d}", middle, high, "both", f"{hour:02d}:00 {text}"))
        rows = [
            (f"{hour:02d}:00", *(shown(mean(sums, m), m) for m in ("people", "passages")),
             shown(mean(sums, "distance"), "distance"), span(sums, "distance"))
            for hour, sums in enumerate(by_hour)
        ]  # fmt: skip
        return {
            "line": line, "advice": advice, "chart": chart.draw_bars(bars, 3), "rows": rows,
            "measure": measure,
        }  # fmt: skip


def router(site: Site) -> APIRouter:
    """Return the pages."""
    routes = APIRouter(include_in_schema=False)
    trends = Trends(site)

    @routes.get("/week")
    def week(request: Request, week: str = "") -> Response:
        visit = site.visit(request)
        visit.demand(Role.PUBLIC)
        return trends.week(visit, week[:10], choice_of(request))

    @routes.get("/hours")
    def hours(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.PUBLIC)
        return trends.hours(visit, choice_of(request))

    @routes.get("/compare")
    def compare(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ANALYST)
        return trends.compare(visit)

    @routes.get("/vehicles")
    def vehicles(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ANALYST)
        return trends.vehicles(visit)

    return routes
