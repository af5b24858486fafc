"""The pages of rules: all of them as YAML, one of them as a form, a trial, a test message."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from starlette.datastructures import FormData

from aggregator.alerting import test_drafts
from aggregator.core.alerts import Target, concerns, preview
from aggregator.core.day import Stored
from aggregator.core.measures import LEVELS
from aggregator.core.roles import Role
from aggregator.core.rules import DAYS, OF_DEVICES, Book, Rule, Subject
from aggregator.core.wording import Writer, measure_name
from aggregator.rulebook import RulesError, dump, parse
from aggregator.web.visit import Refusal, Site, Visit

TRIED_S = 30 * 86_400
SUBJECTS: tuple[Subject, ...] = (
    "passages", "mask_share", "occupancy", "occupancy_level", "mean_distance_m",
    "share_under_1m", "device_silent", "device_unhealthy",
)  # fmt: skip
_NEW = "new"
_LABELS = {
    "name": "rule_name", "measure": "measure", "at_least": "rule_value", "at_most": "rule_value",
    "clear": "rule_clear", "for": "rule_for", "cool_down_min": "rule_cool", "site": "site",
    "device": "device", "scope": "rule_scope", "vehicle_line": "vehicle_line", "tag": "tag",
    "opens": "from", "closes": "to", "days": "rule_days", "severity": "severity",
    "notify": "rule_notify", "channels": "rule_channels", "after_min": "rule_escalate",
    "escalate.notify": "rule_escalate_to",
}  # fmt: skip
"""What the form calls each key of a rule: words of the pages."""


@dataclass(slots=True)
class Tried:
    """How often a rule would have fired, and how often had alerts been declared everywhere."""

    rule: Rule
    fired: int = 0
    if_declared: int = 0


class Rules:
    """What the pages do."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._database = site.database
        self._writer = Writer(site.zone, site.address)

    def save(self, visit: Visit, text: str, book: Book) -> None:
        """Put rules in force, and note in the trail which they were and are."""
        old = {rule.name: rule.fingerprint() for rule in self._database.alerts.book().rules}
        new = {rule.name: rule.fingerprint() for rule in book.rules}
        changed = sorted(name for name in new if name in old and old[name] != new[name])
        with self._database.engine.begin() as connection:
            now_s = visit.now_s()
            self._database.alerts.set_book(connection, text, book, visit.who, now_s)
            self._database.trail.note(
                connection, now_s, visit.who, "rules-changed",
                added=sorted(new.keys() - old), removed=sorted(old.keys() - new),
                changed=changed,
            )  # fmt: skip

    def tried(self, book: Book) -> list[Tried]:
        """Return how often each rule would have fired over the last thirty days.

        Alerts about people need a legal basis: beside what would have fired stands what would
        have, had every device declared them.
        """
        newest = self._database.figures.newest() or 0
        declared = self._database.registry.newest_declarations()

        def may_alert(target: Target, record: Stored) -> bool:
            own = declared.get(target.device)
            begin, end = (datetime.fromtimestamp(s, UTC) for s in (record.begin_s, record.end_s))
            return own is not None and own.allows("alerts", begin, end)

        found = [Tried(rule) for rule in book.rules if rule.measure not in OF_DEVICES]
        for target, records in self._records(newest - TRIED_S, newest):
            for tried in found:
                if concerns(tried.rule.where, target):
                    pairs = [(target, record) for record in records]
                    tried.fired += self._fired(tried.rule, pairs, may_alert)
                    tried.if_declared += self._fired(tried.rule, pairs, lambda _t, _r: True)
        return found

    def _fired(
        self,
        rule: Rule,
        pairs: Sequence[tuple[Target, Stored]],
        may_alert: Callable[[Target, Stored], bool],
    ) -> int:
        changes = preview(rule, pairs, may_alert, self._site.zone)
        return sum(change.kind == "fired" for _, change in changes)

    def _records(self, start_s: int, end_s: int) -> Iterator[tuple[Target, Sequence[Stored]]]:
        """Yield the records of one device after another: a month of a city is large."""
        targets = self._database.registry.targets()
        figures = self._database.figures
        by_device = attrgetter("device")
        for _, scopes in groupby(sorted(figures.scopes(), key=by_device), by_device):
            for key, own in figures.stretches(list(scopes), start_s, end_s).items():
                if key in targets:
                    yield targets[key], sorted(own, key=lambda record: record.window_s)

    def test(self, visit: Visit) -> int:
        """Queue a test message to everybody who is named; return how many."""
        book = self._database.alerts.book()
        names = tuple(person.name for person in book.people)
        drafts = test_drafts(book, self._writer, names, self._site.now())
        with self._database.engine.begin() as connection:
            now_s = visit.now_s()
            self._database.deliveries.queue(connection, drafts, now_s)
            self._database.trail.note(
                connection, now_s, visit.who, "test-sent", messages=len(drafts)
            )
        return len(drafts)


