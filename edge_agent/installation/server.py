"""Serves the assistant's page, to whoever stands beside the device, for a limited time.

What it shows comes from the preview process, which shares one coarse picture in memory. Only
addresses of the device's own link are answered; every visitor's first request is in the journal.
Nothing is written anywhere.
"""

import base64
import contextlib
import ipaddress
import json
import logging
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edge_agent.config import ConfigError
from edge_agent.installation.drawing import read, warnings
from edge_agent.io.preview_link import STALE_S, PreviewLink
from edge_agent.wire.installation import Check, Proposal

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
LARGEST_BODY = 20_000
_SCENE = ("focus", "light", "covered", "tilt", "in_time")
_LANGUAGES = {"fr": "Français", "en": "English"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Send = Callable[[Proposal], str]
"""Sends a proposal to the city; returns why it could not, or nothing."""


@dataclass(slots=True)
class Site:
    """What the assistant knows of its device.

    Attributes:
        surroundings: further checks, each by its name; None where nothing tells.
        send: None where the signed configuration declares no installation picture.
    """

    device: str
    view: str
    until_s: float
    surroundings: Callable[[], dict[str, bool | None]]
    send: Send | None


@dataclass(slots=True)
class _Session:
    visitors: set[str] = field(default_factory=set)
    checked_s: float = -1e9
    checks: dict[str, bool | None] = field(default_factory=dict)


def is_near(peer: str, own: str) -> bool:
    """Return whether an address is on the device's own link.

    Args:
        peer: who asks.
        own: the address that was asked.
    """
    one, other = (ipaddress.ip_address(text.partition("%")[0]) for text in (peer, own))
    if one.is_loopback or one.is_link_local:
        return True
    if one.version != other.version or not one.is_private:
        return False
    return one in ipaddress.ip_network((other, 24 if one.version == 4 else 64), strict=False)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], site: Site, link: PreviewLink) -> None:
        super().__init__(address, _Handler)
        self.site, self.link, self.session = site, link, _Session()
        self.lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """Say that a visitor left in the middle, and nothing of what was asked."""
        log.warning("event=request_cut_off")


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Say nothing of a single request."""

    def do_GET(self) -> None:
        """Answer what is read."""
        path, _, query = self.path.partition("?")
        match path if self._may_enter() else None:
            case None:
                return
            case "/":
                self._page(query)
            case "/page.css" | "/page.js":
                kind = "text/css" if path.endswith("css") else "text/javascript"
                self._answer((HERE / path[1:]).read_bytes(), f"{kind}; charset=utf-8")
            case "/picture.jpg":
                found = self.server.link.look()
                if found is None:
                    self._answer(b"", "text/plain", HTTPStatus.NOT_FOUND)
                else:
                    self._answer(found[1], "image/jpeg")
            case "/api/state":
                self._json(self._state())
            case "/api/selftest":
                self._json({"checks": self._selftest()})
            case _:
                self._answer(b"", "text/plain", HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Answer what changes something."""
        if not self._may_enter():
            return
        asked = self._body()
        if asked is None:
            self.close_connection = True  # what was not read would be taken for the next request
            self._answer(b"", "text/plain", HTTPStatus.BAD_REQUEST)
            return
        try:
            match self.path:
                case "/api/geometry":
                    read(asked)
                    self._json({"warnings": warnings(asked)})
                case "/api/walk":
                    self._walk(asked)
                case "/api/send":
                    self._send(asked)
                case _:
                    self._answer(b"", "text/plain", HTTPStatus.NOT_FOUND)
        except (ValueError, KeyError, TypeError, IndexError):
            self._answer(b"", "text/plain", HTTPStatus.BAD_REQUEST)

    def _may_enter(self) -> bool:
        """Let in who is near, while there is time, and note their first visit."""
        peer, own = self.client_address[0], self.connection.getsockname()[0]
        near = is_near(peer, own)
        # A page of another site must not reach us through the technician's browser.
        host = (self.headers.get("Host") or "").rpartition(":")[0].strip("[]") or own
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            near = near and host == "localhost"
        if not near or time.monotonic() > self.server.site.until_s:
            log.warning("event=visitor_refused near=%s", near)
            self.close_connection = True
            self._answer(b"", "text/plain", HTTPStatus.FORBIDDEN)
            return False
        with self.server.lock:
            if peer not in self.server.session.visitors:
                self.server.session.visitors.add(peer)
                log.warning(
                    "event=assistant_visited visitors=%d", len(self.server.session.visitors)
                )
        return True

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("X-Dizaine") != "1" or not length.isdecimal():
            return None
        if int(length) > LARGEST_BODY:
            return None
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        return asked if isinstance(asked, dict) else None

    def _page(self, query: str) -> None:
        wanted = query.removeprefix("lang=")
        header = self.headers.get("Accept-Language", "fr")
        language = wanted if wanted in _LANGUAGES else ("fr" if header.startswith("fr") else "en")
        words = words_in(language)
        words["title"] = words["title"].format(device=self.server.site.device)
        other = "en" if language == "fr" else "fr"
        page = (HERE / "page.html").read_text(encoding="utf-8")
        packed = json.dumps(words).replace("<", "\\u003c")
        more = {
            "language": language,
            "other": other,
            "other_name": _LANGUAGES[other],
            "words": packed,
        }
        for name, text in {**words, **more}.items():
            page = page.replace("{{" + name + "}}", text)
        self._answer(page.encode(), "text/html; charset=utf-8")

    def _state(self) -> dict[str, Any]:
        site, found = self.server.site, self.server.link.look()
        view = found[0] if found else {}
        checks = [{"name": name, "works": works} for name, works in self._checks(view).items()]
        return {
            "minutes_left": max(0, round((site.until_s - time.monotonic()) / 60)),
            "coarse": view.get("coarse", False), "aspect": view.get("aspect"),
            "seen": view.get("seen"), "walk": view.get("walk", "off"), "why": view.get("why", ""),
            "checks": checks,
        }  # fmt: skip

    def _checks(self, view: dict[str, Any]) -> dict[str, bool | None]:
        session, now_s = self.server.session, time.monotonic()
        if now_s - session.checked_s > STALE_S:
            session.checked_s = now_s
            session.checks = self.server.site.surroundings()
        scene = view.get("works") or dict.fromkeys(_SCENE, False)
        return {**scene, **session.checks}

    def _selftest(self) -> list[dict[str, Any]]:
        found = self.server.link.look()
        said = {language: words_in(language) for language in _LANGUAGES}
        told = []
        for name, works in self._checks(found[0] if found else {}).items():
            more = {None: "unknown", False: f"help_{name}"}.get(works)
            text = {
                language: words[name] + (f". {words[more]}" if more else "")
                for language, words in said.items()
            }
            told.append({"name": name, "works": works, "says": text})
        return told

    def _walk(self, asked: dict[str, Any]) -> None:
        if asked["deed"] == "begin":
            lines, _, _ = read(asked)
            self.server.link.ask(walk="begin", start=lines[-1].start, end=lines[-1].end)
        else:
            self.server.link.ask(walk="end")
        self._json({})

    def _send(self, asked: dict[str, Any]) -> None:
        """Send what the technician sees and drew, once he has seen it."""
        site, found = self.server.site, self.server.link.look()
        if site.send is None:
            self._json({"says": "send_not_declared"})
            return
        lines, zones, floor = read(asked)
        if found is None or not lines:
            self._json({"says": "warn_none" if found else "no_camera"})
            return
        view, jpeg = found
        checks = {**self._checks(view), "walk": view["walk"] == "passed"}
        proposal = Proposal(
            device=site.device, view="overhead" if site.view == "overhead" else "side",
            lines=lines, zones=zones, floor=floor,
            checks=tuple(  # of what nothing tells, nothing is said
                Check.model_validate({"name": name, "works": works})
                for name, works in checks.items()
                if works is not None
            ),
            picture=base64.b64encode(jpeg).decode(),
        )  # fmt: skip
        why = site.send(proposal)
        log.warning("event=installation_sent received=%s", not why)
        self._json({"says": "send_failed" if why else "sent", "why": why})

    def _json(self, content: dict[str, Any]) -> None:
        self._answer(json.dumps(content).encode(), "application/json")

    def _answer(self, content: bytes, kind: str, status: int = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ("Content-Type", kind)):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def words_in(language: str) -> dict[str, str]:
    """Return what the page says in a language."""
    known = tomllib.loads((HERE / "words.toml").read_text(encoding="utf-8"))
    return {name: said[language] for name, said in known.items()}


def listen(address: tuple[str, int], site: Site, link: PreviewLink) -> _Server:
    """Return a server that listens there.

    Raises:
        ConfigError: nobody may.
    """
    try:
        return _Server(address, site, link)
    except OSError as error:
        where, reason = "{}:{}".format(*address), error.strerror or str(error)
        raise ConfigError(
            f"{where}: cannot be listened on ({reason}); give another --port or --listen"
        ) from None


@contextlib.contextmanager
def serving(server: _Server) -> Iterator[None]:
    """Serve, within this."""
    thread = threading.Thread(target=server.serve_forever, args=[0.2], daemon=True)
    thread.start()
    log.warning("event=assistant_open device=%s port=%d", server.site.device, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
