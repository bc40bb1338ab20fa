"""A token issuer for development: OpenID Connect without passwords, never for real patients.

It issues what a hospital's identity provider would: access tokens signed with ES256, checked by
every house against `/jwks.json`. People sign in by choosing themselves from a list.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from .people import People, Person
from .places import write_privately
from .sign_in import Codes, SignIn, fault_of, sign_in_page

AUDIENCE = "tandem"
TOKEN_LIFETIME_S = 8 * 3600  # A working day: nobody is signed out in the middle of one.
DEVELOPMENT_GRANT = "urn:tandem:dev-person"
MACHINES = uuid.UUID("5a2f7c3e-94f1-5d0b-8f53-0c1c1f6f9a10")


class Issuer:
    """The issuer's state: its key, the people it knows, the codes it has handed out."""

    def __init__(self, address: str, key: ECKey, secret: str, people: People, lifetime_s: int) -> None:
        self._address = address
        self._key = key
        self._secret = secret
        self._people = people
        self._lifetime_s = lifetime_s
        self._codes = Codes()

    async def configuration(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self._address,
                "authorization_endpoint": f"{self._address}/authorize",
                "token_endpoint": f"{self._address}/token",
                "jwks_uri": f"{self._address}/jwks.json",
                "response_types_supported": ["code"],
                "grant_types_supported": [
                    "authorization_code",
                    "client_credentials",
                    DEVELOPMENT_GRANT,
                ],
                "code_challenge_methods_supported": ["S256"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "scopes_supported": ["openid"],
                "token_endpoint_auth_methods_supported": [
                    "none",
                    "client_secret_post",
                    "client_secret_basic",
                ],
            }
        )

    async def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        match form.get("grant_type"):
            case "client_credentials":
                return self._for_machine(*self._credentials(request, form))
            case "authorization_code":
                return self._for_code(form)
            case grant if grant == DEVELOPMENT_GRANT:
                self._demand_secret(form.get("client_secret", ""))
                return self._for_person(form)
            case _:
                raise refusal("unsupported_grant_type", "See grant_types_supported.")

    async def authorize(self, request: Request) -> Response:
        """GET shows who may sign in; POST is the choice, and sends the browser back with a code."""
        asked = dict(request.query_params)
        if fault := fault_of(asked):
            raise refusal("invalid_request", fault)
        if request.method == "GET":
            return HTMLResponse(sign_in_page(self._people.all()))
        person = self._people.find(str((await request.form()).get("sub", "")))
        if person is None:
            raise refusal("invalid_request", "Nobody of that id is registered here.")
        code = self._codes.hand_out(asked, person)
        back = {"code": code, "iss": self._address}
        if "state" in asked:
            back["state"] = asked["state"]
        joint = "&" if urlsplit(asked["redirect_uri"]).query else "?"
        return RedirectResponse(asked["redirect_uri"] + joint + urlencode(back), status_code=303)

    async def register(self, request: Request) -> Response:
        self._demand_bearer(request)
        try:
            found = await request.json()
            if not isinstance(found, dict):
                raise ValueError("a person is an object with role, clinics and name")
            self._people.register(Person.read(request.path_params["sub"], found))
        except ValueError as error:
            raise refusal("invalid_request", str(error)) from error
        return Response(status_code=204)

    async def health(self, _: Request) -> Response:
        return Response(status_code=204)

    def _credentials(self, request: Request, form: Mapping[str, str]) -> tuple[str, str]:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                name, _, secret = base64.b64decode(encoded).decode().partition(":")
            except ValueError as error:
                raise refusal("invalid_client", "The header cannot be read.", 401) from error
            return name, secret
        return form.get("client_id", ""), form.get("client_secret", "")

    def _for_machine(self, name: str, secret: str) -> Response:
        """A house, or an operator's command line: `operator` is the one name with that role."""
        self._demand_secret(secret)
        if not name:
            raise refusal("invalid_client", "client_id names the house, or operator.", 401)
        role = "operator" if name == "operator" else "service"
        machine = Person.read(str(uuid.uuid5(MACHINES, name)), {"role": role})
        return self._issue({**machine.claims(), "client_id": name}, self._lifetime_s)

    def _for_person(self, form: Mapping[str, str]) -> Response:
        try:
            person = Person.read(form.get("sub", ""), form)
            # Tests ask for tokens that have ended, or are about to.
            lifetime_s = int(form.get("lifetime_s", self._lifetime_s))
        except ValueError as error:
            raise refusal("invalid_request", str(error)) from error
        return self._issue(person.claims(), lifetime_s)

    def _for_code(self, form: Mapping[str, str]) -> Response:
        sign_in = self._codes.take_back(form)
        if sign_in is None:
            raise refusal("invalid_grant", "The code is spent, too old, or another client's.")
        return self._issue(
            {**sign_in.person.claims(), "client_id": sign_in.client_id},
            self._lifetime_s,
            id_token_for=sign_in,
        )

    def _issue(self, claims: Mapping[str, Any], lifetime_s: int, id_token_for: SignIn | None = None) -> Response:
        # Wall time, also where a deployment's own clock is simulated: tokens concern real access.
        now = int(time.time())
        times = {"iss": self._address, "iat": now, "exp": now + lifetime_s}
        access = {**claims, **times, "aud": AUDIENCE, "nbf": min(now, now + lifetime_s)}
        answer = {
            "access_token": self._sign({**access, "jti": str(uuid.uuid4())}, "at+jwt"),
            "token_type": "Bearer",
            "expires_in": lifetime_s,
        }
        if id_token_for:
            identity = {**times, "sub": claims["sub"], "aud": id_token_for.client_id}
            answer["id_token"] = self._sign({**identity, "nonce": id_token_for.nonce}, "JWT")
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    def _sign(self, claims: dict[str, Any], kind: str) -> str:
        header = {"alg": "ES256", "typ": kind, "kid": self._key.kid}
        return jwt.encode(header, claims, self._key, algorithms=["ES256"])

    def _demand_secret(self, given: str) -> None:
        if not hmac.compare_digest(given.encode(), self._secret.encode()):
            raise refusal("invalid_client", "The secret is not this deployment's.", 401)

    def _demand_bearer(self, request: Request) -> None:
        _, _, given = request.headers.get("Authorization", "").partition(" ")
        self._demand_secret(given)


