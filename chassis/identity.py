"""Who asks: a bearer token, verified against the issuer's published keys.

Fails closed. A token holds only if its signature, algorithm, type, issuer, audience and times all do; when the
issuer's keys cannot be had, nobody is let in. A token that does not hold leaves a log line and a counter and no
fact, or anybody could fill the log of facts.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

import httpx2
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.permissions import Person
from contracts.roles import Purpose, Role

from .position import Position

ALGORITHM = "ES256"  # One, chosen here: a token's header must not choose how it is checked.
TYPES = ("at+jwt", "application/at+jwt")  # RFC 9068: an access token, never an ID token.
LEEWAY_S = 10  # Two machines' clocks, both set by NTP.
TOKEN_BYTES = 8_192  # A few hundred clinics fit; so does every proxy's limit for one header.

FETCH_S = 5.0
KEYS_BYTES = 65_536
REFRESH_AFTER_S = 300.0  # A key that the issuer withdrew is refused within this time while the issuer answers …
FORGET_AFTER_S = 1_800.0  # … and within this time while it does not.
ASK_AGAIN_S = (
    5.0  # The least time between two fetches: unknown key ids, which anybody can send, cost the issuer little.
)


class Unauthenticated(Exception):
    """The token does not hold. `why` is from a closed list, for the log and the counter, not for the caller."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had, so no token can be judged."""


@dataclass(frozen=True)
class Caller:
    """A person, or a service, whose token holds. `name` is for pages, never for a log."""

    person: Person
    issuer: str
    name: str | None = None


@dataclass(frozen=True)
class Asking:
    """One request's attributes. `after` names facts that must be seen before it is answered."""

    caller: Caller
    after: tuple[Position, ...]
    reason: Purpose
    correlation_id: UUID


Name = Annotated[str, Field(min_length=1, max_length=100)]


class Claims(BaseModel):
    """What a token says of who asks."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sub: UUID
    role: Role
    clinics: Annotated[tuple[Name, ...], Field(max_length=200)] = ()
    name: Name | None = None
    patient: UUID | None = None  # Whose record is their own.


@dataclass
class Keys:
    """The issuer's keys by their id, fetched when needed, by one request at a time."""

    url: str
    known: dict[str, ECKey] = field(default_factory=dict)
    fetched_at: float = float("-inf")
    asked_at: float = float("-inf")
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    beside: asyncio.Task[None] | None = None  # The last fetch that nobody waited for; asyncio itself forgets it.

    async def key(self, kid: str) -> ECKey:
        """The key under that id. Raises Unauthenticated("unknown_key"), KeysUnavailable."""
        if kid not in self.known or self.age_s() > FORGET_AFTER_S:
            await self.refresh()
        elif self.age_s() > REFRESH_AFTER_S and not self.fetching.locked():
            self.beside = asyncio.create_task(self.refresh())  # Who holds a known key does not wait for the issuer.
        if self.age_s() > FORGET_AFTER_S:
            raise KeysUnavailable
        if kid not in self.known:
            raise Unauthenticated("unknown_key")
        return self.known[kid]

    def age_s(self) -> float:
        """How long ago the keys were fetched; infinite before that."""
        return time.monotonic() - self.fetched_at

    async def refresh(self) -> None:
        """Fetches once for all who wait, at most once in `ASK_AGAIN_S`; a failure leaves what was known."""
        async with self.fetching:
            if time.monotonic() - self.asked_at < ASK_AGAIN_S:
                return
            self.asked_at = time.monotonic()
            try:
                self.known = usable(await fetched(self.url))
            except (httpx2.HTTPError, TimeoutError, ValueError):
                return  # The age of what is known decides whether that is serious.
            self.fetched_at = time.monotonic()


async def fetched(url: str) -> bytes:
    """The key set as published. Raises httpx2.HTTPError, TimeoutError, or ValueError when it is too long."""
    body = b""
    async with (
        asyncio.timeout(FETCH_S),
        httpx2.AsyncClient(timeout=FETCH_S, trust_env=False, follow_redirects=False) as client,
        client.stream("GET", url) as answer,
    ):
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > KEYS_BYTES:
                raise ValueError("the key set is too long")
    return body


def usable(published: bytes) -> dict[str, ECKey]:
    """The keys that may sign with our algorithm. Others are passed over; raises ValueError when none is left."""
    found: dict[str, ECKey] = {}
    keys = json.loads(published)["keys"] if published.lstrip().startswith(b"{") else []
    for key in keys:
        mine = isinstance(key, dict) and (key.get("kty"), key.get("crv")) == ("EC", "P-256")
        if mine and isinstance(key.get("kid"), str) and key.get("use", "sig") == "sig":
            public = {name: key[name] for name in ("kty", "crv", "x", "y", "kid") if name in key}
            try:
                found[key["kid"]] = ECKey.import_key(public)
            except (JoseError, ValueError):
                continue
    if not found:
        raise ValueError("the key set holds no usable key")
    return found


class Identity:
    """Tells who asks. `issuer` and `audience` must be in the token exactly as they are here."""

    def __init__(self, issuer: str, jwks_url: str, audience: str) -> None:
        self.issuer = issuer
        self.keys = Keys(jwks_url)
        self.claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def caller(self, token: str) -> Caller:
        """Who holds this token. Raises Unauthenticated, KeysUnavailable."""
        if len(token) > TOKEN_BYTES:
            raise Unauthenticated("too_long")
        key = await self.keys.key(key_id(token))
        try:
            signed = jwt.decode(token, key, algorithms=[ALGORITHM])
            if str(signed.header.get("typ", "")).lower() not in TYPES:
                raise Unauthenticated("wrong_type")
            self.claims.validate(signed.claims)
            claims = Claims.model_validate_json(json.dumps(signed.claims))
        except ExpiredTokenError:
            raise Unauthenticated("expired") from None
        except (JoseError, ValueError) as error:
            why = "claims" if isinstance(error, ValidationError) else "signature_or_claims"
            raise Unauthenticated(why) from None
        own = str(claims.patient) if claims.patient else None
        return Caller(Person(str(claims.sub), claims.role, claims.clinics, own), self.issuer, claims.name)


def key_id(token: str) -> str:
    """Which key the token says it was signed with. Raises Unauthenticated; nothing is verified yet."""
    try:
        kid = jws.extract_compact(token.encode()).protected.get("kid")
    except (JoseError, ValueError):
        raise Unauthenticated("malformed") from None
    if not isinstance(kid, str):
        raise Unauthenticated("malformed")
    return kid
