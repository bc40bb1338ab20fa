"""Patients as a process of its own, asked over HTTP, on a real Kafka and PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from ops.clinic import person_id
from tests.support.houses import Houses, Staff, enrolment
from tests.support.servers import Servers

CLERK, SUPERVISOR = ("c-pat", "clerk"), ("s-pat", "supervisor")
THERAPIST, PRESCRIBER = ("t-pat", "therapist"), ("dr-pat", "prescriber")
SENDER = ("sender-pat", "service")
MAY_SEND = {"channel": "email", "purpose": "appointment_reminder"}
ROUNDS = 20

ALLERGY = {"kind": "allergy", "substance": "Penicillin", "reaction": "hives", "severity": "moderate"}
EMAIL = {"channel": "email", "address": "Ana@Example.org", "preferred": True}
CONSENT = {
    "scope": "email",
    "address": "Ana@example.org",
    "purposes": ["appointment_reminder"],
    "wording_version": "2026-01",
    "how": "paper",
}


@dataclass
class Clinic:
    """The house, and people who ask it."""

    house: str
    staff: Staff
    database: asyncpg.Connection

    async def post(
        self, path: str, body: object, who: tuple[str, str] = CLERK, clinic: str = "north", key: str = ""
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, clinic, key=key or str(uuid4()))
        return await self.staff.http.post(self.house + path, json=body, headers=headers)

    async def may_send(self, patient: UUID, who: tuple[str, str] = SENDER, **asked: str) -> httpx2.Response:
        headers = await self.staff.headers(*who)
        address = f"{self.house}/patients/{patient}/may-send"
        return await self.staff.http.get(address, params=MAY_SEND | asked, headers=headers)

    async def enrol(self) -> UUID:
        """A patient with a therapist and a prescriber on the team."""
        patient = uuid4()
        accepted(await self.post("/patients", enrolment(patient, 1)))
        for name, role in (THERAPIST, PRESCRIBER):
            member = {"person": str(person_id(name)), "name": name, "role": role}
            accepted(await self.post(f"/patients/{patient}/care-team", member, SUPERVISOR))
        return patient

    async def facts(self, patient: UUID) -> list[str]:
        """The names of a patient's facts, as the tables have them."""
        rows = await self.database.fetch(
            "SELECT headers ->> 'ce_type' FROM event WHERE stream = $1 ORDER BY sequence", str(patient)
        )
        return [kind for (kind,) in rows]

    async def access_facts(self, who: tuple[str, str], patient: UUID) -> list[tuple[str, str]]:
        """What is on record of one person's looking at one patient: the fact, and what it was about."""
        rows = await self.database.fetch(
            "SELECT headers ->> 'ce_type', value FROM event WHERE stream = $1 ORDER BY sequence",
            f"access/{person_id(who[0])}",
        )
        found = [(kind, json.loads(value)) for kind, value in rows]
        return [(kind, value["what"]) for kind, value in found if str(patient) in value["patients"]]


@pytest.fixture(scope="module")
async def clinic(servers: Servers, prefix: str) -> AsyncIterator[Clinic]:
    houses = Houses(servers, f"{prefix}pt_")
    try:
        address = houses.start("patients")
        url = servers.database_url.replace("+asyncpg", "").rpartition("/")[0]
        database = await asyncpg.connect(f"{url}/{houses.prefix}patients")
        async with httpx2.AsyncClient(timeout=30.0) as http:
            yield Clinic(address, Staff(http, servers), database)
        await database.close()
    finally:
        houses.stop()


@pytest.fixture
async def patient(clinic: Clinic) -> UUID:
    return await clinic.enrol()


