"""Pages of administrators: accounts and keys of programs."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from aggregator.core.roles import Role, role
from aggregator.core.rules import Name
from aggregator.store.accounts import SHORTEST_PASSWORD
from aggregator.web.visit import Refusal, Site, Visit

KEY_DAYS = 365


def router(site: Site) -> APIRouter:
    """Return the pages."""
    routes = APIRouter(include_in_schema=False)
    database = site.database

    def show(visit: Visit, made: str = "") -> Response:
        return visit.page(
            "accounts.html", accounts=database.accounts.all(), keys=database.accounts.keys(),
            made=made,
        )  # fmt: skip

    def enter(request: Request, form: str) -> Visit:
        visit = site.visit(request)
        visit.demand(Role.ADMINISTRATOR)
        visit.demand_form(form)
        return visit

    @routes.get("/accounts")
    def accounts(request: Request) -> Response:
        visit = site.visit(request)
        visit.demand(Role.ADMINISTRATOR)
        return show(visit)

    @routes.post("/accounts")
    def change(
        request: Request,
        account: Annotated[str, Form(max_length=80, pattern=r"^[^\s:]+$")],
        given: Annotated[str, Form(alias="role")],
        password: Annotated[str, Form(max_length=200)] = "",
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = enter(request, form)
        try:
            chosen = role(given)
            with database.engine.begin() as connection:
                now_s = visit.now_s()
                database.accounts.set(connection, account, password or None, chosen, now_s)
                database.trail.note(
                    connection, now_s, visit.who, "account-set", account=account, role=given
                )
        except ValueError:
            what = f"{SHORTEST_PASSWORD}+ / analyst, operator, administrator"
            raise Refusal(400, "wrong_input", what=what) from None
        return visit.go("/accounts")

    @routes.post("/accounts/remove")
    def remove(
        request: Request,
        account: Annotated[str, Form(max_length=80)],
        form: Annotated[str, Form()] = "",
    ) -> Response:
        visit = enter(request, form)
        with database.engine.begin() as connection:
            if database.accounts.remove(connection, account):
                database.trail.note(
                    connection, visit.now_s(), visit.who, "account-removed", account=account
                )
        return visit.go("/accounts")

    @routes.post("/keys")
    def make_key(
        request: Request, name: Annotated[Name, Form()], form: Annotated[str, Form()] = ""
    ) -> Response:
        visit = enter(request, form)
        now_s = visit.now_s()
        with database.engine.begin() as connection:
            until_s = now_s + 86_400 * KEY_DAYS
            token = database.accounts.make_key(connection, name, visit.who, now_s, until_s)
            if token is not None:
                database.trail.note(connection, now_s, visit.who, "key-made", key=name)
        if token is None:
            raise Refusal(400, "wrong_input", what=visit.said["key_name"])
        return show(visit, token)

    @routes.post("/keys/remove")
    def drop_key(
        request: Request, name: Annotated[str, Form()], form: Annotated[str, Form()] = ""
    ) -> Response:
        visit = enter(request, form)
        with database.engine.begin() as connection:
            if database.accounts.drop_key(connection, name):
                database.trail.note(connection, visit.now_s(), visit.who, "key-removed", key=name)
        return visit.go("/accounts")

    return routes
