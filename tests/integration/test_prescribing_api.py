"""Prescribing as a process of its own, asked over HTTP, with patients beside it on a real Kafka and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from ops.clinic import person_id
from tests.support.houses import Houses, Staff, enrolment
from tests.support.servers import Servers

ROUNDS = 200
PRESCRIBER, NURSE = ("dr-order", "prescriber"), ("n-order", "nurse")
CLERK, SUPERVISOR = ("c-order", "clerk"), ("s-order", "supervisor")
KNOWN = {"after": "patients:3"}  # Enrolled, and both of the team assigned.
NUMBERS = count(1)


@dataclass
class Clinic:
    """Two houses, and people who ask."""

    houses: Houses
    staff: Staff

    async def post(
        self, house: str, path: str, body: object, who: tuple[str, str] = PRESCRIBER, **options: Any
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north", key=options.pop("key", str(uuid4())))
        return await self.staff.http.post(f"{self.houses.address(house)}{path}", json=body, headers=headers, **options)

    async def order(self, patient: UUID, body: object, **options: Any) -> httpx2.Response:
        return await self.post("prescribing", f"/patients/{patient}/orders", body, params=KNOWN, **options)

    async def enrol(self) -> UUID:
        """A patient of thirty-five, with a prescriber and a nurse on the team."""
        patient = uuid4()
        accepted(await self.post("patients", "/patients", enrolment(patient, next(NUMBERS)), CLERK))
        for name, role in (PRESCRIBER, NURSE):
            member = {"person": str(person_id(name)), "name": name, "role": role, "from_on": "2020-01-01"}
            accepted(await self.post("patients", f"/patients/{patient}/care-team", member, SUPERVISOR))
        return patient


@pytest.fixture(scope="module")
async def clinic(servers: Servers, prefix: str) -> AsyncIterator[Clinic]:
    houses = Houses(servers, f"{prefix}rx_")
    try:
        houses.start("patients")
        houses.start("prescribing")
        async with httpx2.AsyncClient(timeout=30.0) as http:
            yield Clinic(houses, Staff(http, servers))
    finally:
        houses.stop()


@pytest.fixture
async def patient(clinic: Clinic) -> UUID:
    return await clinic.enrol()


def prescription(drug: str = "sertraline", amount: str = "50", **other: object) -> dict[str, object]:
    return {
        "order_id": str(uuid4()),
        "medication": drug,
        "dose": {"amount": amount, "unit": "mg"},
        "schedule": {"times": 1},
        "route": "oral",
        "indication": "Major depression",
        "days_supply": 30,
        "refills": 1,
        **other,
    }


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


def sequence(reply: Mapping[str, Any]) -> int:
    house, _, number = str(reply["position"]).partition(":")
    assert house == "prescribing"
    return int(number)


def day_of(answer: httpx2.Response) -> str:
    """The server's day, by the reply's own date."""
    return parsedate_to_datetime(answer.headers["date"]).date().isoformat()


async def test_an_order_lives_from_its_prescription_to_its_end(clinic: Clinic, patient: UUID) -> None:
    answer = await clinic.order(patient, prescription())
    first = accepted(answer)
    (fact,) = first["facts"]
    assert fact["type"] == "prescribing.dose-prescribed.v1"
    order = fact["subject"].removeprefix("medication-order/")
    at = f"/patients/{patient}/orders/{order}"
    change = {"dose": {"amount": 100, "unit": "mg"}, "schedule": {"times": 1}, "reason": "response"}
    raised = accepted(await clinic.post("prescribing", f"{at}/adjustments", change))
    review = {
        "contact": "in_person",
        "orders": [{"order_id": order, "decision": "stop"}],
        "effectiveness": "good",
        "tolerability": "good",
        "risk_asked": True,
        "risk_clinically_important": False,
    }
    reviewed = accepted(await clinic.post("prescribing", f"/patients/{patient}/medication-reviews", review, NURSE))
    end = {"last_dose_on": day_of(answer), "reason": "remission"}
    ended = accepted(await clinic.post("prescribing", f"{at}/discontinuation", end))
    types = [each["facts"][0]["type"] for each in (raised, reviewed, ended)]
    assert types == [
        "prescribing.dose-adjusted.v1",
        "prescribing.medication-review-completed.v1",
        "prescribing.medication-discontinued.v1",
    ]
    steps = [sequence(each) for each in (first, raised, reviewed, ended)]
    assert steps == list(range(steps[0], steps[0] + 4))


async def test_an_allergy_that_patients_recorded_stops_the_order_that_names_it(clinic: Clinic, patient: UUID) -> None:
    allergy = {
        "kind": "allergy",
        "substance": "Zoloft",
        "reaction": "Rash",
        "severity": "severe",
    }
    recorded = accepted(await clinic.post("patients", f"/patients/{patient}/allergies", allergy))
    seen = {"after": recorded["position"]}
    path = f"/patients/{patient}/orders"
    problem = refused(await clinic.post("prescribing", path, prescription(), params=seen), 409, "allergy_on_record")
    assert problem["details"]["rules"] == ["ALLERGY"]
    reason = {"rule_id": "ALLERGY", "reason_code": "not_an_allergy", "text": "The rash was from something else."}
    reply = accepted(await clinic.post("prescribing", path, prescription(overrides=[reason]), params=seen))
    assert [each["type"] for each in reply["facts"]] == [
        "prescribing.dose-prescribed.v1",
        "prescribing.warning-overridden.v1",
    ]


@pytest.mark.parametrize(
    ("change", "status", "reason", "told"),
    [
        ({"dose": {"amount": -50, "unit": "mg"}}, 422, "invalid_request", "body.dose.amount"),
        ({"dose": {"amount": 50, "unit": "mg", "form": "tablet"}}, 422, "invalid_request", "amount, unit"),
        ({"dosage": 50}, 422, "invalid_request", "body.dosage"),
        ({"medication": "Zoloft"}, 409, "medication_unknown", "sertraline"),
        ({"dose": {"amount": 50, "unit": "mL"}}, 409, "unit_does_not_fit", "mg"),
        ({"medication": "fluoxetine", "dose": {"amount": 80, "unit": "mg"}}, 409, "reason_needed", "soft maximum"),
        ({"medication": "fluoxetine", "dose": {"amount": 81, "unit": "mg"}}, 409, "above_label_maximum", "80 mg"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_what_is_wrong_is_refused_whole_and_says_what_to_do(
    clinic: Clinic, patient: UUID, change: Mapping[str, object], status: int, reason: str, told: str
) -> None:
    before = sequence(accepted(await clinic.order(patient, prescription("lithium carbonate", "600"))))
    answer = await clinic.order(patient, {**prescription(), **change})
    refused(answer, status, reason)
    assert told in answer.text
    assert sequence(accepted(await clinic.order(patient, prescription()))) == before + 1  # Nothing was half-done.


async def test_a_key_gives_its_reply_again_and_serves_no_other_content(clinic: Clinic, patient: UUID) -> None:
    key, body = str(uuid4()), prescription()
    first = await clinic.order(patient, body, key=key)
    accepted(first)
    again = await clinic.order(patient, body, key=key)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    refused(await clinic.order(patient, {**body, "refills": 2}, key=key), 422, "idempotency_key_reused")


async def test_without_a_key_nothing_is_decided(clinic: Clinic, patient: UUID) -> None:
    headers = await clinic.staff.headers(*PRESCRIBER, "north")
    address = f"{clinic.houses.address('prescribing')}/patients/{patient}/orders"
    answer = await clinic.staff.http.post(address, json=prescription(), headers=headers)
    refused(answer, 400, "idempotency_key_required")


async def test_a_nurse_reviews_and_does_not_prescribe(clinic: Clinic, patient: UUID) -> None:
    refused(await clinic.order(patient, prescription(), who=NURSE), 403, "role_not_permitted")


async def test_two_prescribers_who_order_one_drug_at_the_same_moment_put_one_order_in_force(
    clinic: Clinic, patient: UUID
) -> None:
    """Each of the two would pass alone. Round after round exactly one does, whichever it is."""
    for _ in range(ROUNDS):
        rivals = [prescription(), prescription(amount="100")]
        answers = await asyncio.gather(*(clinic.order(patient, each) for each in rivals))
        statuses = sorted(each.status_code for each in answers)
        assert statuses == [httpx2.codes.OK, httpx2.codes.CONFLICT], [each.text for each in answers]
        (loser,) = (each for each in answers if each.status_code == httpx2.codes.CONFLICT)
        refused(loser, 409, "medication_already_taken")
        (winner,) = (each for each in answers if each.status_code == httpx2.codes.OK)
        order = winner.json()["facts"][0]["subject"].removeprefix("medication-order/")
        end = {"last_dose_on": day_of(winner), "reason": "error"}
        accepted(await clinic.post("prescribing", f"/patients/{patient}/orders/{order}/discontinuation", end))


async def test_a_house_that_was_killed_knows_what_it_accepted(clinic: Clinic, patient: UUID) -> None:
    key, body = str(uuid4()), prescription()
    first = await clinic.order(patient, body, key=key)
    accepted(first)
    clinic.houses.kill("prescribing")
    clinic.houses.until_ready("prescribing")
    again = await clinic.order(patient, body, key=key)
    assert again.content == first.content
    refused(await clinic.order(patient, prescription()), 409, "medication_already_taken")


async def test_readiness_says_by_which_formulary_it_decides_and_that_nobody_signed_it(clinic: Clinic) -> None:
    ready = (await clinic.staff.http.get(f"{clinic.houses.address('prescribing')}/ready")).json()
    assert len(ready["formulary"]) == 12
    assert ready["formulary_signed"] is False
