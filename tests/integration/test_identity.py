"""A token opens the door only if everything about it holds, and nobody is let in while that cannot be judged."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from chassis import identity
from chassis.identity import Identity, KeysUnavailable, Unauthenticated

ISSUER, AUDIENCE = "https://issuer.example", "tandem"
NURSE = str(uuid4())


@dataclass
class Issuer:
    """Publishes keys over HTTP, and signs; counts how often it was asked."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    status: str = "200 OK"
    speaks: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def publish(self, kid: str) -> ECKey:
        key = ECKey.generate_key("P-256", {"kid": kid})
        self.keys.append(key.as_dict(private=False))
        return key

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        await self.speaks.wait()
        body = json.dumps({"keys": self.keys}).encode()
        writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        writer.close()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    found = Issuer()
    found.speaks.set()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    async with server:
        yield found


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": NURSE, "role": "nurse", "clinics": ["north"], "exp": now + 60}
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def signed(key: ECKey, told: dict[str, Any], **header: Any) -> str:
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid, **header}, told, key)


def identity_of(issuer: Issuer) -> Identity:
    return Identity(ISSUER, issuer.url, AUDIENCE)


async def test_a_token_that_holds_tells_who_asks(issuer: Issuer) -> None:
    key = issuer.publish("one")
    caller = await identity_of(issuer).caller(signed(key, claims(name="N. Urse", unknown_to_us=1)))
    assert (caller.person.id, caller.person.role, caller.person.clinics) == (NURSE, "nurse", ("north",))
    assert (caller.issuer, caller.name, caller.person.patient) == (ISSUER, "N. Urse", None)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"iss": "https://other.example"}, "signature_or_claims"),
        ({"iss": None}, "signature_or_claims"),
        ({"aud": "other"}, "signature_or_claims"),
        ({"aud": ["other", "others"]}, "signature_or_claims"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"exp": None}, "signature_or_claims"),
        ({"exp": "tomorrow"}, "signature_or_claims"),
        ({"nbf": int(time.time()) + 86_400}, "signature_or_claims"),
        ({"sub": "somebody"}, "claims"),
        ({"sub": None}, "signature_or_claims"),
        ({"role": "wizard"}, "claims"),
        ({"role": None}, "claims"),
        ({"clinics": "north"}, "claims"),
        ({"patient": "not an id"}, "claims"),
    ],
)
async def test_a_token_with_a_wrong_claim_does_not_hold(issuer: Issuer, changed: dict[str, Any], why: str) -> None:
    key = issuer.publish("one")
    with pytest.raises(Unauthenticated) as refused:
        await identity_of(issuer).caller(signed(key, claims(**changed)))
    assert refused.value.why == why


@pytest.mark.parametrize("kind", ["JWT", "id+jwt", ""])
async def test_a_token_of_another_type_does_not_hold(issuer: Issuer, kind: str) -> None:
    key = issuer.publish("one")
    with pytest.raises(Unauthenticated, match="wrong_type"):
        await identity_of(issuer).caller(signed(key, claims(), typ=kind))


async def test_a_token_signed_by_a_key_of_the_same_name_that_is_not_the_issuers_does_not_hold(issuer: Issuer) -> None:
    issuer.publish("one")
    with pytest.raises(Unauthenticated, match="signature_or_claims"):
        await identity_of(issuer).caller(signed(ECKey.generate_key("P-256", {"kid": "one"}), claims()))


async def test_the_header_cannot_choose_how_it_is_checked(issuer: Issuer) -> None:
    key = issuer.publish("one")
    message = f"{encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'one'})}.{encoded(claims())}"
    secret = hmac.digest(key.as_pem(private=False), message.encode(), "sha256")
    by_its_public_key = f"{message}.{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
    rsa = RSAKey.generate_key(2048, {"kid": "one"})
    by_rsa = jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": "one"}, claims(), rsa)
    _, body, _ = signed(key, claims()).split(".")
    unsigned = f"{encoded({'alg': 'none', 'typ': 'at+jwt', 'kid': 'one'})}.{body}."
    for token in (by_its_public_key, by_rsa, unsigned):
        with pytest.raises(Unauthenticated, match="signature_or_claims"):
            await identity_of(issuer).caller(token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "..", "e30.e30.e30", "x" * 9_000])
