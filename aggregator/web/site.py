"""The web application: every page, its security, and what it says when something is wrong."""

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from aggregator import metrics
from aggregator.config import AggregatorConfig
from aggregator.core.mistakes import first_of
from aggregator.issuing import Issuer
from aggregator.store.database import Database
from aggregator.store.engine import reason_of
from aggregator.web import admin, days, enrol, exports, installations, rules, signing, staff, trends
from aggregator.web.visit import HERE, Refusal, Site, Visit

log = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
MOST_BODY = 2_000_000
"""Bytes of a form; rules are the longest there is."""


def build(
    config: AggregatorConfig,
    database: Database,
    is_connected: Callable[[], bool],
    now: Callable[[], datetime],
) -> FastAPI:
    """Return the web application; without pages where `workers.web` is off.

    Raises:
        ConfigError: a secret or a key is missing.
    """
    app = FastAPI(
        title="Dizaine", version="1", docs_url=None, redoc_url=None,
        openapi_url="/api/openapi.json",
        description="Released records, and nothing else. Send a key as `Authorization: Bearer`.",
    )  # fmt: skip
    site = Site(config, database, now)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    if config.workers.web:
        for routes in (
            days.router(site), trends.router(site), signing.router(site), staff.alerts(site),
            staff.register(site), staff.fleet(site), rules.router(site), admin.router(site),
            exports.router(site), installations.router(site),
        ):  # fmt: skip
            app.include_router(routes)
    if config.fleet:
        issuer = Issuer(config, database)
        app.include_router(enrol.router(issuer, now))
        app.include_router(installations.taken(issuer, database, now))
    _harden(app, site)
    _answer_problems(app, site)

    @app.get("/healthz", summary="Whether the process lives")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether database and broker answer")
    def readyz() -> JSONResponse:
        state = {"database": database.engine.is_ready(), "broker": is_connected()}
        return JSONResponse(state, status_code=200 if all(state.values()) else 503)

    return app


def _harden(app: FastAPI, site: Site) -> None:
    @app.middleware("http")
    async def harden(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started_s = time.perf_counter()
        length = request.headers.get("content-length", "0" if request.method == "GET" else "")
        if request.method not in ("GET", "HEAD") and not length.isdecimal():
            return JSONResponse({"problem": "expected a Content-Length"}, status_code=411)
        if length.isdecimal() and int(length) > MOST_BODY:
            return JSONResponse({"problem": f"expected at most {MOST_BODY} bytes"}, status_code=413)
        response = await answer(request)
        response.headers.update(_HEADERS)
        if site.secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        if request.cookies.get(site.cookie):
            response.headers["Cache-Control"] = "no-store"
        route = getattr(request.scope.get("route"), "path", "other")
        metrics.PAGE_S.labels(route).observe(time.perf_counter() - started_s)
        return response


def _answer_problems(app: FastAPI, site: Site) -> None:
    def wants_page(request: Request) -> bool:
        return "text/html" in request.headers.get("accept", "")

    def tell(visit: Visit, status: int, said: str) -> Response:
        if not wants_page(visit.request):
            return JSONResponse({"problem": said}, status_code=status)
        return visit.problem(status, said)

    @app.exception_handler(Refusal)
    def refused(request: Request, why: Exception) -> Response:
        refusal = why if isinstance(why, Refusal) else Refusal(500, "not_found")
        if refusal.status_code == 401 and wants_page(request):
            return RedirectResponse(signing.after(request.url.path, request.url.query), 303)
        visit = site.visit(request)
        said = visit.said[refusal.word].format(**refusal.particulars)
        return tell(visit, refusal.status_code, said)

    @app.exception_handler(HTTPException)
    def unknown(request: Request, why: Exception) -> Response:
        status = why.status_code if isinstance(why, HTTPException) else 404
        visit = site.visit(request)
        return tell(visit, status, visit.said["not_found"])

    @app.exception_handler(RequestValidationError)
    def wrong(request: Request, why: Exception) -> Response:
        errors = why.errors() if isinstance(why, RequestValidationError) else []
        visit = site.visit(request)
        labels = visit.said if wants_page(request) else {}
        said = []
        for error in errors[:3]:
            name = str(error["loc"][-1])
            said.append(first_of([error]).said(visit.language, labels.get(name, name)))
        return tell(visit, 400, "; ".join(said))

    @app.exception_handler(Exception)
    def broken(request: Request, why: Exception) -> Response:
        log.error("event=page_failed path=%s why=%r", request.url.path, repr(why))
        visit = site.visit(request)
        return tell(visit, 500, visit.said["something_wrong"])

    @app.exception_handler(sqlalchemy.exc.SQLAlchemyError)
    def away(request: Request, why: Exception) -> Response:
        log.error("event=page_without_database why=%r", reason_of(why))
        visit = Visit(site, request, None)  # whoever is signed in, the database knows
        return tell(visit, 503, visit.said["database_away"])
