"""The city's pages in a real browser: who may see and do what, and that everybody can."""

import io
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from aggregator.io.intake import Intake, Letter
from aggregator.store.database import Database
from deploy.local import load
from deploy.local.processes import free_port
from tests.conftest import BIN, Part

PASSWORD = "a long enough password"
PAGES = (
    "/", "/?site=Gare", "/now", "/week", "/hours", "/hours?measure=distance", "/compare",
    "/vehicles", "/alerts", "/alerts/1", "/register", "/rules", "/rules/crowd", "/rules/new",
    "/fleet", "/stop", "/exports", "/trail", "/accounts", "/about", "/sign-in",
)  # fmt: skip
RULES = """
people:
- {name: marie, email: marie@ville.example, sms: +33612345678}
rules:
- {name: crowd, measure: passages, at_least: 10, notify: [marie], channels: [sms]}
"""


class Server:
    """A running server over a city of eight cameras and a few days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.config = folder / "aggregator.toml"
        self.url = f"sqlite:///{folder / 'city.db'}"
        self.part = Part(
            [str(BIN / "dizaine-aggregator"), "run", "--config", str(self.config)],
            folder / "log", self.port,
        )  # fmt: skip

    def configure(self, more: str = "", *, public: bool = False) -> None:
        key = self.folder / "command.pem"
        if not key.exists():
            self.run("command-key", "--out", str(key))
        self.config.write_text(
            f'database = "{self.url}"\n[mqtt]\nport = {free_port()}\n[web]\nport = {self.port}\n'
            f'public = {str(public).lower()}\n[commands]\nkey_file = "{key}"\n{more}'
        )

    def run(self, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [BIN / "dizaine-aggregator", *arguments], input=given, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def own(self, *arguments: str, given: str = "") -> str:
        return self.run(*arguments, "--config", str(self.config), given=given)

    def database(self) -> Database:
        return Database(self.url)


def fill(server: Server) -> None:
    """Store three days of eight cameras, and let one alert fire."""
    database = server.database()
    secret, modulus = load.make_key()
    start = load.midnight(2)
    city = load.cameras(8, start, 3)
    load.register(database, city, modulus, 0)
    now = datetime.now(UTC)
    windows = int((now - start) / timedelta(minutes=15))
    intake = Intake(database, lambda: now)
    for own in load.seal(secret, city, start, windows):
        intake.take([Letter(one.topic, one.payload) for one in own])
    database.close()
    rules = server.folder / "rules.yaml"
    rules.write_text(RULES)
    server.own("rules", "apply", str(rules))
    for role in ("analyst", "operator", "administrator"):
        server.own("users", "set", role, "--role", role, given=PASSWORD)


def fire(server: Server) -> None:
    """Put an alert there as the evaluator would."""
    from aggregator.core.alerts import Change, Target
    from aggregator.core.measures import Interval

    database = server.database()
    rule = database.alerts.book().rules[0]
    at_s = int(datetime.now(UTC).timestamp()) // 900 * 900
    change = Change("fired", at_s - 900, at_s, Interval(97.5, 102.5), True)
    with database.engine.begin() as connection:
        target = Target("market-2", "main", "Gare", "Entrée")
        database.alerts.change(connection, rule, target, change, at_s)
    database.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that demands a sign-in for everything."""
    made = Server(tmp_path_factory.mktemp("city"))
    made.configure()
    fill(made)
    fire(made)
    made.part.start()
    yield made
    made.part.kill()


def sign_in(browser: Browser, server: Server, role: str, **context: Any) -> Page:
    page = browser.new_context(**context).new_page()
    page.goto(f"{server.address}/sign-in")
    page.fill("#account", role)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url(f"{server.address}/")
    return page


@pytest.mark.parametrize(
    ("locale", "scheme", "width"),
    [("fr-FR", "light", 1280), ("en-GB", "dark", 390)],
)
def test_every_page_is_accessible_fits_and_asks_nobody_else(
    browser: Browser, server: Server, locale: str, scheme: Any, width: int
) -> None:
    page = sign_in(
        browser, server, "administrator", locale=locale, color_scheme=scheme,
        viewport={"width": width, "height": 900},
    )  # fmt: skip
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    axe, wrong = Axe(), {}
    for path in PAGES:
        answer = page.goto(server.address + path)
        assert answer is not None
        assert answer.status == 200, path
        found = axe.run(page).response["violations"]
        if found:
            wrong[path] = [(v["id"], v["nodes"][0]["html"][:120]) for v in found]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert wrong == {}
    assert said == []
    assert all(url.startswith(server.address) for url in asked)


