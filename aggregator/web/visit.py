"""One visit: who asks, in which language, what they may, and how an answer is made."""

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aggregator.config import AggregatorConfig
from aggregator.core.language import Language
from aggregator.core.roles import Role
from aggregator.store.accounts import Session
from aggregator.store.database import Database
from aggregator.web.words import choose, words

HERE = Path(__file__).parent
_SECTIONS: tuple[tuple[str, str, Role], ...] = (
    ("/", "nav_day", Role.PUBLIC),
    ("/now", "nav_now", Role.PUBLIC),
    ("/week", "nav_week", Role.PUBLIC),
    ("/hours", "nav_heat", Role.PUBLIC),
    ("/compare", "nav_compare", Role.ANALYST),
    ("/vehicles", "nav_vehicles", Role.ANALYST),
    ("/alerts", "nav_alerts", Role.OPERATOR),
    ("/register", "nav_register", Role.OPERATOR),
    ("/rules", "nav_rules", Role.OPERATOR),
    ("/fleet", "nav_fleet", Role.ANALYST),
    ("/installations", "nav_installations", Role.OPERATOR),
    ("/stop", "nav_stop", Role.OPERATOR),
    ("/exports", "nav_exports", Role.ANALYST),
    ("/trail", "nav_trail", Role.OPERATOR),
    ("/accounts", "nav_accounts", Role.ADMINISTRATOR),
)
log = logging.getLogger(__name__)


class Refusal(HTTPException):
    """What is answered instead of a page: a status, and a word of `words.toml`."""

    def __init__(self, status: int, word: str, **particulars: Any) -> None:
        super().__init__(status)
        self.word = word
        self.particulars = particulars


@dataclass(frozen=True, slots=True)
class Part:
    """One of the site's sections, as the navigation shows it."""

    path: str
    name: str
    here: bool


class Visit:
    """What one request can see and do."""

    def __init__(self, site: "Site", request: Request, session: Session | None) -> None:
        self.site = site
        self.request = request
        self.session = session
        wanted = request.query_params.get("lang")
        header = request.headers.get("accept-language")
        remembered = request.cookies.get("lang")
        self.language: Language = choose(wanted or remembered, header, site.config.language)
        self.said = words(self.language)

    @property
    def role(self) -> Role:
        """The role of whoever is signed in."""
        return Role.PUBLIC if self.session is None else self.session.role

    @property
    def who(self) -> str:
        """What the trail calls them."""
        return "" if self.session is None else self.session.account

    def may(self, role: Role) -> bool:
        """Return whether this visitor has a role, or may see what the public may."""
        if role is Role.PUBLIC and not self.site.config.web.public:
            role = Role.ANALYST
        return self.role >= role

    def demand(self, role: Role) -> None:
        """Go on only with a role.

        Raises:
            Refusal: sign in first, or your role does not allow this.
        """
        if not self.may(role):
            raise Refusal(401 if self.session is None else 403, "not_allowed")

    def demand_form(self, form: str | None) -> None:
        """Go on only with a form of our own, sent by whoever is signed in.

        Raises:
            Refusal: another site sent it, or it is too old.
        """
        expected = "" if self.session is None else self.session.form
        if not expected or not hmac.compare_digest(expected, form or ""):
            raise Refusal(403, "form_expired")

    def now_s(self) -> int:
        """Return the time, seconds since 1970 UTC."""
        return int(self.site.now().timestamp())

    def clock(self, at_s: int | None, form: str = "%H:%M") -> str:
        """Return an instant in the city's time."""
        if at_s is None:
            return ""
        return datetime.fromtimestamp(at_s, UTC).astimezone(self.site.zone).strftime(form)

    def moment(self, at_s: int | None) -> str:
        """Return an instant with its day."""
        return self.clock(at_s, "%d/%m/%Y %H:%M" if self.language == "fr" else "%d %b %Y %H:%M")

    def page(self, template: str, status: int = 200, **content: Any) -> Response:
        """Return a page, with the journal's end at its foot."""
        return self._page(template, status, self.site.database.journal.end(), content)

    def _page(
        self, template: str, status: int, journal: tuple[int, str] | None, content: dict[str, Any]
    ) -> Response:
        path = self.request.url.path
        parts = [
            Part(where, self.said[name], path == where or (where != "/" and path.startswith(where)))
            for where, name, role in _SECTIONS
            if self.may(role)
        ]
        query = [(k, v) for k, v in self.request.query_params.multi_items() if k != "lang"]
        text = self.site.templates.get_template(template).render(
            said=self.said,
            language=self.language,
            visit=self,
            parts=parts,
            path=path,
            query=f"&{urlencode(query)}" if query else "",
            session=self.session,
            journal=journal,
            **content,
        )
        answer = HTMLResponse(text, status_code=status)
        if self.request.query_params.get("lang") in ("fr", "en"):
            answer.set_cookie("lang", self.language, max_age=31_536_000, samesite="lax")
        return answer

    def problem(self, status: int, said: str) -> Response:
        """Return a page that says in one sentence what is wrong; it needs no database."""
        return self._page("problem.html", status, None, {"text": said})

    @staticmethod
    def go(path: str) -> Response:
        """Return the browser to a page after a form."""
        return RedirectResponse(path, status_code=303)


class Site:
    """What all visits share."""

    def __init__(
        self, config: AggregatorConfig, database: Database, now: Callable[[], datetime]
    ) -> None:
        self.config = config
        self.database = database
        self.now = now
        self.zone = ZoneInfo(config.timezone)
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True,
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; over https no other host can set it."""
        return "__Host-dizaine" if self.secure else "dizaine"

    @property
    def secure(self) -> bool:
        """Whether the site is served over https."""
        return (self.config.web.address or "").startswith("https://")

    @property
    def address(self) -> str:
        """What links begin with."""
        web = self.config.web
        return web.address or f"http://{web.host}:{web.port}/"

    def visit(self, request: Request) -> Visit:
        """Return the visit that a request is."""
        token = request.cookies.get(self.cookie)
        now_s = int(self.now().timestamp())
        session = self.database.accounts.session(token, now_s) if token else None
        return Visit(self, request, session)
