"""A command over HTTP, on real servers: what is accepted, once; what is refused, and in which words."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.access import Stale
from chassis.commanding import Busy
from chassis.database import create_engine, house_url
from chassis.documents import NotLive
from chassis.identity import KeysUnavailable
from chassis.logs import configure
from chassis.position import Position
from ops.clinic import person_id
from tests.support.desk import Desk, patients, serving, settings_of
from tests.support.houses import Staff, enrolment
from tests.support.servers import Servers

NURSE, CLERK, SUPERVISOR = ("n-desk", "nurse"), ("c-desk", "clerk"), ("s-desk", "supervisor")
CONTACT = {"channel": "telephone", "reached": True, "risk_asked": True, "minutes": 5}
SECRET = "amaranth"  # Stands for anything that somebody may have written about a patient.
RAISED = {
    "busy": Busy(),
    "stale": Stale(),
    "not_live": NotLive(SECRET),
    "keys": KeysUnavailable(),
    "fault": ValueError(SECRET),
    "away": ConnectionResetError(SECRET),
}


@dataclass
class Front:
    """A front desk, the patients' house beside it, and staff."""

    desk: httpx2.AsyncClient
    patients: httpx2.AsyncClient
    staff: Staff
    engine: AsyncEngine
    asked: list[tuple[str, Position]]
    """What the house was asked to have noted of therapy's facts, of which it has noted nine."""

    async def post(
        self,
        patient: UUID | str,
        body: object = CONTACT,
        *,
        who: tuple[str, str] = NURSE,
        key: str | None = None,
        contact: object = "",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        told = await self.staff.headers(*who, "north", key=str(uuid4()) if key is None else key)
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        address = f"/patients/{patient}/contacts{f'/{contact}' if contact else ''}"
        return await self.desk.post(address, headers={**told, **(headers or {})}, **content, **options)

    async def facts(self, stream: str) -> list[Mapping[str, str]]:
        """The attributes of a stream's facts, in order."""
        async with self.engine.connect() as session:
            rows = await session.execute(
                text("SELECT headers FROM event WHERE stream = :stream ORDER BY sequence"), {"stream": stream}
            )
            return [json.loads(row.headers) if isinstance(row.headers, str) else row.headers for row in rows]


async def refuse(kind: str) -> None:
    raise RAISED[kind]


@pytest.fixture(scope="module")
async def front(servers: Servers, prefix: str) -> AsyncIterator[Front]:
    raising = APIRouter()
    raising.add_api_route("/raise/{kind}", refuse)
    asked: list[tuple[str, Position]] = []

    async def noted(key: str, position: Position) -> bool:
        asked.append((key, position))
        return position.sequence < 10

    settings = settings_of(servers, f"{prefix}desk_")
    engine = create_engine(house_url(servers.database_url, f"{prefix}desk_", "scheduling"), application="test")
    async with AsyncExitStack() as ending:
        beside = await ending.enter_async_context(serving(patients(settings)))
        desk = await ending.enter_async_context(serving(Desk({"therapy": noted}, extra=[raising]).wire(settings)))
        http = await ending.enter_async_context(httpx2.AsyncClient())
        ending.push_async_callback(engine.dispose)
        yield Front(desk, beside, Staff(http, servers), engine, asked)


@pytest.fixture(scope="module")
async def patient(front: Front) -> UUID:
    """Enrolled, with the nurse on the team; both in the desk's copy."""
    patient = uuid4()
    clerk = await front.staff.headers(*CLERK, "north", key=str(uuid4()))
    assert (await front.patients.post("/patients", json=enrolment(patient, 1), headers=clerk)).status_code == 200
    member = {
        "person": str(person_id("n-desk")),
        "name": "N",
        "role": "nurse",
        "clinic": "north",
        "from_on": "2020-01-01",
    }
    supervisor = await front.staff.headers(*SUPERVISOR, "north", key=str(uuid4()))
    joined = await front.patients.post(f"/patients/{patient}/care-team", json=member, headers=supervisor)
    after = joined.json()["position"]
    assert (await front.post(patient, params={"after": after})).status_code == 200
    return patient


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged from here on."""
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        configure("scheduling")
        assert isinstance(sys.stdout, io.StringIO)
        yield sys.stdout
    finally:
        sys.stdout = before
        configure("scheduling")


def is_problem(answer: httpx2.Response, status: int, reason: str) -> dict[str, Any]:
    """Asserts that the answer is a whole problem document; returns it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, Any] = answer.json()
    assert (document["status"], document["reason"]) == (status, reason)
    assert document["type"].endswith(f"/problems/{reason}")
    assert document["detail"].endswith(".")
    assert document["title"]
    assert document["instance"] == f"urn:uuid:{answer.headers['tandem-correlation-id']}"
    return document


