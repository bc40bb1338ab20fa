"""Signing in with a browser: OpenID Connect's authorization code flow with PKCE (RFC 6749, 7636, 9207).

The access token is kept in a cookie that no script reads and no other site can make the browser send along with
anything but a plain link. It lets a person look; it never acts for them.
"""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx2
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from chassis.http import Problem
from chassis.http.asking import COOKIE
from chassis.identity import Identity, Unauthenticated

from .pages import Pages

FLOW_COOKIE = "tandem_sign_in"  # What a browser must come back with; it leaves with the answer.
FLOW_S = 600  # To choose oneself from a list, or to find one's second factor.
DISCOVERED_S = 3_600.0
ANSWER_S = 5.0
LONGEST_S = 12 * 3_600  # A cookie outlives no working day, whatever a token's own time.
CALLBACK = "/signed-in"
Form = Mapping[str, str]


def wants_page(request: Request) -> bool:
    """Whether a browser asks, which is to be shown a page, and not a program."""
    return "text/html" in request.headers.get("Accept", "")


def here(request: Request) -> str:
    """The address that was asked for, without scheme and host."""
    query = f"?{request.url.query}" if request.url.query else ""
    return request.url.path + query


def within(target: str) -> str:
    """The address to go on to, if it is one of ours; else the start. An open redirect would lend us to phishers."""
    ours = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if ours and "\\" not in target else "/"


@dataclass
class Endpoints:
    """Where the issuer says that people sign in and codes are exchanged."""

    authorization: str
    token: str
    found_at: float


class SignIn:
    """The browser's way in and out. `public_url` is where browsers reach this house."""

    def __init__(self, identity: Identity, issuer: str, client_id: str, public_url: str | None, pages: Pages) -> None:
        self.identity, self.issuer, self.client_id = identity, issuer.rstrip("/"), client_id
        self.public_url = public_url.rstrip("/") if public_url else None
        self.pages = pages
        self.endpoints: Endpoints | None = None

    def routes(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)

        @router.get("/sign-in")
        async def sign_in(request: Request, to: str = Query(default="/", max_length=2_000)) -> Response:
            return await self.begin(request, within(to))

        @router.get(CALLBACK)
        async def signed_in(request: Request) -> Response:
            return await self.finish(request)

        @router.post("/sign-out")
        async def sign_out(request: Request) -> Response:
            answer = RedirectResponse("/signed-out", 303)
            answer.delete_cookie(COOKIE, path="/")
            return answer

        @router.get("/signed-out")
        async def signed_out() -> Response:
            return self.pages.signed_out()

        return router

    def needed(self) -> Any:
        """A dependency that sends a browser without a token that holds to sign in first. Programs get their 401."""

        async def someone(request: Request) -> None:
            if not wants_page(request) or "Authorization" in request.headers:
                return
            token = request.cookies.get(COOKIE)
            try:
                if token:
                    await self.identity.caller(token)
                    return
            except Unauthenticated:
                pass  # Ended, or of another deployment: a new one is to be had.
            target = f"/sign-in?{urlencode({'to': here(request)})}"
            raise Problem(303, "sign_in_first", "Sign in first.", headers={"Location": target})

        return Depends(someone)

    async def begin(self, request: Request, target: str) -> Response:
        """Off to the issuer, with what only this browser will know."""
        endpoints = await self.discovered()
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.callback(request),
            "scope": "openid",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in endpoints.authorization else "?"
        answer = RedirectResponse(f"{endpoints.authorization}{joint}{urlencode(asked)}", 303)
        flow = json.dumps({"state": state, "verifier": verifier, "to": target}).encode()
        self.set_cookie(request, answer, FLOW_COOKIE, base64.urlsafe_b64encode(flow).decode(), FLOW_S, CALLBACK)
        return answer

    async def finish(self, request: Request) -> Response:
        """Back from the issuer: the code for a token, if it was this browser that was sent there."""
        flow = flow_of(request.cookies.get(FLOW_COOKIE))
        given = request.query_params
        asked_here = flow is not None and secrets.compare_digest(flow["state"], given.get("state", ""))
        if flow is None or not asked_here or given.get("iss", self.issuer).rstrip("/") != self.issuer:
            raise Problem(400, "sign_in_not_begun_here", "Open the page again and sign in from there.")
        if "code" not in given:
            raise Problem(
                403, "sign_in_refused", "The issuer let nobody in. Open the page again and choose who you are."
            )
        token, lifetime_s = await self.exchanged(request, given["code"], flow["verifier"])
        await self.identity.caller(token)
        answer = RedirectResponse(within(flow["to"]), 303)
        answer.delete_cookie(FLOW_COOKIE, path=CALLBACK)
        self.set_cookie(request, answer, COOKIE, token, min(lifetime_s, LONGEST_S), "/")
        return answer

    async def exchanged(self, request: Request, code: str, verifier: str) -> tuple[str, int]:
        """The access token and its lifetime. Raises Problem."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback(request),
            "client_id": self.client_id,
            "code_verifier": verifier,
        }
        endpoints = await self.discovered()
        async with client() as http:
            try:
                answer = await http.post(endpoints.token, data=form)
            except httpx2.HTTPError:
                raise unavailable() from None
        if answer.status_code != httpx2.codes.OK:
            raise Problem(403, "sign_in_refused", "The sign-in took too long or was used before. Open the page again.")
        found = answer.json()
        return str(found["access_token"]), int(found.get("expires_in", FLOW_S))

    async def discovered(self) -> Endpoints:
        """What the issuer publishes of itself. Raises Problem."""
        if self.endpoints and time.monotonic() - self.endpoints.found_at < DISCOVERED_S:
            return self.endpoints
        async with client() as http:
            try:
                answer = await http.get(f"{self.issuer}/.well-known/openid-configuration")
                found = answer.raise_for_status().json()
            except (httpx2.HTTPError, ValueError):
                raise unavailable() from None
        if not isinstance(found, dict) or str(found.get("issuer", "")).rstrip("/") != self.issuer:
            raise unavailable()
        self.endpoints = Endpoints(found["authorization_endpoint"], found["token_endpoint"], time.monotonic())
        return self.endpoints

    def callback(self, request: Request) -> str:
        return (self.public_url or str(request.base_url).rstrip("/")) + CALLBACK

    def set_cookie(self, request: Request, answer: Response, name: str, value: str, lifetime_s: int, path: str) -> None:
        secure = self.callback(request).startswith("https:")  # Plain HTTP is a development deployment's, on loopback.
        answer.set_cookie(name, value, max_age=lifetime_s, path=path, secure=secure, httponly=True, samesite="lax")


def flow_of(cookie: str | None) -> dict[str, str] | None:
    """What a browser was sent away with; None when that cannot be read."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cookie or ""))
    except ValueError:  # binascii.Error and JSONDecodeError are ValueErrors.
        return None
    fields = ("state", "verifier", "to")
    whole = isinstance(found, dict) and all(isinstance(found.get(name), str) for name in fields)
    return {name: found[name] for name in fields} if whole else None


def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=ANSWER_S, trust_env=False, follow_redirects=False)


def unavailable() -> Problem:
    return Problem(503, "identity_unavailable", "The issuer of tokens does not answer. Try again shortly.")
