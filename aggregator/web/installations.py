"""What technicians propose: taken from devices, shown to operators for a day, then deleted."""

import base64
from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from aggregator.core.roles import Role
from aggregator.issuing import Issuer, IssuingError
from aggregator.store.database import Database
from aggregator.web.visit import Refusal, Site
from edge_agent.wire.installation import Outcome, Proposal, Signed


def taken(issuer: Issuer, database: Database, now: Callable[[], datetime]) -> APIRouter:
    """Return where devices send them."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/installation")
    def take(said: Signed) -> Response:
        at = now()
        try:
            body = issuer.believed(said, at)
            proposal = Proposal.model_validate_json(body)
        except (IssuingError, ValidationError) as error:
            known = isinstance(error, IssuingError)
            why = str(error) if known else "expected a proposal of Dizaine"
            return JSONResponse({"problem": why}, 403)
        declared = database.registry.newest_declarations().get(proposal.device)
        if declared is None or not declared.allows("installation-picture", at, at):
            why = f"{proposal.device}: declares no installation picture now"
            return JSONResponse({"problem": why}, 403)
        with database.engine.begin() as connection:
            database.fleet.propose(connection, proposal.device, body.decode(), int(at.timestamp()))
            database.trail.note(
                connection, int(at.timestamp()), proposal.device, "installation-proposed",
                device=proposal.device,
            )  # fmt: skip
        return Response(Outcome(received=True).model_dump_json(), media_type="application/json")

    return routes


def router(site: Site) -> APIRouter:
    """Return the page of operators."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/installations")
    def show(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        rows = [
            (row.at_s, Proposal.model_validate_json(row.body))
            for row in site.database.fleet.proposals(visit.now_s())
        ]
        return visit.page("installations.html", proposals=rows)

    @routes.get("/installations/{device}.jpg")
    def picture(request: Request, device: str) -> Response:
        visit = site.visit(request)
        visit.demand(Role.OPERATOR)
        for row in site.database.fleet.proposals(visit.now_s()):
            if row.device == device:
                proposal = Proposal.model_validate_json(row.body)
                with site.database.engine.begin() as connection:
                    site.database.trail.note(
                        connection, visit.now_s(), visit.who, "installation-seen", device=device
                    )
                return Response(
                    base64.b64decode(proposal.picture), media_type="image/jpeg",
                    headers={"Cache-Control": "no-store"},
                )  # fmt: skip
        raise Refusal(404, "not_found")

    return routes
