"""The installation assistant in a real browser, from a film to the city's page and its deletion."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.local.processes import answers, free_port
from edge_agent import config, enrolment, preview
from edge_agent.core.observation import Box, Detection, Face
from edge_agent.installation import drawing, server
from edge_agent.io import keys
from edge_agent.io.identity import Identity, PlainSeal
from edge_agent.pixels import blurred
from edge_agent.pixels.frames import Arena
from edge_agent.pixels.source import open_source
from edge_agent.wire.installation import KEPT_S
from firmware.device.__main__ import main as device_tool
from tests.integration import doors
from tests.integration.test_identity import Hall

pytestmark = pytest.mark.slow


class Assistant:
    """A device whose assistant is open; its camera sees a wall, and now and then somebody."""

    def __init__(self, folder: Path, minutes: int = 5, more: str = "") -> None:
        film = folder / "wall.avi"
        _film(film)
        self.config = folder / "agent.toml"
        self.config.write_text(
            'device = "bus-042"\ndata_dir = "/x"\nkey_file = "/k"\n'
            f'[camera]\nsource = "{film}"\nfps = 8\n[replay]\nloop = true\n'
            '[[lines]]\nid = "main"\nstart = [0.5, 0.0]\nend = [0.5, 1.0]\n[mqtt]\nport = 1\n'
            + more
        )
        keys.make(folder / "operator-1.pem", "operator").rename(folder / "operator.pub.pem")
        self.sign()
        self.port = free_port()
        self.log = folder / "assistant.log"
        self.command = [
            sys.executable, "-m", "edge_agent", "assistant", "--config", str(self.config),
            "--listen", "127.0.0.1", "--port", str(self.port), "--minutes", str(minutes),
            "--unsafe-development",
        ]  # fmt: skip
        self.address = f"http://127.0.0.1:{self.port}"

    def sign(self) -> None:
        beside = self.config.with_name("agent.toml.sig")
        content = self.config.read_bytes()
        signature = keys.sign_as_operator(self.config.with_name("operator-1.pem"), content)
        beside.write_text(signature.hex())

    def start(self, *more: str) -> None:
        with self.log.open("wb") as out:
            self.process = subprocess.Popen([*self.command, *more], stdout=out, stderr=out)
        deadline = time.monotonic() + 40
        while not (answers(self.port) and self.state()["aspect"]):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.address}/api/state", timeout=5) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def preview(self) -> int | None:
        """Return the number of the process that owns the camera."""
        listed = subprocess.run(
            ["pgrep", "-f", f"edge_agent preview --config {self.config}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return int(listed.stdout.split()[0]) if listed.stdout else None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def _film(path: Path) -> None:
    """Write a film of a wall with a door frame: nobody is in it."""
    rng = np.random.default_rng(3)
    wall = rng.integers(90, 130, (360, 480, 3), dtype=np.uint8)
    for x in (80, 160, 330, 420):
        cv2.line(wall, (x, 10), (x, 350), (20, 20, 20), 3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 8.0, (480, 360))
    for _ in range(40):
        writer.write(wall)
    writer.release()


@pytest.fixture
def assistant(tmp_path: Path) -> Iterator[Assistant]:
    """Yield an open assistant."""
    made = Assistant(tmp_path)
    made.start()
    yield made
    made.stop()


def phone(browser: Browser, address: str, locale: str = "en-GB") -> Page:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale=locale
    )
    page = context.new_page()
    page.goto(address)
    return page


def draw(page: Page, start: tuple[float, float], *way: tuple[float, float]) -> None:
    box = page.locator("#view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    for x, y in way:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
    page.mouse.up()


def test_a_technician_draws_is_warned_takes_back_and_walks(
    browser: Browser, assistant: Assistant
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = phone(browser, assistant.address)
    expect(page.locator("#checks li")).to_have_count(8)
    assert "Focus" in page.inner_text("#checks")
    violations = Axe().run(page).response["violations"]
    assert violations == []
    page.click("#tab-draw")
    draw(page, (0.5, 0.2), (0.5, 0.25))
    page.wait_for_selector("text=This line cannot count: too short")
    page.click("#undo")
    expect(page.locator("#warnings")).not_to_contain_text("short")
    draw(page, (0.02, 0.1), (0.02, 0.9))
    page.wait_for_selector("text=too near the edge")
    page.click("#undo")
    draw(page, (0.5, 0.9), (0.5, 0.1))
    expect(page.locator("#warnings li")).to_have_count(0)
    draw(page, (0.2, 0.5), (0.8, 0.5))
    page.wait_for_selector("text=Two lines cross")
    page.click("#undo")
    page.click("[data-tool=zone]")
    draw(page, (0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
    page.click("[data-tool=floor]")
    for corner in ((0.3, 0.5), (0.6, 0.5), (0.7, 0.8), (0.2, 0.8)):
        draw(page, corner)
    expect(page.locator("#warnings li")).to_have_count(0)
    page.click("#tab-walk")
    page.click("#walk-begin")
    page.wait_for_timeout(500)
    page.click("#walk-end")
    page.wait_for_selector("text=Some ways in are missing")
    page.click("#tab-send")
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#send-now")
    page.wait_for_selector("text=declares no installation picture")


def test_the_page_is_french_for_a_french_phone_and_fits_it(
    browser: Browser, assistant: Assistant
) -> None:
    page = phone(browser, assistant.address, "fr-FR")
    page.wait_for_selector("text=Installer bus-042")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    page.click("text=English")
    page.wait_for_selector("text=Install bus-042")


def test_the_technicians_tool_prints_what_the_assistant_finds(
    assistant: Assistant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    checks = {check["name"]: check["works"] for check in assistant.state()["checks"]}
    assert device_tool(["--lang", "en", "selftest", assistant.address]) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(checks) == 8
    assert any(line.startswith("!!  Server reachable") for line in told), told
    assert sum(line.startswith("??") for line in told) == list(checks.values()).count(None)
    assert device_tool(["--lang", "fr", "selftest", "http://127.0.0.1:9"]) == 2
    assert "ne répond pas" in capsys.readouterr().out


def test_only_near_addresses_enter_and_another_site_cannot_post(assistant: Assistant) -> None:
    for peer, own, near in (
        ("127.0.0.1", "127.0.0.1", True), ("169.254.7.7", "169.254.1.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True), ("192.168.7.20", "192.168.7.1", True),
        ("192.168.8.20", "192.168.7.1", False), ("8.8.8.8", "192.168.7.1", False),
        ("8.8.8.8", "8.8.8.9", False), ("2a01:cb00::1", "2a01:cb00::2", False),
    ):  # fmt: skip
        assert server.is_near(peer, own) is near, (peer, own)
    request = urllib.request.Request(f"{assistant.address}/api/walk", b'{"deed": "begin"}')
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=5)
    rebound = urllib.request.Request(assistant.address, headers={"Host": "evil.example:80"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(rebound, timeout=5)
    for garbage in (b"[]", b"{", b'{"lines": [[0]], "zones": [], "floor": []}', b'{"lines": 7}'):
        asked = urllib.request.Request(
            f"{assistant.address}/api/geometry", garbage, {"X-Dizaine": "1"}
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(asked, timeout=5)
    assert assistant.state()["aspect"]


def test_a_preview_that_dies_comes_back_and_ends_with_the_assistant(tmp_path: Path) -> None:
    made = Assistant(tmp_path)
    made.start()
    first = made.preview()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    seen = made.state()["seen"]
    deadline = time.monotonic() + 30
    while made.preview() in (None, first) or made.state()["aspect"] is None:
        assert time.monotonic() < deadline, made.log.read_text()
        time.sleep(0.2)
    assert made.state()["seen"] == seen
    made.stop()
    assert made.preview() is None
    told = made.log.read_text()
    for event in ("restart process=preview", "assistant_visited visitors=1", "assistant_closed"):
        assert f"event={event}" in told
    assert "Traceback" not in told


def test_a_configuration_that_is_not_the_operators_opens_nothing(assistant: Assistant) -> None:
    assistant.stop()
    with assistant.config.open("a") as changed:
        changed.write("# somebody was here\n")
    done = subprocess.run(assistant.command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not the signature of agent.toml" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_words_are_said_in_one_line(assistant: Assistant) -> None:
    for more, why in (
        ((), "cannot be listened on (Address already in use); give another --port or --listen"),
        (("--listen", "192.0.2.1"), "192.0.2.1:"),
        (("--port", "70000"), "argument --port: expected 1 to 65535, got 70000"),
        (("--minutes", "500"), "argument --minutes: expected 1 to 120, got 500"),
    ):
        done = subprocess.run(
            [*assistant.command, *more], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    command = [
        *assistant.command[:3], "preview", "--config", str(assistant.config), "--share", "91", "92"
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "expected what the assistant passes" in done.stderr) == (2, True)
    assert len(done.stderr.splitlines()) == 1


def test_five_ways_in_and_five_out_pass_and_one_less_does_not(tmp_path: Path) -> None:
    film = tmp_path / "door.avi"
    chance = np.random.default_rng(5)
    doors.write(film, doors.walk(chance, preview.WALK_EACH_WAY), chance, 60)
    camera = config.Camera(source=str(film), fps=doors.FPS, view="overhead")
    whole, short = preview.Walk("overhead"), preview.Walk("overhead")
    for walk in (whole, short):
        walk.obey({"walk": "begin", "start": [0.0, 0.5], "end": [1.0, 0.5]})
    before = whole.seen
    # People alone, without the picture: what is looked at too slowly here would not be counted.
    with open_source(camera, config.Replay(pace="fast"), config.Detector()) as source:
        for number, observation in enumerate(source):
            whole.observe(observation)
            if number > 100:  # the first two ways are not seen
                short.observe(observation)
    whole.obey({"walk": "end"})
    short.obey({"walk": "end"})
    assert (whole.state, whole.why) == ("passed", "")
    assert whole.seen is before  # ten changes
    assert (short.state, short.why) == ("failed", "too_few_forward")


def test_a_proposal_reaches_the_operator_and_is_gone_after_a_day(
    town: Any, tmp_path: Path, browser: Browser
) -> None:
    hall = Hall(town)
    town.aggregator.start()
    now = datetime.now(UTC)
    basis = (
        '[modules.installation-picture]\nlegal_basis = "an order"\npurpose = "installing"\n'
        f'contact = "dpo@ville.fr"\nstart = {now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}\n'
        f"end = {now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}\n"
    )
    claim = hall.claim("bus-042", settings=basis)
    assert hall.enrol("bus-042", claim).returncode == 0
    made = Assistant(tmp_path, more=basis)
    made.start("--identity", str(hall.folder / "bus-042/identity"))
    page = phone(browser, made.address)
    page.click("#tab-draw")
    draw(page, (0.5, 0.9), (0.5, 0.1))
    page.wait_for_timeout(500)
    page.click("#tab-send")
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#send-now")
    page.wait_for_selector("text=Sent. The city looks")
    made.stop()
    from aggregator.core.roles import Role
    from aggregator.store.database import Database

    database = Database(f"sqlite:///{hall.folder}/city.db")
    with database.engine.begin() as connection:
        database.accounts.set(connection, "paul", "a long password", Role.OPERATOR, 1)
    web = f"http://127.0.0.1:{town.web_port}"
    office = browser.new_context(locale="en-GB").new_page()
    office.goto(f"{web}/sign-in")
    office.fill("input[name=account]", "paul")
    office.fill("input[name=password]", "a long password")
    office.click("main button")
    office.goto(f"{web}/installations")
    office.wait_for_selector("text=bus-042")
    assert "[[lines]]" in office.text_content("main pre")
    seen = office.evaluate(
        "fetch('/installations/bus-042.jpg').then((a) => a.arrayBuffer()).then((b) => b.byteLength)"
    )
    assert seen > 1000
    at_s = int(time.time())
    assert len(database.fleet.proposals(at_s)) == 1
    assert database.fleet.proposals(at_s + KEPT_S + 60) == []
    with database.engine.begin() as connection:
        assert database.fleet.forget_proposals(connection, at_s + KEPT_S + 60) == 1
    acts = {entry.act for entry in database.trail.entries(None, 50)}
    assert {"installation-proposed", "installation-seen"} <= acts


def test_a_device_that_declares_no_picture_is_refused_by_the_city(
    town: Any, tmp_path: Path
) -> None:
    hall = Hall(town)
    town.aggregator.start()
    assert hall.enrol("bus-043", hall.claim("bus-043")).returncode == 0
    identity = Identity(hall.folder / "bus-043/identity", PlainSeal())
    drawn = {"lines": [[[0.5, 0.1], [0.5, 0.9]]], "zones": [], "floor": []}
    lines, _, _ = drawing.read(drawn)
    from edge_agent.wire.installation import Proposal

    picture = base64.b64encode(b"jpeg").decode()
    for device, why in (("bus-043", "declares no installation picture"), ("bus-9", "another's")):
        proposal = Proposal(device=device, view="side", lines=lines, checks=(), picture=picture)
        with pytest.raises(enrolment.EnrolmentError, match=why):
            enrolment.propose(enrolment.credentials_of(identity), proposal)


# -- what may be seen


def a_frame() -> Any:
    return np.random.default_rng(5).integers(0, 256, (480, 640, 3), dtype=np.uint8)


def shown(people: Any = (), faces: Any = ()) -> tuple[Any, blurred.Picture]:
    made = blurred.Blurrer(Arena(8 << 20).array).picture(a_frame(), tuple(people), tuple(faces))
    return cv2.imdecode(np.frombuffer(made.jpeg, np.uint8), cv2.IMREAD_COLOR), made


def test_a_person_leaves_at_most_sixteen_cells() -> None:
    box = Box(0.25, 0.25, 0.75, 0.75)
    picture, made = shown([Detection(box, 0.9)])
    assert not made.coarse
    inside = picture[120:240, 160:320].astype(np.float64)
    assert inside.std() < 12  # noise, averaged into a few flat cells
    assert picture[:40].astype(np.float64).std() > 25


def test_whatever_is_unsure_makes_the_whole_picture_coarse() -> None:
    box = Box(0.4, 0.4, 0.5, 0.5)
    unsure = [([Detection(box, 0.16)], []), ([], [Face(box, 0.16, 0.0, 0.0, "unknown")])]
    crowd = ([Detection(box, 0.9)] * (blurred.MOST_PEOPLE + 1), [])
    for people, faces in (*unsure, crowd):
        picture, made = shown(people, faces)
        assert made.coarse
        assert picture[:40].astype(np.float64).std() < 20