def fields_of(form: FormData, old: Rule | None) -> dict[str, Any]:
    """Return a rule's fields from the form; what the form does not show stays as it was."""
    fields: dict[str, Any] = {} if old is None else old.model_dump(mode="json", by_alias=True)

    def text(name: str) -> str:
        value = form.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    measure = text("measure")
    value = _value(text("value"))
    fields |= {
        "name": text("name"),
        "measure": measure,
        "where": {
            key: text(key) for key in ("site", "device", "scope", "vehicle_line", "tag")
            if text(key)
        },
        "at_least": None, "at_most": None, "clear": _value(text("clear")),
        "for": _whole(text("for"), 1), "cool_down_min": _whole(text("cool_down_min"), 30),
        "severity": text("severity") or "warning",
        "notify": text("notify").split(),
        "channels": [c for c in ("email", "sms") if c in form.getlist("channels")],
        "hours": {
            "days": [d for d in DAYS if d in form.getlist("days")],
            "opens": text("opens") or "00:00", "closes": text("closes") or "24:00",
        },
        "sure": bool(text("sure")),
        "enabled": bool(text("enabled")),
    }  # fmt: skip
    if measure != "device_unhealthy":
        fields["at_most" if text("side") == "at_most" else "at_least"] = value
    after = text("escalate_after")
    fields["escalate"] = (
        {"after_min": _whole(after, 15), "notify": text("escalate_to").split()} if after else None
    )
    return fields


def _value(text: str) -> float | str | None:
    if not text or text in LEVELS:
        return text or None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


def _whole(text: str, default: int) -> int | str:
    return int(text) if text.isdecimal() else (text or default)


def _said(error: RulesError, visit: Visit, labels: Mapping[str, str]) -> str:
    """Return what is wrong in the reader's language; a form's field by what it is called there."""
    if error.mistake is None:
        return str(error)
    place = [part for part in error.mistake.place if not part.isdecimal()]
    named = [key for key in (".".join(place[-2:]), *place[-1:]) if key in labels]
    label = visit.said[labels[named[0]]].split(" (")[0] if named else None
    return error.mistake.said(visit.language, label)


def router(site: Site) -> APIRouter:
    """Return the pages."""
    routes = APIRouter(include_in_schema=False)
    rules = Rules(site)

    def show(visit: Visit, status: int = 200, **more: Any) -> Response:
        content = {
            "text": site.database.alerts.text() or dump(Book(timezone=site.config.timezone)),
            "problem": "", "said_done": "", "tried": None, **more,
        }  # fmt: skip
        return visit.page(
            "rules.html", status, book=site.database.alerts.book(),
            may_change=visit.may(Role.ADMINISTRATOR),
            name=lambda measure: measure_name(measure, visit.language),
            messages=site.database.deliveries.newest(20), **content,
        )  # fmt: skip

    @routes.get("/rules")
    def show_rules(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        return show(visit)

    @routes.post("/rules")
    def change(
        request: Request,
        text: Annotated[str, Form()] = "",
        deed: Annotated[str, Form()] = "save",
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ADMINISTRATOR)
        visit.demand_form(form)
        given = text.replace("\r\n", "\n")
        try:
            book = parse(given)
        except RulesError as error:
            return show(visit, 400, text=given, problem=_said(error, visit, {}))
        if deed == "try":
            return show(visit, text=given, tried=rules.tried(book))
        rules.save(visit, given, book)
        return show(visit, text=given, said_done=visit.said["rules_saved"])

    @routes.post("/rules/test")
    def test(request: Request, form: Annotated[str, Form()] = "") -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        visit.demand_form(form)
        count = rules.test(visit)
        return show(visit, said_done=visit.said["rules_test_sent"].format(n=count))

    @routes.get("/rules/{name}")
    def show_rule(request: Request, name: str) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ADMINISTRATOR)
        book = site.database.alerts.book()
        rule = next((r for r in book.rules if r.name == name), None)
        if rule is None and name != _NEW:
            raise Refusal(404, "not_found")
        fields = {} if rule is None else rule.model_dump(mode="json", by_alias=True)
        return _rule_page(visit, name, fields, book)

    def _rule_page(
        visit: Visit, name: str, fields: dict[str, Any], book: Book, problem: str = ""
    ) -> Response:
        blank: dict[str, Any] = dict.fromkeys(
            ("name", "measure", "at_least", "at_most", "clear", "for", "sure", "cool_down_min",
             "severity", "notify", "channels")
        )  # fmt: skip
        whole = {**blank, "enabled": True, **fields}
        for part, keys in (
            ("where", ("site", "device", "scope", "vehicle_line", "tag")),
            ("hours", ("days", "opens", "closes")),
            ("escalate", ("after_min", "notify")),
        ):
            whole[part] = {**dict.fromkeys(keys), **(fields.get(part) or {})}
        return visit.page(
            "rule.html", 400 if problem else 200, rule_name=name, fields=whole, problem=problem,
            subjects=SUBJECTS, days=DAYS, is_new=name == _NEW,
            names=[p.name for p in book.people] + [r.name for r in book.rotas],
            label=lambda measure: measure_name(measure, visit.language),
            sites=sorted({one.site for one in site.database.figures.scopes()}),
        )  # fmt: skip

    @routes.post("/rules/{name}")
    async def change_rule(request: Request, name: str) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ADMINISTRATOR)
        form = await request.form()
        visit.demand_form(str(form.get("form", "")))
        book = site.database.alerts.book()
        old = next((r for r in book.rules if r.name == name), None)
        if old is None and name != _NEW:
            raise Refusal(404, "not_found")
        kept = [r.model_dump(mode="json", by_alias=True) for r in book.rules if r.name != name]
        fields = fields_of(form, old)
        own = [] if form.get("deed") == "remove" else [fields]
        whole = {**book.model_dump(mode="json", by_alias=True), "rules": [*kept, *own]}
        try:
            new = parse(json.dumps(whole))  # JSON is YAML
        except RulesError as error:
            return _rule_page(visit, name, fields, book, _said(error, visit, _LABELS))
        rules.save(visit, dump(new), new)
        return visit.go("/rules")

    return routes
