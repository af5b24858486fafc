"""The dashboard in a real browser: everything visible, nothing from elsewhere."""

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from aggregator.core.verdict import Accepted, Device
from aggregator.store.database import Database, Incoming
from aggregator.store.registry import Place
from deploy.local.processes import answers
from edge_agent.wire import codec
from edge_agent.wire.messages import Directed, Total
from tests.conftest import Part
from tests.records import NO_SIGNATURE, a_record

DAY = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)


def fill(path: Path) -> None:
    """Store a morning in which every kind of window occurs."""
    database = Database(f"sqlite:///{path}")
    database.registry.add(
        Device("bus-1", bytes(32), revoked=False), Place("Halle <b>& marché", "Bus"), 0
    )
    database.registry.name_scope("bus-1", "main", "Porte")
    said: list[dict[str, Any]] = [
        {"status": "ok", "passages": Directed(forward=35, backward=20)},
        {"status": "ok", "passages": Total(total=15)},
        {"status": "low"},
        {"status": "low"},
        {"status": "ok", "passages": Total(total=10), "covers": 3},
        {"status": "low"},
        {"status": "closed"},
        {"status": "defect"},
    ]
    batch = []
    for index, fields in enumerate(said):
        window = DAY + index * timedelta(minutes=15)
        record = a_record(window=window, **fields)
        sealed = codec.seal(record, lambda _: NO_SIGNATURE)
        batch.append(Incoming(Accepted(record, codec.digest(sealed)), sealed))
    database.store(batch, [], 0)
    database.close()


@pytest.fixture
def address(town: Any) -> str:
    """Return the address of a running server with that morning in it."""
    fill(town.folder / "city.db")
    town.aggregator.start()
    return f"http://127.0.0.1:{town.web_port}/"


def visit(browser: Browser, address: str, width: int = 1280, **context: Any) -> Page:
    page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
    page.goto(address)
    return page


def test_the_page_says_what_was_released_and_no_more(browser: Browser, address: str) -> None:
    page = visit(browser, address, locale="en-GB")
    text = page.inner_text("main")
    assert "Halle <b>& marché" in text
    assert page.inner_text(".figure strong") == "80"
    assert "at most 89" in text
    page.click("summary")
    rows = page.locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["07:00 - 07:15", "published", "35", "20", "55"],
        ["07:15 - 07:30", "published", "", "", "15"],
        ["07:30 - 08:15", "published, 3 windows together", "", "", "10"],
        ["08:15 - 08:30", "withheld: fewer than ten", "", "", ""],
        ["08:30 - 08:45", "out of service", "", "", ""],
        ["08:45 - 09:00", "measure not trustworthy", "", "", ""],
    ]


def test_every_kind_of_window_is_drawn_in_its_own_way(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    looks = page.locator("svg.chart rect").evaluate_all("all => all.map(r => r.className.baseVal)")
    assert looks == ["missing", "forward", "backward", "both", "both", "low", "closed", "defect"]


def test_no_request_leaves_the_machine_and_nothing_is_refused(
    browser: Browser, address: str
) -> None:
    page = browser.new_context().new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert asked
    assert all(url.startswith(address) for url in asked)
    assert said == []


@pytest.mark.parametrize("width", [320, 768, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_screen(
    browser: Browser, address: str, width: int, scheme: Any
) -> None:
    page = visit(browser, address, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_speaks_the_visitors_language(browser: Browser, address: str) -> None:
    assert "retenu : moins de dix" in visit(browser, address, locale="fr-FR").inner_text("main")
    page = visit(browser, address + "?lang=en", locale="fr-FR")
    assert "withheld: fewer than ten" in page.inner_text("main")
    assert page.get_attribute("html", "lang") == "en"


def test_the_page_works_without_script(browser: Browser, address: str) -> None:
    page = visit(browser, address, java_script_enabled=False, locale="en-GB")
    page.click("text=→")
    assert "2026-01-06" in page.inner_text("h1")


@pytest.mark.parametrize("day", ["yesterday", "2026-13-45", "0000-00-00", "9999-12-31", "<script>"])
def test_a_wrong_day_is_answered_with_a_sentence(browser: Browser, address: str, day: str) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    answer = page.goto(f"{address}?day={day}")
    assert answer is not None
    assert answer.status == 400
    assert "Expected a day as YYYY-MM-DD" in page.inner_text("h1")


def test_the_headers_allow_nothing_from_elsewhere(browser: Browser, address: str) -> None:
    answer = browser.new_context().new_page().goto(address)
    assert answer is not None
    headers = answer.all_headers()
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_health_and_readiness_are_told(browser: Browser, address: str, town: Any) -> None:
    page = browser.new_context().new_page()
    for path, status in (("healthz", 200), ("readyz", 503)):
        answer = page.goto(address + path)
        assert answer is not None
        assert answer.status == status


def has_open(process: int, path: Path) -> bool:
    for each in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if each.readlink() == path:
                return True
    return False


def test_a_server_that_cannot_serve_yet_does_not_answer(town: Any, wait_until: Any) -> None:
    stored = town.folder / "city.db"
    fill(stored)
    with sqlite3.connect(stored, isolation_level=None) as busy:
        busy.execute("BEGIN EXCLUSIVE")
        town.aggregator.begin()
        wait_until(lambda: has_open(town.aggregator.process.pid, stored))
        assert not answers(town.web_port)
        busy.execute("ROLLBACK")
    wait_until(lambda: answers(town.web_port), what="an answer")


def test_of_two_servers_that_begin_at_once_one_serves(town: Any, wait_until: Any) -> None:
    stored = town.folder / "city.db"
    fill(stored)
    two = [town.aggregator, Part(town.aggregator.command, town.folder / "other.log")]
    town.parts.append(two[1])
    with sqlite3.connect(stored, isolation_level=None) as busy:
        busy.execute("BEGIN EXCLUSIVE")
        for part in two:
            part.begin()
        wait_until(lambda: all(has_open(part.process.pid, stored) for part in two))
        busy.execute("ROLLBACK")
    wait_until(lambda: {part.process.poll() for part in two} == {None, 2}, what="one that ends")
    wait_until(lambda: answers(town.web_port), what="an answer")
    (other,) = [part for part in two if part.process.poll() == 2]
    assert other.log.read_text().splitlines()[-1].startswith("web: 127.0.0.1:")
    assert "broker_" not in other.log.read_text()


def test_without_its_database_a_page_says_so_in_french_and_english(
    browser: Browser, address: str, town: Any
) -> None:
    with sqlite3.connect(town.folder / "city.db") as database:
        database.execute("ALTER TABLE journal RENAME TO elsewhere")
    for locale, said in (("fr-FR", "ne répond pas"), ("en-GB", "does not answer")):
        page = visit(browser, address, locale=locale)
        assert said in page.inner_text("main")
        assert page.get_attribute("html", "lang") == locale[:2]
