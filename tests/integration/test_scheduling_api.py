"""Scheduling as a process of its own, in simulated time, with the houses from which it hears."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.support.servers import Servers
from tests.support.ward import CLERK, NURSE, ON_THE_TEAM, PRESCRIBER, THERAPIST, Ward, come_true, ward

PLANNED, DUE = "scheduling.follow-up-planned.v1", "scheduling.follow-up-due.v1"
OVERDUE, FULFILLED = "scheduling.follow-up-overdue.v1", "scheduling.follow-up-fulfilled.v1"
BEGIN = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # 10:00 in New York.
ROUNDS = 20


class Moving:
    """The ward's clock goes forward only, through all tests of this file: each begins on a day of its own."""

    def __init__(self, found: Ward) -> None:
        self.ward, self.now = found, BEGIN

    async def pass_days(self, days: float) -> datetime:
        self.now += timedelta(days=days)
        await self.ward.move(self.now)
        return self.now


@pytest.fixture(scope="module")
async def clinic(servers: Servers, prefix: str) -> AsyncIterator[Ward]:
    houses = ("patients", "prescribing", "therapy", "scheduling")
    async with ward(servers, f"{prefix}fu_", houses, simulated=True) as found:
        await found.move(BEGIN)
        yield found


@pytest.fixture(scope="module")
def time(clinic: Ward) -> Moving:
    return Moving(clinic)


@pytest.fixture
async def patient(clinic: Ward, time: Moving) -> UUID:
    await time.pass_days(30)
    return await clinic.enrol()


async def prescribed(clinic: Ward, patient: UUID, medication: str = "sertraline") -> dict[str, Any]:
    """The obligation that a new order opens."""
    order = {
        "order_id": str(uuid4()),
        "medication": medication,
        "dose": {"amount": "50", "unit": "mg"},
        "schedule": {"times": 1},
        "route": "oral",
        "indication": "depression",
        "days_supply": 30,
        "refills": 2,
    }
    await clinic.done("prescribing", f"/patients/{patient}/orders", order, params={"after": ON_THE_TEAM})
    [planned] = await come_true(lambda: clinic.facts("scheduling", patient, PLANNED))
    return planned


def booking(start: datetime, clinician: str = "dr-ward", **other: object) -> dict[str, object]:
    return {
        "kind": "medication_review",
        "clinician": {"person": clinician, "role": "prescriber"},
        "time_zone": "America/New_York",
        "starts_at": start.isoformat(),
        "minutes": 30,
        "remote": False,
        **other,
    }


async def test_a_first_antidepressant_opens_a_review_that_falls_due_and_overdue_on_the_patients_days(
    clinic: Ward, time: Moving, patient: UUID
) -> None:
    planned = await prescribed(clinic, patient)
    started = time.now.date()
    assert planned["rule"] == {"rule_id": "FU-AD-FIRST-STD", "version": "2", "unverified": False}
    assert planned["due_on"] == str(started + timedelta(days=14))
    await time.pass_days(13.5)  # 22:00 in New York, on the evening before.
    assert await clinic.facts("scheduling", patient, DUE) == []
    await time.pass_days(0.1)
    [due] = await come_true(lambda: clinic.facts("scheduling", patient, DUE))
    assert (due["obligation_id"], due["booked"]) == (planned["obligation_id"], False)
    assert due["at"] == datetime.fromisoformat(planned["due_at"])
    await time.pass_days(1)
    [overdue] = await come_true(lambda: clinic.facts("scheduling", patient, OVERDUE))
    assert overdue["at"] == datetime.fromisoformat(planned["overdue_at"])
    assert len(await clinic.facts("scheduling", patient, DUE)) == 1


async def test_under_thirty_it_is_due_within_a_week(clinic: Ward, time: Moving) -> None:
    await time.pass_days(30)
    young = await clinic.enrol(birth_date=str(time.now.date() - timedelta(days=25 * 365)))
    planned = await prescribed(clinic, young)
    assert planned["rule"]["rule_id"] == "FU-AD-FIRST-YOUNG"
    assert planned["due_on"] == str(time.now.date() + timedelta(days=7))