def refusal(error: str, description: str, status: int = 400) -> HTTPException:
    return HTTPException(status, json.dumps({"error": error, "error_description": description}))


async def refuse(_: Request, error: Exception) -> Response:
    """An HTTPException as OAuth words it."""
    assert isinstance(error, HTTPException)
    try:
        body = json.loads(error.detail)
    except ValueError:
        body = {"error": "invalid_request", "error_description": error.detail}
    return JSONResponse(body, status_code=error.status_code)


def read_or_create_key(path: Path) -> ECKey:
    """The signing key, the same over restarts: tokens issued before stay good."""
    if not path.exists():
        fresh = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        write_privately(path, json.dumps(fresh.as_dict(private=True)))
    return ECKey.import_key(json.loads(path.read_text("utf-8")))


def create_app(issuer: Issuer) -> Starlette:
    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", issuer.configuration),
            Route("/jwks.json", issuer.keys),
            Route("/token", issuer.token, methods=["POST"]),
            Route("/authorize", issuer.authorize, methods=["GET", "POST"]),
            Route("/people/{sub}", issuer.register, methods=["PUT"]),
            Route("/health", issuer.health),
        ],
        exception_handlers={HTTPException: refuse},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secrets", type=Path, required=True)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--lifetime-s", type=int, default=TOKEN_LIFETIME_S)
    asked = parser.parse_args()
    issuer = Issuer(
        f"http://{asked.host}:{asked.port}",
        read_or_create_key(asked.secrets / "issuer-key.json"),
        (asked.secrets / "issuer").read_text("utf-8"),
        People(asked.people),
        asked.lifetime_s,
    )
    # No access log: an address line may name a person.
    uvicorn.run(create_app(issuer), host=asked.host, port=asked.port, access_log=False)


if __name__ == "__main__":
    main()