def get(
    server: Server, path: str, cookie: str = "", form: dict[str, str] | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """Ask without a browser, following nothing."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    data = None if form is None else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(server.address + path, data)
    if cookie:
        request.add_header("Cookie", f"dizaine={cookie}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=20) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read(), dict(refused.headers)


def enter(server: Server, role: str) -> str:
    """Return a session's cookie."""
    status, _, headers = get(server, "/sign-in", form={"account": role, "password": PASSWORD})
    assert status == 303
    assert "HttpOnly" in headers["set-cookie"]
    assert "samesite=lax" in headers["set-cookie"].lower()
    return headers["set-cookie"].split("dizaine=")[1].split(";")[0]


DEEDS = (
    "/sign-out", "/alerts/1/take", "/alerts/1/follow-up", "/silences", "/silences/1/end", "/rules",
    "/rules/test", "/rules/crowd", "/stop", "/stop/lift", "/accounts", "/accounts/remove", "/keys",
    "/keys/remove",
)  # fmt: skip
NEEDS = {
    "analyst": ("/compare", "/vehicles", "/fleet", "/exports"),
    "operator": ("/alerts", "/alerts/1", "/register", "/register.csv", "/rules", "/stop", "/trail"),
    "administrator": ("/accounts", "/rules/crowd", "/rules/new"),
}
OPEN = {"/about", "/sign-in", "/sign-in/oidc", "/sign-in/oidc/back", "/healthz", "/readyz"}


def test_nobody_sees_or_does_anything_without_a_right(server: Server) -> None:
    from aggregator.config import load as load_config
    from aggregator.web.site import build

    config = load_config(server.config)
    app = build(config, server.database(), lambda: True, lambda: datetime.now(UTC))
    nested = [getattr(r, "original_router", None) for r in app.routes]
    routes = [*app.routes, *(route for router in nested if router for route in router.routes)]
    routes = [r for r in routes if getattr(r, "methods", None)]
    tried = 0
    for route in routes:
        path = re.sub(r"\{.*?\}", "1", route.path)  # type: ignore[attr-defined]
        if path in OPEN or path.startswith("/api/openapi"):
            continue
        for method in route.methods - {"HEAD"}:  # type: ignore[attr-defined]
            form = (
                {"account": "x", "role": "administrator", "name": "x"} if method == "POST" else None
            )
            query = "?from=2026-01-01&to=2026-01-02&format=csv" if "export" in path else ""
            status, body, _ = get(server, path + query, form=form)
            assert status in (401, 403), (method, path, status)
            assert b"Gare" not in body
            tried += 1
    assert tried > 35


def test_the_code_on_a_label_leads_a_citizen_to_what_its_device_declares(
    browser: Browser, server: Server
) -> None:
    device = server.database().registry.all()[0].id
    page = browser.new_page(locale="fr-FR")
    page.goto(f"{server.address}/about#{device}")
    assert page.locator("section:target").get_attribute("id") == device


def test_each_role_may_do_what_those_before_it_may_and_no_more(server: Server) -> None:
    roles = list(NEEDS)
    for index, role in enumerate(roles):
        cookie = enter(server, role)
        for needed, paths in NEEDS.items():
            expected = 200 if roles.index(needed) <= index else 403
            assert [get(server, path, cookie)[0] for path in paths] == [expected] * len(paths), role


def test_a_form_of_another_site_does_nothing(server: Server) -> None:
    cookie = enter(server, "administrator")
    for path in DEEDS:
        form = {"account": "evil", "role": "administrator", "password": PASSWORD, "name": "evil"}
        status, _, _ = get(server, path, cookie, form=form)
        assert status == 403, path
    names = server.own("users", "list")
    assert "evil" not in names


def test_guessing_a_password_is_slowed_down_and_a_redirect_stays_here(server: Server) -> None:
    statuses = [
        get(server, "/sign-in", form={"account": "victim", "password": "wrong"}, )[0]
        for _ in range(4)
    ]  # fmt: skip
    assert set(statuses) <= {403, 429}
    for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
        _, body, _ = get(server, "/sign-in?" + urllib.parse.urlencode({"after": target}))
        assert b"evil.example" not in body.split(b'name="after"')[1].split(b">")[0]


def test_an_operator_takes_an_alert_and_writes_down_what_was_done(
    browser: Browser, server: Server
) -> None:
    page = sign_in(browser, server, "operator", locale="en-GB")
    page.goto(f"{server.address}/alerts")
    page.click("tbody a >> nth=0")
    assert "about" not in page.inner_text("h1")
    page.click("text=I take it")
    assert "Taken by operator" in page.inner_text("main")
    page.select_option("#seen", "confirmed")
    page.select_option("#done", "access-regulated")
    page.click("text=Write into the register")
    page.goto(f"{server.address}/register")
    assert "access" in page.inner_text("tbody")
    with page.expect_download() as download:
        page.click("text=Export for the data-protection officer")
    text = download.value.path().read_text()
    assert "operator,confirmed,access-regulated" in text
    page.goto(f"{server.address}/trail")
    assert "the chain holds" in page.inner_text("main")
    assert "followed up" in page.inner_text("tbody")


def test_a_rule_is_changed_on_the_page_and_in_the_file_alike(
    browser: Browser, server: Server
) -> None:
    page = sign_in(browser, server, "administrator", locale="en-GB")
    page.goto(f"{server.address}/rules/crowd")
    page.fill("#value", "85")
    page.fill("#clear", "90")
    page.click("text=Check and put in force")
    assert "expected clear at or below" in page.inner_text("[role=alert]")
    page.fill("#clear", "60")
    page.click("text=Check and put in force")
    page.wait_for_url(f"{server.address}/rules")
    shown = server.own("rules", "show")
    assert "at_least: 85" in shown
    assert "clear: 60" in shown
    page.fill("#text", shown.replace("at_least: 85", "at_least: 95"))
    page.click("text=Try on 30 days")
    assert "crowd" in page.inner_text("section[role=status]")
    assert "at_least: 85" in server.own("rules", "show")
    page.click("text=Check and put in force")
    assert "in force" in page.inner_text("[role=status]")
    assert "at_least: 95" in server.own("rules", "show")
    page.fill("#text", "rules: [")
    page.click("text=Check and put in force")
    assert "expected YAML, see line 1" in page.inner_text("[role=alert]")


def test_a_mistake_is_said_in_french_by_the_name_of_its_field(
    browser: Browser, server: Server
) -> None:
    page = sign_in(browser, server, "administrator", locale="fr-FR")
    page.goto(f"{server.address}/rules/crowd")
    page.fill("#value", "beaucoup")
    page.click("text=Vérifier et mettre en vigueur")
    said = page.inner_text("[role=alert]")
    assert said.startswith("Seuil")
    assert "nombre attendu" in said
    assert page.input_value("#value") == "beaucoup"
    page.fill("#value", "20")
    page.fill("#escalate_after", "15")
    page.fill("#escalate_to", "Bob!")
    page.click("text=Vérifier et mettre en vigueur")
    assert page.inner_text("[role=alert]").startswith("Alors prévenir\u00a0: 1 à 40 lettres")
    page.goto(f"{server.address}/accounts")
    page.fill("#account", "a b")
    page.fill("#password", PASSWORD)
    page.click("#password ~ button")
    assert page.inner_text("h1").startswith("Compte\u00a0: nom sans espace")
    page.goto(f"{server.address}/api/v1/export?from=hier&to=2026-01-31&format=csv")
    assert "Du\u00a0: date attendue" in page.inner_text("h1")
    _, body, _ = get(server, "/api/v1/export?from=hier&to=2026-01-31&format=csv")
    assert "from\u00a0: date attendue" in json.loads(body)["problem"]


def test_an_operator_stops_the_fleet_with_one_action(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "operator", locale="en-GB")
    page.goto(f"{server.address}/stop")
    page.check("text=everything: the camera is closed")
    page.click("text=Put in force")
    assert "All devices: everything" in page.inner_text("main")
    page.check("input[value=alerts]")
    page.click("text=Put in force")
    assert "All devices: everything" in page.inner_text("main")
    page.click("button:has-text('Lift')")
    assert "nothing is stopped" in page.inner_text("main")


def test_every_export_says_the_same_and_carries_its_dictionary_and_rule(
    browser: Browser, server: Server
) -> None:
    import csv

    import pyarrow.parquet as pq

    page = sign_in(browser, server, "administrator", locale="en-GB")
    page.goto(f"{server.address}/accounts")
    page.fill("#key", "open-data")
    page.click("text=Make a key")
    key = page.inner_text("[role=status] code")
    day = (load.midnight(1)).date()
    query = f"/api/v1/export?from={day}&to={day}&format="
    bearer = {"Authorization": f"Bearer {key}"}
    found = {f: get(server, query + f, **bearer) for f in ("csv", "json", "parquet", "open-data")}
    assert {status for status, _, _ in found.values()} == {200}
    table = list(csv.DictReader(io.StringIO(found["csv"][1].decode())))
    told = json.loads(found["json"][1])
    parquet = pq.read_table(io.BytesIO(found["parquet"][1]))
    assert len(table) == len(told["records"]) == parquet.num_rows > 500
    assert [r["digest"] for r in table] == parquet.column("digest").to_pylist()
    low = next(r for r in told["records"] if r["status"] == "low")
    assert (low["total"], low["occupancy_mean"]) == (None, None)
    assert "fewer than 10" not in low
    assert "never a number" in told["rule"]["en"]
    assert b"dictionary" in parquet.schema.metadata
    with zipfile.ZipFile(io.BytesIO(found["open-data"][1])) as pack:
        assert sorted(pack.namelist()) == ["README.md", "records.csv", "records.csv-metadata.json"]
        columns = json.loads(pack.read("records.csv-metadata.json"))["tableSchema"]["columns"]
    assert [c["name"] for c in columns] == list(table[0])
    assert "describedby" in found["csv"][2]["link"]
    assert get(server, query + "csv", Authorization="Bearer dz_wrong")[0] == 401
    page.goto(f"{server.address}/accounts")
    page.click("[aria-label='Remove open-data']")
    assert get(server, query + "csv", **bearer)[0] == 401


def test_the_interface_is_described(server: Server) -> None:
    status, body, _ = get(server, "/api/openapi.json")
    assert status == 200
    paths = json.loads(body)["paths"]
    assert {"/api/v1/records", "/api/v1/export", "/api/v1/scopes", "/journal.jsonl"} <= set(paths)


@pytest.mark.parametrize(
    "path",
    ["/week?week=2026-W99", "/hours?from=x", "/hours?measure=x", "/compare?a_from=x",
     "/compare?a_from=2020-01-01&a_to=2026-01-01", "/alerts/999999", "/alerts/x", "/nothing",
     "/api/v1/export?from=2026-02-02&to=2026-01-01&format=csv", "/?day=x"],
)  # fmt: skip
def test_what_makes_no_sense_is_answered_with_a_sentence(server: Server, path: str) -> None:
    cookie = enter(server, "administrator")
    status, body, _ = get(server, path, cookie, Accept="text/html", Accept_Language="en")
    assert status in (400, 404)
    text = body.decode()
    assert "Traceback" not in text
    assert "<h1>" in text


def test_every_page_is_light(server: Server) -> None:
    cookie = enter(server, "administrator")
    own = sum(
        len(get(server, f"/static/{name}", Accept_Encoding="gzip")[1])
        for name in ("style.css", "renew.js", "icon.svg")
    )
    for path in PAGES:
        _, body, _ = get(server, path, cookie, Accept_Encoding="gzip")
        assert own + len(body) < 150_000, path


# -- the city's identity provider


@pytest.fixture
def provided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield a server whose sign-in is a real OpenID Connect provider's."""
    from oidc_provider_mock import run_server_in_thread

    with run_server_in_thread() as provider:
        issuer = f"http://localhost:{provider.server_port}"
        made = Server(tmp_path)
        monkeypatch.setenv("DIZAINE_OIDC_CLIENT_SECRET", "secret")
        made.configure(
            f'[oidc]\nissuer = "{issuer}"\nclient_id = "dizaine"\nname = "Ville"\n'
            'roles = {mairie = "operator", info = "administrator"}\n'
        )
        for name, groups in (("marie", ["mairie"]), ("nobody", ["other"])):
            body = json.dumps({"email": f"{name}@ville.fr", "groups": groups}).encode()
            request = urllib.request.Request(f"{issuer}/users/{name}", body, method="PUT")
            request.add_header("Content-Type", "application/json")
            urllib.request.urlopen(request, timeout=10).close()
        made.part.start()
        yield made
        made.part.kill()


def test_staff_sign_in_with_the_citys_provider_and_get_their_groups_role(
    browser: Browser, provided: Server
) -> None:
    for name, good in (("marie", True), ("nobody", False)):
        page = browser.new_context(locale="en-GB").new_page()
        page.goto(f"{provided.address}/sign-in")
        page.click("text=Sign in with Ville")
        page.fill("input[name=sub]", name)
        page.click("button")
        page.wait_for_load_state("networkidle")
        text = page.inner_text("body")
        assert ("marie@ville.fr" in text) == good
        if good:
            assert page.goto(f"{provided.address}/alerts").status == 200  # type: ignore[union-attr]
            assert page.goto(f"{provided.address}/accounts").status == 403  # type: ignore[union-attr]
        else:
            assert "no role" in text


def test_an_answer_that_nobody_asked_for_is_refused(provided: Server) -> None:
    for query in ("", "?code=x&state=y", "?error=access_denied"):
        assert get(provided, f"/sign-in/oidc/back{query}")[0] == 502
