"""Care over HTTP, as somebody with curl would try it: the right things, and everything wrong."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from ops.clinic import person_id
from tests.support.houses import Houses, Staff, enrolment
from tests.support.servers import Servers

PATIENT = UUID("3f0c2a52-7d0e-4b53-9d2b-1f4de2b6a111")
STRANGER = UUID("3f0c2a52-7d0e-4b53-9d2b-1f4de2b6a222")
ORDER = UUID("3f0c2a52-7d0e-4b53-9d2b-1f4de2b6a333")
EPISODE = UUID("3f0c2a52-7d0e-4b53-9d2b-1f4de2b6a444")
PRESCRIPTION: Mapping[str, Any] = {
    "order_id": str(ORDER),
    "medication": "sertraline",
    "dose": {"amount": "50", "unit": "mg"},
    "schedule": {"times": 1},
    "route": "oral",
    "indication": "depression",
    "days_supply": 30,
    "refills": 2,
}


class Clinic:
    """The houses, and somebody at the keyboard."""

    def __init__(self, houses: Houses, staff: Staff) -> None:
        self.houses, self.staff = houses, staff

    async def post(
        self, house: str, path: str, body: object, who: tuple[str, str] = ("dr-e2e", "prescriber"), **options: Any
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north", key=options.pop("key", str(uuid4())))
        headers |= options.pop("headers", {})
        return await self.staff.http.post(f"{self.houses.address(house)}{path}", json=body, headers=headers, **options)

    async def get(
        self, house: str, path: str, who: tuple[str, str] = ("dr-e2e", "prescriber"), **options: Any
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north")
        return await self.staff.http.get(f"{self.houses.address(house)}{path}", headers=headers, **options)


CLERK, SUPERVISOR, THERAPIST = ("c-e2e", "clerk"), ("s-e2e", "supervisor"), ("t-e2e", "therapist")


@pytest.fixture(scope="module")
async def clinic(servers: Servers, prefix: str) -> AsyncIterator[Clinic]:
    houses = Houses(servers, f"{prefix}e2e_")
    try:
        for house in ("patients", "prescribing", "therapy", "scheduling", "care_view"):
            houses.start(house)
        async with httpx2.AsyncClient(timeout=30.0) as http:
            found = Clinic(houses, Staff(http, servers))
            await enrolled(found, PATIENT, 1, team=[("dr-e2e", "prescriber"), THERAPIST])
            await enrolled(found, STRANGER, 2, team=[])
            yield found
    finally:
        houses.stop()


async def enrolled(clinic: Clinic, patient: UUID, number: int, team: list[tuple[str, str]]) -> None:
    answer = await clinic.post("patients", "/patients", enrolment(patient, number), CLERK)
    assert answer.status_code == httpx2.codes.OK, answer.text
    for name, role in team:
        member = {"person": str(person_id(name)), "name": name, "role": role, "from_on": "2020-01-01"}
        answer = await clinic.post("patients", f"/patients/{patient}/care-team", member, SUPERVISOR)
        assert answer.status_code == httpx2.codes.OK, answer.text


def problem(answer: httpx2.Response, status: int, reason: str) -> dict[str, Any]:
    """The document of a refusal: its status, its stable reason, a sentence to act on."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    found: dict[str, Any] = answer.json()
    assert found["reason"] == reason, found
    assert found["status"] == status
    assert len(found["detail"]) > 20
    return found


