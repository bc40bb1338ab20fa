"""The development token issuer and mailbox, as houses, browsers and senders meet them."""

import base64
import hashlib
import smtplib
import time
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.support.servers import Servers

VERIFIER = "a-verifier-of-at-least-forty-three-characters-0"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SIGN_IN = {
    "response_type": "code",
    "client_id": "care_view",
    "redirect_uri": "http://127.0.0.1:9/back",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "state": "as it was",
    "nonce": "once",
}


@pytest.fixture
def http(servers: Servers) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=servers.issuer_url, timeout=30) as client:
        yield client


def claims_of(servers: Servers, token: str) -> dict[str, Any]:
    """What a token says, once its signature was checked as a house checks it."""
    keys = KeySet.import_key_set(httpx2.get(servers.jwks_url).json())
    found = jwt.decode(token, keys, algorithms=["ES256"])
    assert found.header["typ"] == "at+jwt"
    assert found.claims["iss"] == servers.issuer_url
    assert found.claims["aud"] == "tandem"
    return found.claims


def ask(http: httpx2.Client, **form: str) -> httpx2.Response:
    return http.post("/token", data=form)


def test_a_house_and_an_operator_get_tokens_of_their_own(servers: Servers, http: httpx2.Client) -> None:
    def token(name: str) -> dict[str, Any]:
        answer = ask(http, grant_type="client_credentials", client_id=name, client_secret=servers.client_secret)
        return claims_of(servers, answer.json()["access_token"])

    house, operator = token("notifications"), token("operator")
    assert (house["role"], operator["role"]) == ("service", "operator")
    assert house["sub"] == token("notifications")["sub"] != operator["sub"]


def test_a_person_gets_a_token_that_says_who_they_are_and_where_they_work(
    servers: Servers, http: httpx2.Client
) -> None:
    person = {"sub": str(uuid4()), "role": "nurse", "clinics": "north south", "name": "Invented"}
    answer = ask(http, grant_type="urn:tandem:dev-person", client_secret=servers.client_secret, **person)
    found = claims_of(servers, answer.json()["access_token"])
    assert {name: found[name] for name in person} == {**person, "clinics": ["north", "south"]}
    assert found["exp"] - time.time() == pytest.approx(8 * 3600, abs=60)
    ended = ask(
        http, grant_type="urn:tandem:dev-person", client_secret=servers.client_secret, **person, lifetime_s="-60"
    )
    assert claims_of(servers, ended.json()["access_token"])["exp"] < time.time()


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        (
            {"grant_type": "client_credentials", "client_id": "patients", "client_secret": "guessed"},
            401,
            "invalid_client",
        ),
        ({"grant_type": "urn:tandem:dev-person", "client_secret": "guessed"}, 401, "invalid_client"),
        ({"grant_type": "urn:tandem:dev-person", "sub": "1", "role": "nurse"}, 400, "invalid_request"),
        ({"grant_type": "urn:tandem:dev-person", "sub": str(uuid4()), "role": "healer"}, 400, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "guessed"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_a_wrong_request_for_a_token_is_refused_by_name(
    servers: Servers, http: httpx2.Client, form: dict[str, str], status: int, error: str
) -> None:
    answer = ask(http, **{"client_secret": servers.client_secret, **form})
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_browser_signs_in_by_choosing_and_its_code_serves_once(servers: Servers, http: httpx2.Client) -> None:
    sub = str(uuid4())
    person = {"role": "prescriber", "clinics": ["north"], "name": "Invented <b>"}
    secret = {"Authorization": f"Bearer {servers.client_secret}"}
    assert http.put(f"/people/{sub}", json=person).status_code == 401
    assert http.put(f"/people/{sub}", json=person, headers=secret).status_code == 204
    assert "Invented &lt;b&gt;, prescriber" in http.get("/authorize", params=SIGN_IN).text

    def choose() -> str:
        back = http.post("/authorize", params=SIGN_IN, data={"sub": sub})
        assert back.status_code == 303
        assert back.headers["location"].startswith(SIGN_IN["redirect_uri"])
        query = parse_qs(urlsplit(back.headers["location"]).query)
        assert query["state"] == ["as it was"]
        return query["code"][0]

    bring = {"grant_type": "authorization_code", "client_id": "care_view", "redirect_uri": SIGN_IN["redirect_uri"]}
    assert ask(http, **bring, code=choose(), code_verifier="another").json()["error"] == "invalid_grant"
    code = choose()
    answer = ask(http, **bring, code=code, code_verifier=VERIFIER).json()
    assert claims_of(servers, answer["access_token"])["sub"] == sub
    assert "id_token" in answer
    assert ask(http, **bring, code=code, code_verifier=VERIFIER).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "wrong",
    [
        {"redirect_uri": "https://elsewhere.example/back"},
        {"redirect_uri": "not an address"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
    ],
)
def test_a_browser_that_could_leak_its_code_is_not_sent_back(http: httpx2.Client, wrong: dict[str, str]) -> None:
    answer = http.get("/authorize", params={**SIGN_IN, **wrong})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_mail_is_kept_as_it_was_sent_for_everybody_it_was_sent_to(servers: Servers) -> None:
    recipient, hidden = (f"{uuid4()}@example.org" for _ in range(2))
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "care@example.org", recipient, "Grüße"
    message["Message-ID"] = f"<{uuid4()}@example.org>"
    message.set_content("Zwölf Wörter.\n")
    with smtplib.SMTP(servers.smtp_host, servers.smtp_port) as sender:
        sender.send_message(message, to_addrs=[recipient, hidden])
    (kept,) = httpx2.get(servers.mailbox_url + "/messages", params={"to": hidden}).json()
    assert kept["to"] == [recipient, hidden]
    assert (kept["from"], kept["subject"], kept["message_id"]) == ("care@example.org", "Grüße", message["Message-ID"])
    assert kept["body"].split() == ["Zwölf", "Wörter."]
    later = httpx2.get(servers.mailbox_url + "/messages", params={"after": kept["order"]}).json()
    assert kept not in later
    assert httpx2.get(servers.mailbox_url + "/messages", params={"after": "yesterday"}).status_code == 400