async def test_a_session_leaves_the_review_open_and_the_prescribers_call_closes_it(
    clinic: Ward, time: Moving, patient: UUID
) -> None:
    planned = await prescribed(clinic, patient)
    now = await time.pass_days(10)
    episode = {"episode_id": str(uuid4()), "modality": "CBT", "planned_sessions": 12, "sessions_per_month": 4}
    after = {"after": ON_THE_TEAM}
    await clinic.done("therapy", f"/patients/{patient}/therapy-episodes", episode, THERAPIST, params=after)
    session = {
        "episode_id": episode["episode_id"],
        "kind": "treatment",
        "started_at": (now - timedelta(hours=2)).isoformat(),
        "ended_at": (now - timedelta(hours=1)).isoformat(),
        "remote": False,
    }
    held = await clinic.done("therapy", f"/patients/{patient}/sessions", session, THERAPIST)
    call = {"channel": "telephone", "reached": False}
    heard = {"after": held["position"]}  # Scheduling has heard of the session before it answers this.
    await clinic.done("scheduling", f"/patients/{patient}/contacts", call, NURSE, params=heard)
    assert await clinic.facts("scheduling", patient, FULFILLED) == []
    reply = await clinic.done("scheduling", f"/patients/{patient}/contacts", {**call, "reached": True}, PRESCRIBER)
    assert [fact["type"] for fact in reply["facts"]] == ["scheduling.contact-made.v1", FULFILLED, PLANNED]
    [fulfilled] = await clinic.facts("scheduling", patient, FULFILLED)
    assert fulfilled["obligation_id"] == planned["obligation_id"]
    assert fulfilled["by"] == reply["facts"][0]["id"]  # The contact's own event.
    [_, following] = await clinic.facts("scheduling", patient, PLANNED)
    assert following["cause"] == reply["facts"][0]["id"]
    assert following["due_on"] == str(now.date() + timedelta(days=28))
    await time.pass_days(10)
    assert await clinic.facts("scheduling", patient, DUE) == []  # What was answered does not fall due any more.


async def test_a_visit_booked_for_it_is_known_when_a_review_falls_due(
    clinic: Ward, time: Moving, patient: UUID
) -> None:
    planned = await prescribed(clinic, patient)
    visit = booking(time.now + timedelta(days=15), serves=[planned["obligation_id"]])
    await clinic.done("scheduling", f"/patients/{patient}/appointments", visit, CLERK)
    await time.pass_days(14)
    [due] = await come_true(lambda: clinic.facts("scheduling", patient, DUE))
    assert due["booked"] is True


async def test_two_patients_cannot_be_given_the_same_hour_of_one_clinician(
    clinic: Ward, time: Moving, patient: UUID
) -> None:
    other = await clinic.enrol()
    for nth in range(ROUNDS):
        start = time.now + timedelta(days=1, hours=nth)
        answers = await asyncio.gather(
            *(
                clinic.post(
                    "scheduling",
                    f"/patients/{who}/appointments",
                    booking(start + timedelta(minutes=late)),
                    CLERK,
                    params={"after": ON_THE_TEAM},
                )
                for who, late in ((patient, 0), (other, 29))
            )
        )
        assert sorted(answer.status_code for answer in answers) == [httpx2.codes.OK, httpx2.codes.CONFLICT]
        [refusal] = [answer for answer in answers if answer.status_code == httpx2.codes.CONFLICT]
        assert refusal.json()["reason"] == "clinician_already_booked"
    end = time.now + timedelta(days=3)
    await clinic.done("scheduling", f"/patients/{patient}/appointments", booking(end), CLERK)
    following = booking(end + timedelta(minutes=30))
    await clinic.done("scheduling", f"/patients/{other}/appointments", following, CLERK)


async def test_what_cannot_be_is_refused_with_a_sentence_that_helps(clinic: Ward, time: Moving, patient: UUID) -> None:
    path = f"/patients/{patient}/appointments"
    know = {"after": ON_THE_TEAM}
    past = booking(time.now - timedelta(days=1))
    await clinic.refused("appointment_in_the_past", "scheduling", path, past, CLERK, params=know)
    unknown = booking(time.now + timedelta(days=1), serves=[str(uuid4())])
    await clinic.refused("unknown_follow_up", "scheduling", path, unknown, CLERK)
    nowhere = booking(time.now + timedelta(days=1), time_zone="Eastern")
    await clinic.refused("unknown_time_zone", "scheduling", path, nowhere, CLERK)
    answer = await clinic.post("scheduling", path, {**past, "minutes": 0}, CLERK)
    assert answer.status_code == httpx2.codes.UNPROCESSABLE_CONTENT


async def test_a_kill_while_follow_ups_fall_due_loses_none_and_repeats_none(clinic: Ward, time: Moving) -> None:
    await time.pass_days(30)
    patients = [await clinic.enrol() for _ in range(6)]
    for each in patients:
        await prescribed(clinic, each)
    await time.pass_days(13.5)
    time.now += timedelta(days=3)
    await clinic.move(time.now)
    clinic.houses.kill("scheduling")
    clinic.houses.until_ready("scheduling")
    for each in patients:
        await come_true(lambda each=each: clinic.facts("scheduling", each, OVERDUE))
        assert len(await clinic.facts("scheduling", each, DUE)) == 1
        assert len(await clinic.facts("scheduling", each, OVERDUE)) == 1
