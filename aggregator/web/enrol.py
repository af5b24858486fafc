"""Where devices join and renew: two answers to programs, no page."""

from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from aggregator.issuing import Issuer, IssuingError
from aggregator.store.trail import SERVER
from aggregator.web.signing import Brake
from edge_agent.wire.enrolment import Enrolment, Renewal, Welcome


def router(issuer: Issuer, now: Callable[[], datetime]) -> APIRouter:
    """Return both."""
    routes = APIRouter(include_in_schema=False)
    brake = Brake()

    def answer(request: Request, device: str, make: Callable[[], Welcome]) -> Response:
        address = request.client.host if request.client else ""
        if brake.holds(device, address):
            return JSONResponse({"problem": "too many tries; wait a quarter of an hour"}, 429)
        try:
            return Response(make().model_dump_json(), media_type="application/json")
        except IssuingError as error:
            brake.failed(device, address)
            return JSONResponse({"problem": str(error)}, 403)

    @routes.post("/enrol")
    def enrol(request: Request, asked: Enrolment) -> Response:
        return answer(request, asked.device, lambda: issuer.enrol(asked, SERVER, now()))

    @routes.post("/renew")
    def renew(request: Request, asked: Renewal) -> Response:
        return answer(request, asked.device, lambda: issuer.renew(asked, now()))

    return routes