async def test_enrol_prescribe_complete_a_session_and_read_the_care_view(clinic: Clinic) -> None:
    known = {"after": "patients:3"}
    prescribed = await clinic.post("prescribing", f"/patients/{PATIENT}/orders", PRESCRIPTION, params=known)
    assert prescribed.status_code == httpx2.codes.OK, prescribed.text
    episode = {"episode_id": str(EPISODE), "modality": "CBT", "planned_sessions": 12, "sessions_per_month": 4}
    started = await clinic.post("therapy", f"/patients/{PATIENT}/therapy-episodes", episode, THERAPIST, params=known)
    assert started.status_code == httpx2.codes.OK, started.text
    session = {
        "episode_id": str(EPISODE),
        "kind": "treatment",
        "started_at": "2026-01-12T09:00:00-05:00",
        "ended_at": "2026-01-12T09:50:00-05:00",
        "remote": False,
    }
    held = await clinic.post("therapy", f"/patients/{PATIENT}/sessions", session, THERAPIST)
    assert held.status_code == httpx2.codes.OK, held.text
    after = [prescribed.json()["position"], held.json()["position"]]
    view = await clinic.get("care_view", f"/patients/{PATIENT}", params={"after": after})
    assert view.status_code == httpx2.codes.OK, view.text
    assert "sertraline" in view.text
    assert "CBT" in view.text


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"dose": {"amount": "-50", "unit": "mg"}}, 422, "invalid_request"),
        ({"dose": {"amount": "50", "unit": "spoon"}}, 422, "invalid_request"),
        ({"dosage": 50}, 422, "invalid_request"),
        ({"medication": "sertralin"}, 409, "medication_unknown"),
        ({"dose": {"amount": "500", "unit": "mg"}}, 409, "above_label_maximum"),
    ],
    ids=["a negative dose", "an unknown unit", "an unknown field", "an unknown drug", "more than the label allows"],
)
async def test_wrong_input_is_refused_whole_and_says_what_to_do(
    clinic: Clinic, change: Mapping[str, Any], status: int, reason: str
) -> None:
    order = str(uuid4())
    wrong = {**PRESCRIPTION, "order_id": order, "medication": "fluoxetine", **change}
    answer = await clinic.post("prescribing", f"/patients/{PATIENT}/orders", wrong, params={"after": "patients:3"})
    problem(answer, status, reason)
    view = await clinic.get("care_view", f"/patients/{PATIENT}")
    assert order not in view.text  # Nothing is half-done.


async def test_a_request_without_a_token_is_told_how_to_get_one(clinic: Clinic) -> None:
    answer = await clinic.post(
        "prescribing", f"/patients/{PATIENT}/orders", PRESCRIPTION, headers={"Authorization": ""}
    )
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_command_needs_an_idempotency_key(clinic: Clinic) -> None:
    headers = await clinic.staff.headers("dr-e2e", "prescriber", "north")
    address = clinic.houses.address("prescribing")
    answer = await clinic.staff.http.post(f"{address}/patients/{PATIENT}/orders", json=PRESCRIPTION, headers=headers)
    problem(answer, 400, "idempotency_key_required")


async def test_a_key_serves_one_command_and_repeats_its_answer(clinic: Clinic) -> None:
    body = {"channel": "telephone", "reached": True, "risk_asked": True}
    path, key = f"/patients/{PATIENT}/contacts", str(uuid4())
    first = await clinic.post("scheduling", path, body, key=key, params={"after": "patients:3"})
    assert first.status_code == httpx2.codes.OK, first.text
    again = await clinic.post("scheduling", path, body, key=key, params={"after": "patients:3"})
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    other = await clinic.post("scheduling", path, {**body, "reached": False}, key=key, params={"after": "patients:3"})
    problem(other, 422, "idempotency_key_reused")


async def test_a_patient_who_is_not_ones_own_cannot_be_treated_or_seen(clinic: Clinic) -> None:
    order = await clinic.post(
        "prescribing", f"/patients/{STRANGER}/orders", PRESCRIPTION, params={"after": "patients:1"}
    )
    problem(order, 403, "not_on_care_team")
    look = await clinic.get("care_view", f"/patients/{STRANGER}", params={"after": "patients:1"})
    problem(look, 403, "not_on_care_team")


async def test_the_page_of_a_patient_reads_without_script(clinic: Clinic) -> None:
    page = await clinic.get("care_view", f"/patients/{PATIENT}", params={"after": "patients:3"})
    headers = {**page.request.headers, "accept": "text/html"}
    shown = await clinic.staff.http.get(str(page.request.url), headers=headers)
    assert shown.status_code == httpx2.codes.OK
    assert shown.headers["content-type"].startswith("text/html")
    assert "<script" not in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