async def test_a_command_is_answered_with_its_position_and_facts(front: Front, patient: UUID) -> None:
    contact = uuid4()
    answer = await front.post(patient, {**CONTACT, "contact_id": str(contact)})
    assert answer.status_code == 200
    (fact,) = answer.json()["facts"]
    assert answer.json()["position"] == f"scheduling:{fact['sequence']}"
    assert (fact["type"], fact["subject"]) == ("scheduling.contact-made.v1", f"contact/{contact}")
    assert (await front.facts(str(patient)))[-1]["ce_id"] == fact["id"]


async def test_a_fact_tells_who_asked_why_and_when_it_happened(front: Front, patient: UUID) -> None:
    thread, at = uuid4(), datetime.now(UTC) - timedelta(days=1)
    told = {
        "Tandem-Correlation-Id": str(thread),
        "Tandem-Occurred-At": at.isoformat(),
        "Tandem-Reason": "ETREAT",
        "Tandem-On-Behalf-Of": "dr-away",
    }
    answer = await front.post(patient, headers=told)
    assert answer.headers["tandem-correlation-id"] == str(thread)
    fact = (await front.facts(str(patient)))[-1]
    assert (fact["ce_actor"], fact["ce_actorrole"]) == (str(person_id("n-desk")), "nurse")
    assert (fact["ce_reason"], fact["ce_onbehalfof"], fact["ce_correlationid"]) == ("ETREAT", "dr-away", str(thread))
    assert datetime.fromisoformat(fact["ce_time"]) == at
    assert fact["ce_time"] < fact["ce_recordedtime"]


async def test_the_same_request_again_gets_the_same_bytes_and_happens_once(front: Front, patient: UUID) -> None:
    key, before = str(uuid4()), len(await front.facts(str(patient)))
    answers = await asyncio.gather(*(front.post(patient, key=key) for _ in range(8)))
    other_form = json.dumps(dict(reversed(CONTACT.items())), indent=3).encode()
    answers.append(await front.post(patient, other_form, key=key, headers={"Content-Type": "application/json"}))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == ["", *["true"] * 8]
    assert len(await front.facts(str(patient))) == before + 1


async def test_a_used_key_with_another_content_is_refused(front: Front, patient: UUID) -> None:
    key = str(uuid4())
    assert (await front.post(patient, key=key)).status_code == 200
    for changed in ({"minutes": 6}, {"minutes": None}):
        is_problem(await front.post(patient, {**CONTACT, **changed}, key=key), 422, "idempotency_key_reused")
    earlier = {"Tandem-Occurred-At": "2026-01-01T00:00:00Z"}
    is_problem(await front.post(patient, key=key, headers=earlier), 422, "idempotency_key_reused")


async def test_asked_again_after_the_reply_was_forgotten_nothing_happens_twice(front: Front, patient: UUID) -> None:
    key = str(uuid4())
    first = await front.post(patient, key=key)
    async with front.engine.begin() as session:
        await session.execute(text("DELETE FROM command"))
    again = await front.post(patient, key=key)
    assert (again.status_code, again.json()["facts"]) == (200, [])
    assert (
        len([fact for fact in await front.facts(str(patient)) if fact["ce_id"] == first.json()["facts"][0]["id"]]) == 1
    )


@pytest.mark.parametrize("key", ["", "k" * 201, "with space", "ü"])
async def test_a_command_needs_a_key(front: Front, patient: UUID, key: str) -> None:
    given = {"Idempotency-Key": key.encode()} if key else {}
    answer = await front.post(patient, key="", headers=given)  # type: ignore[arg-type]
    assert "UUID" in is_problem(answer, 400, "idempotency_key_required")["detail"]


async def test_a_refused_decision_says_why_in_the_deciders_words(front: Front, patient: UUID) -> None:
    contact = str(uuid4())
    await front.post(patient, {**CONTACT, "contact_id": contact})
    document = is_problem(
        await front.post(patient, {**CONTACT, "contact_id": contact, "minutes": 9}), 409, "contact_id_already_used"
    )
    assert (document["detail"], document["details"]) == ("Choose a new id.", {"contact_id": contact})