async def test_what_is_no_token_does_not_hold_and_asks_nobody(issuer: Issuer, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await identity_of(issuer).caller(token)
    assert issuer.asked == 0


async def test_keys_are_fetched_once_for_all_who_wait(issuer: Issuer) -> None:
    key = issuer.publish("one")
    door = identity_of(issuer)
    await asyncio.gather(*(door.caller(signed(key, claims())) for _ in range(50)))
    assert issuer.asked == 1


async def test_a_new_key_is_found_and_a_stranger_cannot_make_us_ask_without_end(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, door = issuer.publish("one"), identity_of(issuer)
    await door.caller(signed(old, claims()))
    strange = ECKey.generate_key("P-256", {"kid": "strange"})
    for _ in range(20):
        with pytest.raises(Unauthenticated, match="unknown_key"):
            await door.caller(signed(strange, claims()))
    assert issuer.asked == 1
    new = issuer.publish("two")
    monkeypatch.setattr(identity, "ASK_AGAIN_S", 0.0)
    await door.caller(signed(new, claims()))
    await door.caller(signed(old, claims()))
    assert issuer.asked == 2


async def test_a_withdrawn_key_no_longer_opens(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    old, door = issuer.publish("one"), identity_of(issuer)
    await door.caller(signed(old, claims()))
    issuer.keys.clear()
    issuer.publish("two")
    monkeypatch.setattr(identity, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(identity, "REFRESH_AFTER_S", 0.0)
    await door.caller(signed(old, claims()))  # Sets the fetch going, and does not wait for it.
    assert door.keys.beside
    await door.keys.beside
    with pytest.raises(Unauthenticated, match="unknown_key"):
        await door.caller(signed(old, claims()))


async def test_who_holds_a_known_key_does_not_wait_for_a_slow_issuer(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, door = issuer.publish("one"), identity_of(issuer)
    await door.caller(signed(key, claims()))
    monkeypatch.setattr(identity, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(identity, "REFRESH_AFTER_S", 0.0)
    issuer.speaks.clear()
    for _ in range(20):
        async with asyncio.timeout(identity.FETCH_S / 2):
            await door.caller(signed(key, claims()))
    issuer.speaks.set()


async def test_nobody_is_let_in_while_the_keys_cannot_be_had(issuer: Issuer) -> None:
    key, issuer.status = issuer.publish("one"), "500 Internal Server Error"
    with pytest.raises(KeysUnavailable):
        await identity_of(issuer).caller(signed(key, claims()))


async def test_known_keys_outlast_a_short_silence_of_the_issuer_but_not_a_long_one(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, door = issuer.publish("one"), identity_of(issuer)
    await door.caller(signed(key, claims()))
    issuer.status = "500 Internal Server Error"
    monkeypatch.setattr(identity, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(identity, "REFRESH_AFTER_S", 0.0)
    await door.caller(signed(key, claims()))
    monkeypatch.setattr(identity, "FORGET_AFTER_S", 0.0)
    with pytest.raises(KeysUnavailable):
        await door.caller(signed(key, claims()))


async def test_keys_of_other_kinds_are_passed_over_and_private_parts_not_used(issuer: Issuer) -> None:
    issuer.keys += [{"kty": "XX"}, RSAKey.generate_key(2048, {"kid": "rsa"}).as_dict(private=False), {"kty": "EC"}]
    key = issuer.publish("one")
    caller = await identity_of(issuer).caller(signed(key, claims()))
    assert caller.person.id == NURSE


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
