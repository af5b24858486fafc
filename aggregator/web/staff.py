"""Pages of operators: alerts, the register, silences, devices, stops, the audit trail."""

import csv
import io
import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from aggregator.alerting import told_of
from aggregator.commands import MODULES, Commander
from aggregator.core.followup import DONE, SEEN, Done, Seen
from aggregator.core.roles import Role
from aggregator.core.rules import Where
from aggregator.core.wording import measure_name, value_text
from aggregator.store.trail import holds
from aggregator.web.visit import Refusal, Site, Visit
from edge_agent.wire.messages import FLEET

MOST_SHOWN = 200
LONGEST_SILENCE_H = 24 * 30


def alert_words(visit: Visit, alert: Any) -> dict[str, str]:
    """Return what an alert is about, in words."""
    told = told_of(alert)
    return {
        "measure": measure_name(told.measure, visit.language),
        "value": value_text(told.measure, told.value, visit.language),
    }


def _chosen(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise Refusal(400, "wrong_input", what=", ".join(known))
    return value


def alerts(site: Site) -> APIRouter:
    """Return the pages of alerts, their follow-ups and silences."""
    routes = APIRouter(include_in_schema=False)
    database = site.database

    @routes.get("/alerts")
    def show_alerts(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        found = database.alerts.newest(MOST_SHOWN)
        return visit.page(
            "alerts.html",
            alerts=[(one, alert_words(visit, one)) for one in found],
            silences=database.alerts.silences(visit.now_s()),
            sites=sorted({one.site for one in database.figures.scopes()}),
        )

    @routes.get("/alerts/{number}")
    def show_alert(request: Request, number: int) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        found = database.alerts.alert(number)
        if found is None:
            raise Refusal(404, "not_found")
        return visit.page(
            "alert.html", alert=found, words=alert_words(visit, found),
            followups=database.alerts.register(number),
            messages=database.deliveries.of_alert(number), seen=SEEN, done=DONE,
        )  # fmt: skip

    @routes.post("/alerts/{number}/take")
    def take(request: Request, number: int, form: Annotated[str, Form()] = "") -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        visit.demand_form(form)
        with database.engine.begin() as connection:
            if database.alerts.take(connection, number, visit.who, visit.now_s()):
                database.trail.note(
                    connection, visit.now_s(), visit.who, "alert-taken", alert=number
                )
        return visit.go(f"/alerts/{number}")

    @routes.post("/alerts/{number}/follow-up")
    def follow_up(
        request: Request,
        number: int,
        seen: Annotated[str, Form()] = "",
        done: Annotated[str, Form()] = "",
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        visit.demand_form(form)
        saw: Seen = _chosen(seen, SEEN)  # type: ignore[assignment]
        did: Done = _chosen(done, DONE)  # type: ignore[assignment]
        if database.alerts.alert(number) is None:
            raise Refusal(404, "not_found")
        now_s = visit.now_s()
        with database.engine.begin() as connection:
            database.alerts.follow_up(connection, number, visit.who, now_s, seen=saw, done=did)
            database.trail.note(
                connection, now_s, visit.who, "followed-up", alert=number, seen=saw, done=did
            )
        return visit.go(f"/alerts/{number}")

    @routes.post("/silences")
    def silence(
        request: Request,
        place: Annotated[str, Form(max_length=120)] = "",
        hours: Annotated[int, Form(ge=1, le=LONGEST_SILENCE_H)] = 1,
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        visit.demand_form(form)
        where, now_s = Where(site=place or None), visit.now_s()
        until_s = now_s + 3600 * hours
        with database.engine.begin() as connection:
            number = database.alerts.silence(connection, where, now_s, until_s, visit.who)
            database.trail.note(
                connection, now_s, visit.who, "silenced", silence=number, site=place,
                until_s=until_s,
            )  # fmt: skip
        return visit.go("/alerts")

    @routes.post("/silences/{number}/end")
    def end_silence(request: Request, number: int, form: Annotated[str, Form()] = "") -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        visit.demand_form(form)
        with database.engine.begin() as connection:
            if database.alerts.end_silence(connection, number, visit.now_s()):
                database.trail.note(
                    connection, visit.now_s(), visit.who, "silence-ended", silence=number
                )
        return visit.go("/alerts")

    return routes


def register(site: Site) -> APIRouter:
    """Return the register of follow-ups and the audit trail."""
    routes = APIRouter(include_in_schema=False)
    database = site.database

    @routes.get("/register")
    def show(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        return visit.page(
            "register.html", entries=database.alerts.register(),
            days=site.config.retention.alerts_days,
            name=lambda measure: measure_name(measure, visit.language),
        )  # fmt: skip

    @routes.get("/register.csv")
    def export(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        out = io.StringIO()
        table = csv.writer(out)
        table.writerow(
            ["alert", "rule", "measure", "site", "place", "since", "until", "alerted", "taken",
             "taken_by", "looked", "looked_by", "seen", "done"]
        )  # fmt: skip
        for e in database.alerts.register():
            moments = (e.since_s, e.until_s, e.opened_s, e.taken_s)
            since, until, alerted, taken = (visit.clock(s, "%Y-%m-%dT%H:%M%z") for s in moments)
            looked = visit.clock(e.at_s, "%Y-%m-%dT%H:%M%z")
            table.writerow(
                [e.alert, e.rule, e.measure, e.site, e.label, since, until, alerted, taken,
                 e.taken_by or "", looked, e.by, e.seen, e.done]
            )  # fmt: skip
        with database.engine.begin() as connection:
            database.trail.note(connection, visit.now_s(), visit.who, "register-exported")
        name = {"Content-Disposition": 'attachment; filename="register.csv"'}
        return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=name)

    @routes.get("/trail")
    def trail(request: Request, before: int | None = None) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        entries = database.trail.entries(before, MOST_SHOWN)
        # What is shown is checked; all of it is by `dizaine-aggregator trail verify`.
        count, broken = holds(reversed(entries))
        told = [(entry, json.loads(entry.what)) for entry in entries]
        return visit.page("trail.html", entries=told, count=count, broken=broken, most=MOST_SHOWN)

    return routes


def fleet(site: Site) -> APIRouter:
    """Return the pages of devices and stops."""
    routes = APIRouter(include_in_schema=False)
    database = site.database
    commander = Commander(site.config, database)

    def enter(request: Request, target: str, form: str) -> Visit:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        visit.demand_form(form)
        if not commander.has_key:
            raise Refusal(400, "stop_no_key")
        if target not in {FLEET, *(d.id for d in database.registry.all())}:
            raise Refusal(400, "wrong_input", what=visit.said["device"])
        return visit

    @routes.get("/fleet")
    def show(request: Request, page: int = 1) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ANALYST)
        declared = database.registry.newest_declarations()
        devices = database.registry.fleet()
        first = MOST_SHOWN * (max(1, page) - 1)
        return visit.page(
            "fleet.html", devices=devices[first : first + MOST_SHOWN], page=max(1, page),
            more=len(devices) > first + MOST_SHOWN, declared=declared,
            stops=database.stops.all(), fleet=FLEET, on=_date,
        )  # fmt: skip

    @routes.get("/stop")
    def stops(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        devices = [d for d in database.registry.fleet() if d.revoked_s is None]
        in_force = [s for s in database.stops.all().values() if s.everything or s.modules]
        online = [d for d in devices if d.state == "online"]
        obeyed = {
            stop.target: (
                sum(
                    (d.fleet_stop if stop.target == FLEET else d.own_stop) >= stop.number
                    for d in online
                    if stop.target in (FLEET, d.id)
                ),
                sum(stop.target in (FLEET, d.id) for d in online),
            )
            for stop in in_force
        }
        return visit.page(
            "stop.html", devices=devices, in_force=in_force, obeyed=obeyed, fleet=FLEET,
            modules=MODULES, has_key=commander.has_key,
        )  # fmt: skip

    @routes.post("/stop")
    def stop(
        request: Request,
        target: Annotated[str, Form(max_length=32)] = "",
        everything: Annotated[str, Form()] = "",
        module: Annotated[list[str] | None, Form()] = None,
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = enter(request, target, form)
        modules = tuple(m for m in MODULES if m in (module or []))
        if not (everything or modules):
            raise Refusal(400, "stop_name_something")
        commander.stop(
            target, everything=bool(everything), modules=modules, by=visit.who,
            now_s=visit.now_s(),
        )  # fmt: skip
        return visit.go("/stop")

    @routes.post("/stop/lift")
    def lift(
        request: Request,
        target: Annotated[str, Form(max_length=32)] = "",
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = enter(request, target, form)
        commander.lift(target, by=visit.who, now_s=visit.now_s())
        return visit.go("/stop")

    return routes


def _date(visit: Visit, ordinal: int | None) -> str:
    if ordinal is None:
        return ""
    form = "%d/%m/%Y" if visit.language == "fr" else "%d %b %Y"
    return date.fromordinal(ordinal).strftime(form)