async def test_what_stands_in_the_path_is_part_of_the_command_and_may_not_contradict_it(
    front: Front, patient: UUID
) -> None:
    who = ("c-desk", "clerk")  # May book at the patient's clinic.
    contact = uuid4()
    answer = await front.post(patient, who=who, contact=contact)
    assert answer.json()["facts"][0]["subject"] == f"contact/{contact}"
    same = await front.post(patient, {**CONTACT, "contact_id": str(contact).upper()}, who=who, contact=contact)
    assert (same.status_code, same.json()["facts"]) == (200, [])
    other = await front.post(patient, {**CONTACT, "contact_id": str(uuid4())}, who=who, contact=contact)
    is_problem(other, 422, "path_and_body_differ")
    no_id = is_problem(await front.post(patient, who=who, contact="7"), 422, "invalid_request")
    assert [error["field"] for error in no_id["errors"]] == ["body.contact_id"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"reached": NaN}',
        b'{"channel": "video", "channel": "message"}',
        b"[" * 100_000,
        b'{"minutes": ' + b"9" * 5_000 + b"}",
        b"\xff",
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
async def test_what_is_not_one_json_object_is_refused(front: Front, patient: UUID, body: bytes) -> None:
    answer = await front.post(patient, body, headers={"Content-Type": "application/json"})
    is_problem(answer, 400, "malformed_json")


async def test_a_body_of_another_kind_is_refused(front: Front, patient: UUID) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        answer = await front.post(patient, json.dumps(CONTACT).encode(), headers={"Content-Type": kind})
        is_problem(answer, 415, "json_expected")


async def test_a_body_that_is_too_long_is_refused_declared_or_not(front: Front, patient: UUID) -> None:
    big = json.dumps({**CONTACT, "channel": "x" * 1_100_000}).encode()
    is_problem(await front.post(patient, big, headers={"Content-Type": "application/json"}), 413, "body_too_long")

    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    headers = {**await front.staff.headers(*NURSE, "north", key="k"), "Content-Type": "application/json"}
    answer = await front.desk.post(f"/patients/{patient}/contacts", content=in_parts(), headers=headers)
    is_problem(answer, 413, "body_too_long")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"minutes": -1}, "minutes"),
        ({"minutes": SECRET}, "minutes"),
        ({"channel": SECRET}, "channel"),
        ({"contact_id": SECRET}, "contact_id"),
        ({"reached": {SECRET: SECRET}}, "reached"),
        ({"surprise": SECRET}, "surprise"),
    ],
)
async def test_wrong_input_is_named_by_its_field_and_never_quoted(
    front: Front, patient: UUID, logged: io.StringIO, changed: dict[str, object], field: str
) -> None:
    before = len(await front.facts(str(patient)))
    answer = await front.post(patient, {**CONTACT, **changed})
    document = is_problem(answer, 422, "invalid_request")
    assert [error["field"] for error in document["errors"]] == [f"body.{field}"]
    assert document["errors"][0]["expected"]
    assert SECRET not in answer.text + logged.getvalue()
    assert len(await front.facts(str(patient))) == before


async def test_what_has_not_happened_yet_is_not_recorded(front: Front, patient: UUID) -> None:
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    is_problem(await front.post(patient, headers={"Tandem-Occurred-At": later}), 422, "occurs_in_the_future")
    for wrong in ("2026-01-01T00:00:00", "yesterday"):
        document = is_problem(await front.post(patient, headers={"Tandem-Occurred-At": wrong}), 422, "invalid_request")
        assert document["errors"][0]["field"] == "header.Tandem-Occurred-At"


async def test_addresses_and_methods_that_do_not_exist_are_refused_in_the_same_form(front: Front) -> None:
    is_problem(await front.desk.get("/nothing"), 404, "no_such_address")
    wrong = await front.desk.delete(f"/patients/{uuid4()}/contacts")
    is_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    is_problem(await front.desk.get(f"/patients/{uuid4()}/contacts/"), 404, "no_such_address")
    is_problem(await front.post("7"), 422, "invalid_request")


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("busy", 503, "busy"),
        ("stale", 503, "access_copy_stale"),
        ("not_live", 503, "view_not_live"),
        ("keys", 503, "identity_unavailable"),
        ("away", 503, "unavailable"),
        ("fault", 500, "internal_error"),
    ],
)
async def test_what_goes_wrong_here_is_told_without_its_text(
    front: Front, logged: io.StringIO, kind: str, status: int, reason: str
) -> None:
    answer = await front.desk.get(f"/raise/{kind}")
    is_problem(answer, status, reason)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert SECRET not in answer.text + logged.getvalue()
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert {line["correlation_id"] for line in lines} == {answer.headers["tandem-correlation-id"]}
    if kind == "fault":
        (failed,) = [line for line in lines if line["event"] == "request_failed"]
        assert failed["error"] == "builtins.ValueError"