def accepted(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == httpx2.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx2.Response, status: int, reason: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["reason"] == reason, found
    return found


async def test_all_that_may_be_told_of_a_patient_is_told_and_telling_it_again_changes_nothing(clinic: Clinic) -> None:
    patient, allergy, condition, email, consent = (uuid4() for _ in range(5))
    one = f"/patients/{patient}"
    member = {"person": str(person_id(THERAPIST[0])), "name": "Dr Lee", "role": "therapist"}
    prescriber = {"person": str(person_id(PRESCRIBER[0])), "name": "Dr Order", "role": "prescriber"}
    approach = {"approach": "combined", "reason": "Both wished for.", "decided_together": True}
    depression = {"condition_id": str(condition), "icd10cm": "F33.1", "label": "Depression", "onset_on": "2024-01-10"}
    told: list[tuple[str, object, tuple[str, str], str]] = [
        ("/patients", enrolment(patient, 2), CLERK, "patient-enrolled"),
        (f"{one}/care-team", member, SUPERVISOR, "care-team-member-assigned"),
        (f"{one}/care-team", prescriber, SUPERVISOR, "care-team-member-assigned"),
        (f"{one}/allergies", {"allergy_id": str(allergy), **ALLERGY}, CLERK, "allergy-recorded"),
        (f"{one}/allergies/{allergy}/refutation", {"reason": "Tolerated."}, PRESCRIBER, "allergy-refuted"),
        (f"{one}/conditions", depression, THERAPIST, "condition-recorded"),
        (f"{one}/conditions/{condition}/resolution", {"resolved_on": "2025-01-10"}, THERAPIST, "condition-resolved"),
        (f"{one}/contact-points", {"contact_point_id": str(email), **EMAIL}, CLERK, "contact-point-set"),
        (f"{one}/consents", {"consent_id": str(consent), **CONSENT}, CLERK, "consent-granted"),
        (f"{one}/treatment-approach", approach, THERAPIST, "treatment-approach-chosen"),
        (f"{one}/consents/{consent}/withdrawal", {"how": "telephone"}, CLERK, "consent-withdrawn"),
        (f"{one}/contact-points/{email}/removal", {}, CLERK, "contact-point-removed"),
        (
            f"{one}/care-team/release",
            {**leaving(PRESCRIBER), "reason": "Moved."},
            SUPERVISOR,
            "care-team-member-released",
        ),
    ]
    for nth, (path, body, who, fact) in enumerate(told, 1):
        reply = accepted(await clinic.post(path, body, who))
        assert reply["position"] == f"patients:{nth}"
        assert [each["type"] for each in reply["facts"]] == [f"patients.{fact}.v1"]
        again = accepted(await clinic.post(path, body, who))
        assert again == {"position": f"patients:{nth}", "facts": []}
    assert await clinic.facts(patient) == [f"patients.{fact}.v1" for *_, fact in told]


def leaving(who: tuple[str, str]) -> dict[str, str]:
    return {"person": str(person_id(who[0])), "role": who[1]}


async def test_an_enrolment_without_an_id_gets_one_and_a_repeat_of_the_request_the_same_reply(clinic: Clinic) -> None:
    body = {name: value for name, value in enrolment(uuid4(), 3).items() if name != "patient_id"}
    first = await clinic.post("/patients", body, key="enrol-3")
    again = await clinic.post("/patients", body, key="enrol-3")
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    patient = accepted(first)["facts"][0]["subject"].removeprefix("patient/")
    assert await clinic.facts(UUID(patient)) == ["patients.patient-enrolled.v1"]
    other = await clinic.post("/patients", {**body, "given_name": "Eva"}, key="enrol-3")
    refused(other, 422, "idempotency_key_reused")


async def test_wrong_input_is_answered_with_what_to_do_and_nothing_is_half_done(clinic: Clinic, patient: UUID) -> None:
    before = await clinic.facts(patient)
    one = f"/patients/{patient}"
    problem = refused(
        await clinic.post(f"{one}/allergies", {**ALLERGY, "severity": "bad", "since": 1}), 422, "invalid_request"
    )
    assert [error["field"] for error in problem["errors"]] == ["body.severity", "body.since"]
    assert "bad" not in json.dumps(problem)
    refused(await clinic.post(f"{one}/contact-points", {**EMAIL, "address": "ana@"}), 409, "not_an_email_address")
    refused(await clinic.post(f"{one}/consents", {**CONSENT, "purposes": []}), 409, "consent_incomplete")
    refused(await clinic.post(f"{one}/contact-points/{uuid4()}/removal", {}), 409, "contact_point_unknown")
    refused(
        await clinic.post(f"{one}/allergies/{uuid4()}/refutation", {"reason": "x"}, PRESCRIBER), 409, "allergy_unknown"
    )
    stranger = enrolment(uuid4(), 4)
    refused(await clinic.post("/patients", {**stranger, "birth_date": "2999-01-01"}), 409, "birth_date_in_future")
    refused(await clinic.post("/patients", {**stranger, "time_zone": "Europe/Gotham"}), 409, "time_zone_unknown")
    assert await clinic.facts(patient) == before
    assert await clinic.facts(UUID(str(stranger["patient_id"]))) == []


async def test_who_may_not_is_refused_and_the_refusal_is_on_record(clinic: Clinic, patient: UUID) -> None:
    one = f"/patients/{patient}"
    stranger = ("t-stranger", "therapist")
    approach = {"approach": "combined", "reason": "x", "decided_together": True}
    refused(await clinic.post(f"{one}/treatment-approach", approach, stranger), 403, "not_on_care_team")
    refused(await clinic.post(f"{one}/allergies", ALLERGY, ("c-south", "clerk"), clinic="south"), 403, "other_clinic")
    refused(await clinic.post(f"{one}/treatment-approach", approach, CLERK), 403, "role_not_permitted")
    refused(await clinic.may_send(patient, CLERK), 403, "role_not_permitted")
    refused(await clinic.post(f"/patients/{uuid4()}/allergies", ALLERGY), 403, "unknown_patient")
    refusal = "access.access-refused.v1"
    assert await clinic.access_facts(stranger, patient) == [(refusal, "patients.choose-treatment-approach")]
    assert await clinic.access_facts(("c-south", "clerk"), patient) == [(refusal, "patients.record-allergy")]


async def test_who_leaves_the_team_is_refused_from_the_next_request_on(clinic: Clinic, patient: UUID) -> None:
    path = f"/patients/{patient}/treatment-approach"
    accepted(await clinic.post(path, {"approach": "combined", "reason": "x", "decided_together": True}, THERAPIST))
    body = {**leaving(THERAPIST), "reason": "Moved."}
    accepted(await clinic.post(f"/patients/{patient}/care-team/release", body, SUPERVISOR))
    change = {"approach": "medication", "reason": "x", "decided_together": True}
    refused(await clinic.post(path, change, THERAPIST), 403, "not_on_care_team")


async def test_a_message_may_leave_only_under_consent_and_no_longer_once_it_is_withdrawn(
    clinic: Clinic, patient: UUID
) -> None:
    nobody = dict.fromkeys(("address", "given_name", "language", "time_zone", "privacy_level"))
    one, consent = f"/patients/{patient}", uuid4()
    accepted(await clinic.post(f"{one}/consents", {"consent_id": str(consent), **CONSENT}))
    nowhere = accepted(await clinic.may_send(patient))
    assert nowhere == {"allowed": False, "reason": "no_preferred_contact_point", **nobody}
    accepted(await clinic.post(f"{one}/contact-points", EMAIL))
    assert accepted(await clinic.may_send(patient)) == {
        "allowed": True,
        "reason": "consent_in_force",
        "address": "Ana@example.org",
        "given_name": "Invented",
        "language": "en",
        "time_zone": "America/New_York",
        "privacy_level": "low_detail",
    }
    survey = accepted(await clinic.may_send(patient, purpose="survey"))
    assert survey == {"allowed": False, "reason": "no_consent_for_this_purpose", **nobody}
    accepted(await clinic.post(f"{one}/consents/{consent}/withdrawal", {"how": "reply"}))
    withdrawn = accepted(await clinic.may_send(patient))
    assert withdrawn == {"allowed": False, "reason": "no_consent", **nobody}
    read = ("access.record-read.v1", "patients.may-send")
    assert await clinic.access_facts(SENDER, patient) == [read] * 4


async def test_no_message_may_leave_to_somebody_whom_nobody_enrolled(clinic: Clinic) -> None:
    found = accepted(await clinic.may_send(uuid4()))
    assert (found["allowed"], found["reason"]) == (False, "patient_not_enrolled")


async def test_a_question_that_nobody_understands_is_refused(clinic: Clinic, patient: UUID) -> None:
    refused(await clinic.may_send(patient, channel="pigeon"), 422, "invalid_request")


async def test_of_two_people_enrolled_under_one_id_at_one_moment_one_is_refused(clinic: Clinic) -> None:
    for nth in range(ROUNDS):
        patient = uuid4()
        body = enrolment(patient, 100 + nth)
        both = await asyncio.gather(
            clinic.post("/patients", body), clinic.post("/patients", {**body, "given_name": "Other"})
        )
        assert sorted(answer.status_code for answer in both) == [200, 409]
        refused(next(answer for answer in both if answer.is_error), 409, "patient_already_enrolled")
        assert await clinic.facts(patient) == ["patients.patient-enrolled.v1"]


async def test_each_address_is_preferred_alone_however_many_are_set_at_one_moment(
    clinic: Clinic, patient: UUID
) -> None:
    answers = await asyncio.gather(
        *(
            clinic.post(f"/patients/{patient}/contact-points", {**EMAIL, "address": f"ana{nth}@example.org"})
            for nth in range(8)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    rows = await clinic.database.fetch(
        "SELECT value FROM event WHERE stream = $1 AND headers ->> 'ce_type' = 'patients.contact-point-set.v1'"
        " ORDER BY sequence",
        str(patient),
    )
    last_said = {fact["contact_point_id"]: fact["preferred"] for (value,) in rows for fact in [json.loads(value)]}
    assert len(last_said) == 8
    assert sum(last_said.values()) == 1
