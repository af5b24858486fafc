"""Signing in and out: local accounts, and the city's identity provider (OpenID Connect)."""

import logging
import secrets
import threading
import time
from collections import defaultdict, deque
from typing import Annotated, Any
from urllib.parse import urlencode

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2 import OAuth2Error
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from aggregator.config import Oidc, secret
from aggregator.core.roles import Role, role
from aggregator.store.accounts import SESSION_S
from aggregator.web.visit import Refusal, Site

log = logging.getLogger(__name__)

WITHIN_S = 900
MOST_FROM_ONE, MOST_FOR_ACCOUNT, MOST_FROM_ADDRESS = 5, 30, 200
"""Failures of one address with one account; of an account from anywhere; of an address, behind
which a whole town hall may sit."""
_ALGORITHMS = ["RS256", "ES256", "PS256", "EdDSA"]
_ASKED = "dizaine-oidc"
_ANSWER_WITHIN_S = 10.0


class Brake:
    """Slows whoever guesses: after some failures within a while, nothing is tried any more."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    @staticmethod
    def _limits(account: str, address: str) -> dict[str, int]:
        return {
            f"{account} {address}": MOST_FROM_ONE, account: MOST_FOR_ACCOUNT,
            f" {address}": MOST_FROM_ADDRESS,
        }  # fmt: skip

    def holds(self, account: str, address: str) -> bool:
        """Return whether there were too many failures of any kind."""
        now_s = time.monotonic()
        with self._lock:
            for name, most in self._limits(account, address).items():
                failures = self._failures.get(name, deque())
                while failures and now_s - failures[0] > WITHIN_S:
                    failures.popleft()
                if len(failures) >= most:
                    return True
        return False

    def failed(self, account: str, address: str) -> None:
        """Note a failure."""
        with self._lock:
            if len(self._failures) > 100_000:
                self._failures.clear()
            for name in self._limits(account, address):
                self._failures[name].append(time.monotonic())


class Provider:
    """The city's identity provider, asked by the authorization code flow with PKCE."""

    def __init__(self, settings: Oidc, address: str) -> None:
        """Read the secret.

        Raises:
            ConfigError: it is missing.
        """
        self._settings = settings
        self._redirect = f"{address}sign-in/oidc/back"
        self._secret = secret("oidc.client_secret", settings.client_secret_file)
        self._known: dict[str, Any] | None = None

    def _discovered(self) -> dict[str, Any]:
        if self._known is None:
            url = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = self._get(url)
            if found.get("issuer", "").rstrip("/") != self._settings.issuer.rstrip("/"):
                raise ValueError("the issuer that it names is another")
            self._known = found
        return self._known

    @staticmethod
    def _get(url: str) -> dict[str, Any]:
        answer = requests.get(url, timeout=_ANSWER_WITHIN_S)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _client(self) -> OAuth2Session:
        return OAuth2Session(
            self._settings.client_id, self._secret, scope="openid email profile",
            redirect_uri=self._redirect, code_challenge_method="S256",
        )  # fmt: skip

    def ask(self) -> tuple[str, str]:
        """Return where to send the browser, and what its cookie must bring back."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url, _ = self._client().create_authorization_url(
            self._discovered()["authorization_endpoint"],
            state=state, nonce=nonce, code_verifier=verifier,
        )  # fmt: skip
        return url, f"{state}.{nonce}.{verifier}"

    def answer(self, query: dict[str, str], kept: str) -> tuple[str, Role | None]:
        """Return who has signed in, and their highest role, if any.

        Raises:
            ValueError: the answer is not to what was asked, or not from the provider.
            requests.RequestException, OAuth2Error, JoseError: the same, as their libraries say it.
        """
        state, nonce, verifier = kept.split(".")
        if not secrets.compare_digest(state, query.get("state", "")):
            raise ValueError("another state")
        found = self._discovered()
        token = self._client().fetch_token(
            found["token_endpoint"],
            code=query.get("code", ""),
            code_verifier=verifier,
            timeout=_ANSWER_WITHIN_S,
        )
        keys = KeySet.import_key_set(self._get(found["jwks_uri"]))  # type: ignore[arg-type]
        decoded = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS)
        required = jwt.JWTClaimsRegistry(
            leeway=60,
            iss={"essential": True, "value": found["issuer"]},
            aud={"essential": True, "value": self._settings.client_id},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        required.validate(decoded.claims)
        claims = dict(decoded.claims)
        if "userinfo_endpoint" in found and self._settings.role_claim not in claims:
            told = requests.get(
                found["userinfo_endpoint"], timeout=_ANSWER_WITHIN_S,
                headers={"Authorization": f"Bearer {token['access_token']}"},
            )  # fmt: skip
            told.raise_for_status()
            more = told.json()
            if more.get("sub") == claims["sub"]:
                claims = {**more, **claims}
        name = str(claims.get(self._settings.account_claim) or claims["sub"])[:80]
        groups = claims.get(self._settings.role_claim) or []
        named = [groups] if isinstance(groups, str) else [str(group) for group in groups]
        roles = [role(self._settings.roles[g]) for g in named if g in self._settings.roles]
        return name, max(roles, default=None)


def router(site: Site) -> APIRouter:
    """Return the pages to sign in and out.

    Raises:
        ConfigError: the identity provider's secret is missing.
    """
    routes = APIRouter(include_in_schema=False)
    brake = Brake()
    provider = Provider(site.config.oidc, site.address) if site.config.oidc else None

    def enter(name: str, given: Role, back: str = "/") -> Response:
        now_s = int(site.now().timestamp())
        with site.database.engine.begin() as connection:
            token = site.database.accounts.sign_in(connection, name, given, now_s)
            site.database.trail.note(connection, now_s, name, "signed-in", role=given.name.lower())
        answer = RedirectResponse(back, status_code=303)
        answer.set_cookie(
            site.cookie, token, max_age=SESSION_S, httponly=True, samesite="lax",
            secure=site.secure, path="/",
        )  # fmt: skip
        return answer

    @routes.get("/sign-in")
    def show(request: Request, after: str = "/") -> Response:
        visit = site.visit(request)
        return visit.page("sign-in.html", problem="", after=_local(after), oidc=site.config.oidc)

    @routes.post("/sign-in")
    def sign_in(
        request: Request,
        account: Annotated[str, Form(max_length=80)] = "",
        password: Annotated[str, Form(max_length=200)] = "",
        after: Annotated[str, Form()] = "/",
    ) -> Response:
        visit = site.visit(request)
        origin = request.headers.get("origin")
        if origin not in (None, "null", str(request.base_url).rstrip("/"), site.address[:-1]):
            raise Refusal(403, "form_expired")
        from_where = request.client.host if request.client else ""
        if brake.holds(account, from_where):
            problem, status = visit.said["too_many"], 429
        else:
            found = site.database.accounts.check(account, password)
            if found is not None:
                return enter(account, found, _local(after))
            brake.failed(account, from_where)
            log.warning("event=sign_in_failed")
            problem, status = visit.said["wrong_password"], 403
        return visit.page(
            "sign-in.html", status, problem=problem, after=_local(after), oidc=site.config.oidc
        )

    @routes.post("/sign-out")
    def sign_out(request: Request, form: Annotated[str, Form()] = "") -> Response:
        visit = site.visit(request)
        visit.demand_form(form)
        site.database.accounts.sign_out(request.cookies.get(site.cookie, ""))
        answer = visit.go("/")
        answer.delete_cookie(site.cookie, path="/")
        return answer

    @routes.get("/sign-in/oidc")
    def ask() -> Response:
        if provider is None:
            raise Refusal(404, "not_found")
        try:
            url, kept = provider.ask()
        except (requests.RequestException, ValueError, KeyError) as error:
            log.warning("event=oidc_failed why=%r", str(error))
            raise Refusal(502, "provider_failed") from None
        answer = RedirectResponse(url, status_code=303)
        answer.set_cookie(
            _ASKED, kept, max_age=600, httponly=True, samesite="lax", secure=site.secure,
            path="/sign-in/oidc",
        )  # fmt: skip
        return answer

    @routes.get("/sign-in/oidc/back")
    def back(request: Request) -> Response:
        if provider is None:
            raise Refusal(404, "not_found")
        kept = request.cookies.get(_ASKED, "")
        try:
            name, given = provider.answer(dict(request.query_params), kept)
        except (requests.RequestException, OAuth2Error, JoseError, ValueError, KeyError) as error:
            log.warning("event=oidc_failed why=%r", f"{type(error).__name__}: {error}")
            raise Refusal(502, "provider_failed") from None
        if given is None:
            log.warning("event=oidc_no_role")
            raise Refusal(403, "no_role")
        return enter(name, given)

    return routes


def _local(path: str) -> str:
    """Return a path of this site, whatever was given."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def after(path: str, query: str) -> str:
    """Return the address of the sign-in page that comes back here."""
    return "/sign-in?" + urlencode({"after": f"{path}?{query}" if query else path})
