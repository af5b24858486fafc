"""The loop that evaluates rules and queues messages: one leader among all workers at a time.

Everything that one turn decides is one transaction, together with the place it has got to. A
leader that dies, or that another has overtaken, has decided nothing.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from aggregator import metrics
from aggregator.core.alerts import (
    STALE_S,
    Change,
    State,
    Target,
    concerns,
    reading,
    step,
)
from aggregator.core.day import Stored
from aggregator.core.measures import Interval
from aggregator.core.rules import OF_DEVICES, Book, Rule
from aggregator.core.wording import Occasion, Told, Writer
from aggregator.rulebook import RulesError
from aggregator.store.alerts import Lost
from aggregator.store.database import Database
from aggregator.store.deliveries import Draft
from aggregator.store.engine import reason_of
from aggregator.store.trail import SERVER
from edge_agent.wire.messages import FLEET

log = logging.getLogger(__name__)

TURN_S = 2.0
MOST_A_TURN = 2000
GROUP_WAIT_S = 20
"""How long an alert waits for others that go into the same message."""
DEVICES_EVERY_S = 60
CERTIFICATE_DAYS = 14
"""A certificate that ends sooner is a defect of its device."""
NO_NEWS_S = 24 * 3600
FORGET_EVERY_S = 3600


@dataclass(frozen=True, slots=True)
class _Seen:
    """A change of one rule and target in this turn."""

    rule: Rule
    target: Target
    state: State
    change: Change | None


class Alerting:
    """One worker's part in it."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        now: Callable[[], datetime],
        *,
        alerts_days: int,
        trail_days: int,
    ) -> None:
        self._database = database
        self._writer = writer
        self._now = now
        self._kept_days = (alerts_days, trail_days)
        self._stopping = threading.Event()
        self._blocked = False
        self._forgot_s = self._looked_s = 0
        self._thread = threading.Thread(target=self._run, name="alerting", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the turn, then let another lead."""
        self._stopping.set()
        self._thread.join(10.0)
        self._database.engine.resign()

    def _run(self) -> None:
        while not self._stopping.wait(TURN_S):
            try:
                leads = self._database.engine.lead()
                metrics.LEADER.set(leads)
                if leads:
                    self.turn()
                if self._blocked:
                    log.info("event=alerting_back")
                self._blocked = False
            except Lost:
                self._database.engine.resign()
            except (sa.exc.SQLAlchemyError, RulesError) as error:
                if not self._blocked:
                    log.error("event=alerting_stalled why=%r", reason_of(error))  # noqa: TRY400
                self._blocked = True

    def turn(self) -> int:
        """Evaluate what is new and queue what must be told; return how many records were new.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: nothing of it has happened.
            Lost: somebody else leads.
        """
        now = self._now()
        now_s = int(now.timestamp())
        book = self._database.alerts.book()
        taken = 0
        while True:
            new = self._evaluate(book, now_s)
            taken += new
            if new < MOST_A_TURN:
                break
        self._look_at_devices(book, now_s)
        self._tell(book, now)
        self._forget(now_s)
        metrics.NEWEST_S.set(self._database.figures.newest() or 0)
        metrics.OPEN_ALERTS.set(self._database.alerts.count_open())
        return taken

    # -- people: released records

    def _evaluate(self, book: Book, now_s: int) -> int:
        old, news = self._database.alerts.news(MOST_A_TURN)
        if not news:
            return 0
        rules = [r for r in book.rules if r.enabled and r.measure not in OF_DEVICES]
        fresh = [n for n in news if now_s - n[4].end_s <= STALE_S] if rules else []
        with self._database.engine.begin() as connection:
            self._database.alerts.advance(connection, old, news[-1][0])
            if fresh:
                self._step_all(connection, rules, fresh, ZoneInfo(book.timezone), now_s)
        return len(news)

    def _step_all(
        self,
        connection: sa.Connection,
        rules: Sequence[Rule],
        news: Sequence[tuple[int, str, str, str, Stored]],
        zone: ZoneInfo,
        now_s: int,
    ) -> None:
        targets = self._database.registry.targets(n[1] for n in news)
        stopped = self._database.stops.without_alerts()
        states = self._database.alerts.states(connection, (n[1] for n in news))
        ordered = sorted(news, key=lambda n: n[4].end_s)
        for _, device, scope, config, record in ordered:
            target = targets.get((device, scope))
            if target is None or not stopped.isdisjoint((FLEET, device)):
                continue
            if not self._declared(device, config, record):
                continue
            for rule in rules:
                new = reading(rule, record)
                if new is None or not concerns(rule.where, target):
                    continue
                key = (rule.name, device, scope)
                state, change = step(rule, states.get(key, State()), new, zone)
                states[key] = state
                self._keep(connection, _Seen(rule, target, state, change), now_s)

    def _declared(self, device: str, config: str, record: Stored) -> bool:
        """Return whether alerts about people were declared for a record's time."""
        declared = self._database.registry.declaration(device, config)
        begin, end = (datetime.fromtimestamp(s, UTC) for s in (record.begin_s, record.end_s))
        return declared is not None and declared.allows("alerts", begin, end)

    def _keep(self, connection: sa.Connection, seen: _Seen, now_s: int) -> None:
        rule, target, change = seen.rule, seen.target, seen.change
        key = (rule.name, target.device, target.scope)
        self._database.alerts.keep(connection, rule, key, seen.state)
        if change is None:
            return
        number = self._database.alerts.change(connection, rule, target, change, now_s)
        if change.kind != "goes on" and number is not None:
            act = "alert-fired" if change.kind == "fired" else "alert-over"
            self._database.trail.note(
                connection, now_s, SERVER, act, alert=number, rule=rule.name,
                device=target.device, scope=target.scope, since_s=change.since_s,
                until_s=change.at_s,
            )  # fmt: skip

    # -- devices

    def _look_at_devices(self, book: Book, now_s: int) -> None:
        if now_s - self._looked_s < DEVICES_EVERY_S:
            return
        self._looked_s = now_s
        rules = [r for r in book.rules if r.enabled and r.measure in OF_DEVICES]
        fleet = [d for d in self._database.registry.fleet() if d.revoked_s is None]
        metrics.DEVICES.labels("online").set(sum(d.state == "online" for d in fleet))
        metrics.DEVICES.labels("registered").set(len(fleet))
        with self._database.engine.begin() as connection:
            oldest_s = now_s - 86_400 * self._kept_days[0]
            for number in self._database.alerts.close_stale(
                connection, now_s - NO_NEWS_S, oldest_s, now_s
            ):
                self._database.trail.note(connection, now_s, SERVER, "alert-closed", alert=number)
            if not rules:
                return
            states = self._database.alerts.states(connection, (d.id for d in fleet))
            zone = ZoneInfo(book.timezone)
            for device in fleet:
                target = Target(
                    device.id, "", device.site, device.label, device.vehicle_line,
                    tuple(device.tags.split()),
                )  # fmt: skip
                for rule in rules:
                    if concerns(rule.where, target):
                        self._step_device(connection, rule, target, device, states, zone, now_s)

    def _step_device(  # noqa: PLR0917 - each is needed once
        self,
        connection: sa.Connection,
        rule: Rule,
        target: Target,
        device: sa.Row[Any],
        states: dict[tuple[str, str, str], State],
        zone: ZoneInfo,
        now_s: int,
    ) -> None:
        """Fire while a device's state meets a rule; each look is a batch of its own."""
        key = (rule.name, target.device, "")
        before = states.get(key, State())
        bad, value = trouble(rule, device, now_s)
        inside = rule.hours.include(datetime.fromtimestamp(now_s, UTC), zone)
        if bad == before.firing or (bad and not (inside and now_s >= before.quiet_until_s)):
            return
        if bad:
            last_s = device.received_s or device.added_s
            since_s = last_s if rule.measure == "device_silent" else now_s
            state = State(since_s=since_s, seen_s=now_s, firing=True)
            change = Change("fired", since_s, now_s, value, sure=True)
        else:
            quiet_s = now_s + 60 * rule.cool_down_min
            state = State(seen_s=now_s, quiet_until_s=quiet_s)
            change = Change("resolved", before.since_s, now_s, value, sure=True)
        self._keep(connection, _Seen(rule, target, state, change), now_s)

    # -- messages

    def _tell(self, book: Book, now: datetime) -> None:
        """Queue what staff must be told: alerts that began, ended, or that nobody takes."""
        now_s = int(now.timestamp())
        rules = {rule.name: rule for rule in book.rules}
        silences = self._database.alerts.silences(now_s)
        stopped = self._database.stops.without_alerts()
        groups: dict[tuple[Occasion, str, str], list[sa.Row[Any]]] = {}
        with self._database.engine.begin() as connection:
            told = self._database.alerts.to_be_told(connection)
            targets = self._database.registry.targets(alert.device for alert in told)
            for alert in told:
                rule = rules.get(alert.rule)
                occasion = None if rule is None else due(rule, alert, now_s)
                if rule is None or occasion is None:
                    continue
                if alert.scope and not stopped.isdisjoint((FLEET, alert.device)):
                    continue  # alerts about people are stopped: nobody is told anything of them
                place = targets.get((alert.device, alert.scope))
                hushed = place is not None and any(
                    from_s <= now_s and concerns(where, place)
                    for _, where, from_s, _, _ in silences
                )
                if hushed and occasion != "resolved":
                    continue
                by = {"site": alert.site, "rule": "", "none": str(alert.id)}[rule.group_by]
                groups.setdefault((occasion, rule.name, by), []).append(alert)
            for (occasion, name, _), alerts in groups.items():
                self._queue(connection, book, rules[name], occasion, alerts, now)

    def _queue(  # noqa: PLR0917 - each is needed once
        self,
        connection: sa.Connection,
        book: Book,
        rule: Rule,
        occasion: Occasion,
        alerts: Sequence[sa.Row[Any]],
        now: datetime,
    ) -> None:
        now_s = int(now.timestamp())
        told = [told_of(alert) for alert in alerts]
        names, channels = rule.notify, rule.channels
        if occasion == "escalated" and rule.escalate is not None:
            names, channels = rule.escalate.notify, rule.escalate.channels
        drafts = []
        again = f":{now_s}" if occasion == "reminder" else ""
        for person, channel, address in book.tell(names, channels, now):
            write = self._writer.sms if channel == "sms" else self._writer.email
            text = write(told, occasion, person.language)
            key = f"{occasion}:{told[0].number}{again}:{person.name}:{channel}"
            drafts.append(
                Draft(
                    key, told[0].number, occasion, channel, person.name, address,
                    text.subject, text.body,
                )
            )  # fmt: skip
        self._database.deliveries.queue(connection, drafts, now_s)
        column = {
            "fired": "notified_s", "resolved": "end_told_s", "reminder": "reminded_s",
            "escalated": "escalated_s",
        }[occasion]  # fmt: skip
        self._database.alerts.told(connection, [alert.id for alert in alerts], column, now_s)

    def _forget(self, now_s: int) -> None:
        """Delete what has been kept long enough."""
        if now_s - self._forgot_s < FORGET_EVERY_S:
            return
        self._forgot_s = now_s
        alerts_s, trail_s = (now_s - 86_400 * days for days in self._kept_days)
        with self._database.engine.begin() as connection:
            self._database.fleet.forget_proposals(connection, now_s)
            gone = self._database.alerts.forget(connection, alerts_s)
            entries = self._database.trail.forget(connection, trail_s)
            if gone or entries:
                self._database.trail.note(
                    connection, now_s, SERVER, "retention", alerts=gone, entries=entries
                )


def trouble(rule: Rule, device: sa.Row[Any], now_s: int) -> tuple[bool, Interval]:
    """Return whether a device is as a rule says, and for how many minutes it has been silent."""
    silent_min = (now_s - (device.received_s or device.added_s)) / 60
    if rule.measure == "device_silent":
        return silent_min >= rule.threshold, Interval(silent_min, silent_min)
    today = datetime.fromtimestamp(now_s, UTC).toordinal()
    ends = device.certificate_ends
    told = (device.latency, device.kept_up, device.disk, device.clock, device.confined)
    bad = (
        any(flag is False for flag in told)
        or device.status == "defect"
        or (ends is not None and ends - today < CERTIFICATE_DAYS)
    )
    return bad, Interval(0, 0)


def due(rule: Rule, alert: sa.Row[Any], now_s: int) -> Occasion | None:  # noqa: PLR0911 - one an occasion
    """Return what is to be told of an alert now, if anything."""
    if alert.state == "over":
        return "resolved" if rule.tell_resolved else None
    if alert.notified_s is None:
        return "fired" if now_s - alert.opened_s >= GROUP_WAIT_S else None
    if alert.taken_s is not None:
        return None
    escalate = rule.escalate
    if escalate is not None and alert.escalated_s is None:
        if now_s - alert.notified_s >= 60 * escalate.after_min:
            return "escalated"
        return None
    if rule.remind_min is not None:
        last_s = max(alert.notified_s, alert.reminded_s or 0, alert.escalated_s or 0)
        return "reminder" if now_s - last_s >= 60 * rule.remind_min else None
    return None


def told_of(alert: sa.Row[Any]) -> Told:
    """Return an alert as messages tell it."""
    return Told(
        alert.id, alert.measure, alert.site, alert.label, alert.since_s, alert.until_s,
        Interval(alert.low, alert.high), alert.sure,
    )  # fmt: skip


def test_drafts(book: Book, writer: Writer, names: Iterable[str], now: datetime) -> list[Draft]:
    """Return test messages to people, by every channel they have."""
    drafts = []
    for person, channel, address in book.tell(tuple(names), ("email", "sms"), now):
        write = writer.sms if channel == "sms" else writer.email
        text = write([], "test", person.language)
        key = f"test:{int(now.timestamp())}:{person.name}:{channel}"
        drafts.append(
            Draft(key, None, "test", channel, person.name, address, text.subject, text.body)
        )
    return drafts