async def test_a_request_is_logged_without_its_ids_query_and_body(
    front: Front, patient: UUID, logged: io.StringIO
) -> None:
    await front.desk.get(f"/patients/{SECRET}/{SECRET}", params={"name": SECRET})
    await front.post(patient, params={"name": SECRET})
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [line["route"] for line in lines] == ["unmatched", "/patients/{patient_id}/contacts"]
    assert lines[-1]["stream"] == str(patient)
    assert lines[-1]["service"] == "scheduling"
    assert SECRET not in logged.getvalue()


async def test_nobody_gets_in_without_a_token_and_nothing_is_recorded(front: Front, patient: UUID) -> None:
    async with front.engine.connect() as session:
        before = (await session.execute(text("SELECT count(*) FROM event"))).scalar_one()
    for wrong in ("", "Basic eDp5", "Bearer", "Bearer x.y.z", "Bearer " + "x" * 10_000):
        answer = await front.post(patient, headers={"Authorization": wrong})
        is_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    async with front.engine.connect() as session:
        assert (await session.execute(text("SELECT count(*) FROM event"))).scalar_one() == before


async def test_a_cookie_lets_a_browser_look_but_never_act(front: Front, patient: UUID) -> None:
    token = (await front.staff.headers("op", "operator"))["Authorization"].removeprefix("Bearer ")
    cookie = {"Cookie": f"tandem_token={token}"}
    assert (await front.desk.get("/settled", headers=cookie)).status_code == 200
    acting = await front.desk.put("/clock", json={"now": "2030-01-01T00:00:00Z"}, headers=cookie)
    is_problem(acting, 401, "unauthenticated")
    is_problem(await front.post(patient, headers={"Authorization": "", **cookie}), 401, "unauthenticated")


async def test_browsers_are_told_not_to_run_keep_or_frame_an_answer(front: Front) -> None:
    for answer in (
        await front.desk.get("/live"),
        await front.desk.get("/nothing"),
        await front.desk.get("/raise/fault"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        UUID(answer.headers["tandem-correlation-id"])


async def test_a_correlation_id_that_is_none_is_replaced(front: Front) -> None:
    answer = await front.desk.get("/live", headers={"Tandem-Correlation-Id": SECRET})
    assert UUID(answer.headers["tandem-correlation-id"])


@pytest.mark.parametrize(
    "after", ["scheduling", "scheduling:00", "scheduling:01", "scheduling:-1", "kitchen:1", "patients:1 "]
)
async def test_a_position_is_read_strictly(front: Front, patient: UUID, after: str) -> None:
    document = is_problem(await front.post(patient, params={"after": after}), 422, "invalid_request")
    assert document["errors"][0]["field"].startswith("query.after")


async def test_a_command_waits_until_this_house_has_noted_what_it_names(front: Front, patient: UUID) -> None:
    here = (await front.post(patient)).json()["position"]
    answer = await front.post(patient, params={"after": ["patients:2", "therapy:3", here]})
    assert answer.status_code == 200
    assert front.asked == [(str(patient), Position("therapy", 3))]
    too_far = f"scheduling:{int(here.partition(':')[2]) + 1_000}"
    for after in ("therapy:10", too_far):
        document = is_problem(await front.post(patient, params={"after": after}), 409, "not_yet_known")
        assert after in document["detail"]
    is_problem(await front.post(patient, params={"after": "audit:1"}), 422, "never_known_here")


async def test_the_description_tells_commands_problems_and_how_to_sign_in(front: Front) -> None:
    description = (await front.desk.get("/openapi.json")).json()
    assert description["openapi"].startswith("3.1")
    command = description["paths"]["/patients/{patient_id}/contacts/{contact_id}"]["post"]
    body = command["requestBody"]["content"]["application/json"]["schema"]
    assert "contact_id" not in body["properties"]
    assert sorted(body["required"]) == ["channel", "reached"]
    assert body["additionalProperties"] is False
    assert {"400", "401", "403", "409", "413", "415", "422", "503"} <= set(command["responses"])
    assert all("application/problem+json" in command["responses"][status]["content"] for status in ("409", "422"))
    required = {(one["in"], one["name"]) for one in command["parameters"] if one["required"]}
    assert required == {("path", "patient_id"), ("path", "contact_id"), ("header", "Idempotency-Key")}
    assert command["security"]
    named = [f"#/components/schemas/{name}" for name in description.get("components", {}).get("schemas", {})]
    assert set(references(description)) <= set(named)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
        for value in part.values():
            yield from references(value)
    if isinstance(part, list):
        for value in part:
            yield from references(value)
