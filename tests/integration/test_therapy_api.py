"""Therapy as a process of its own, asked over HTTP, with patients beside it on a real Kafka and PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

from ops.clinic import person_id
from tests.support.houses import Houses, Staff, enrolment
from tests.support.servers import Servers

THERAPIST, NURSE = ("t-care", "therapist"), ("n-care", "nurse")
CLERK, SUPERVISOR = ("c-care", "clerk"), ("s-care", "supervisor")
ENROLLED, ON_THE_TEAM = "patients:1", "patients:3"
NUMBERS = count(1)
CBT = {"modality": "CBT", "planned_sessions": 16, "sessions_per_month": 4}
PLAN = {"safety_action": "safety_plan_agreed", "text": "Plan agreed, copy given."}
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


@dataclass
class Clinic:
    """Two houses, and people who ask."""

    houses: Houses
    staff: Staff
    database: asyncpg.Connection

    async def post(
        self, path: str, body: object, who: tuple[str, str] = THERAPIST, house: str = "therapy", after: str = ""
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north", key=str(uuid4()))
        asked = {"after": after} if after else {}
        return await self.staff.http.post(self.houses.address(house) + path, json=body, headers=headers, params=asked)

    async def enrol(self) -> UUID:
        """A patient with a therapist and a nurse on the team, of whom therapy may not have heard yet."""
        patient = uuid4()
        accepted(await self.post("/patients", enrolment(patient, next(NUMBERS)), CLERK, "patients"))
        for name, role in (THERAPIST, NURSE):
            member = {"person": str(person_id(name)), "name": name, "role": role}
            accepted(await self.post(f"/patients/{patient}/care-team", member, SUPERVISOR, "patients"))
        return patient

    async def facts(self, patient: UUID) -> list[tuple[str, Any]]:
        """A patient's facts in therapy, as the tables have them."""
        rows = await self.database.fetch(
            "SELECT headers ->> 'ce_type', value FROM event WHERE stream = $1 ORDER BY sequence", str(patient)
        )
        return [(kind, json.loads(value)) for kind, value in rows]


@pytest.fixture(scope="module")
async def clinic(servers: Servers, prefix: str) -> AsyncIterator[Clinic]:
    houses = Houses(servers, f"{prefix}th_")
    try:
        houses.start("patients")
        houses.start("therapy")
        url = servers.database_url.replace("+asyncpg", "").rpartition("/")[0]
        database = await asyncpg.connect(f"{url}/{houses.prefix}therapy")
        async with httpx2.AsyncClient(timeout=30.0) as http:
            yield Clinic(houses, Staff(http, servers), database)
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


def kinds(reply: dict[str, Any]) -> list[str]:
    return [fact["type"] for fact in reply["facts"]]


def session(episode: object, **changes: object) -> dict[str, object]:
    return {
        "session_id": str(uuid4()),
        "episode_id": str(episode),
        "kind": "treatment",
        "started_at": YESTERDAY.isoformat(),
        "ended_at": (YESTERDAY + timedelta(minutes=50)).isoformat(),
        "remote": False,
        "plan_summary": "Two walks a week.",
        **changes,
    }


def phq9(values: Sequence[int | None], **changes: object) -> dict[str, object]:
    answers = [{"item": item, "value": value} for item, value in enumerate(values, 1) if value is not None]
    form = {"measure": "PHQ-9", "answers": answers, "mode": "in_person", "language": "en"}
    return {"measure_record_id": str(uuid4()), **form, **changes}


async def test_a_course_of_therapy_from_its_start_to_a_flag_that_is_closed(clinic: Clinic, patient: UUID) -> None:
    one, episode = f"/patients/{patient}", uuid4()
    started = await clinic.post(f"{one}/therapy-episodes", {"episode_id": str(episode), **CBT}, after=ON_THE_TEAM)
    assert accepted(started)["position"] == "therapy:2"  # After the note of the enrolment.
    held = await clinic.post(f"{one}/sessions", session(episode))
    assert kinds(accepted(held)) == ["therapy.session-completed.v1"]
    full = await clinic.post(f"{one}/measures", phq9([2, 2, 1, 2, 1, 2, 1, 1, 0], total="12"), NURSE)
    assert kinds(accepted(full)) == ["therapy.measure-recorded.v1"]
    partial = await clinic.post(f"{one}/measures", phq9([None, None, 1, None, None, None, None, None, 1]))
    assert kinds(accepted(partial)) == ["therapy.measure-recorded.v1", "therapy.risk-flag-raised.v1"]
    flag = partial.json()["facts"][1]["subject"].removeprefix("risk-flag/")
    closed = await clinic.post(f"{one}/risk-flags/{flag}/closure", PLAN, NURSE)
    assert accepted(closed)["position"] == "therapy:7"

    told = await clinic.facts(patient)
    noted = {"what": "birth_date", "birth_date": "1990-04-02", "sex": "unknown"}
    assert told[0] == ("therapy.patient-noted.v1", {"noted": noted})
    forms = [fact for kind, fact in told if kind == "therapy.measure-recorded.v1"]
    assert [(form["total"], form["band"]) for form in forms] == [(12, "moderate"), (None, None)]
    raised = dict(told)["therapy.risk-flag-raised.v1"]
    assert (raised["flag_id"], raised["tier"], raised["item"]) == (flag, "moderate", 9)
    assert raised["rule"] == {"rule_id": "PHQ-9:flag:9", "version": "1", "unverified": False}


async def test_telling_it_again_changes_nothing(clinic: Clinic, patient: UUID) -> None:
    one, episode = f"/patients/{patient}", uuid4()
    start = {"episode_id": str(episode), **CBT}
    accepted(await clinic.post(f"{one}/therapy-episodes", start, after=ON_THE_TEAM))
    for path, body in (
        (f"{one}/therapy-episodes", start),
        (f"{one}/sessions", session(episode)),
        (f"{one}/measures", phq9([0] * 8 + [3])),
    ):
        accepted(await clinic.post(path, body))
        before = await clinic.facts(patient)
        assert kinds(accepted(await clinic.post(path, body))) == []
        assert await clinic.facts(patient) == before
    ((_, raised),) = [fact for fact in before if fact[0] == "therapy.risk-flag-raised.v1"]
    closure = f"{one}/risk-flags/{raised['flag_id']}/closure"
    accepted(await clinic.post(closure, PLAN))
    assert kinds(accepted(await clinic.post(closure, PLAN))) == []
    refused(await clinic.post(closure, {**PLAN, "text": "Something else."}), 409, "risk_flag_already_closed")


async def test_wrong_input_is_answered_with_what_to_do_and_nothing_is_half_done(clinic: Clinic, patient: UUID) -> None:
    one, episode = f"/patients/{patient}", uuid4()
    magic = {**CBT, "modality": "Magic"}
    problem = refused(await clinic.post(f"{one}/therapy-episodes", magic, after=ON_THE_TEAM), 409, "modality_unknown")
    assert "CBT" in problem["detail"]
    accepted(await clinic.post(f"{one}/therapy-episodes", {"episode_id": str(episode), **CBT}))
    before = await clinic.facts(patient)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    naive = YESTERDAY.replace(tzinfo=None).isoformat()
    for body, status, reason in (
        (session(uuid4()), 409, "episode_unknown"),
        (session(episode, ended_at=YESTERDAY.isoformat()), 409, "session_ends_before_it_starts"),
        (session(episode, ended_at=tomorrow), 409, "session_in_future"),
        (session(episode, started_at=(YESTERDAY - timedelta(hours=12)).isoformat()), 409, "session_too_long"),
        (session(episode, started_at=naive), 422, "invalid_request"),
        (session(episode, process_note="What was said."), 422, "invalid_request"),
    ):
        refused(await clinic.post(f"{one}/sessions", body), status, reason)
    for body, status, reason in (
        (phq9([2, 2], total=4), 409, "total_does_not_match"),
        (phq9([0] * 8 + [4]), 409, "answer_out_of_range"),
        (phq9([0] * 10), 409, "item_unknown"),
        (phq9([0], measure="GAD-7"), 409, "measure_not_offered"),
        (phq9([0], language="English, I think"), 422, "invalid_request"),
    ):
        refused(await clinic.post(f"{one}/measures", body), status, reason)
    refused(await clinic.post(f"{one}/risk-flags/{uuid4()}/closure", PLAN), 409, "risk_flag_unknown")
    refused(await clinic.post(f"{one}/risk-flags/{uuid4()}/closure", {"text": "Talked."}), 422, "invalid_request")
    assert await clinic.facts(patient) == before


async def test_nothing_is_told_of_somebody_whom_nobody_enrolled_or_who_is_not_on_ones_team(
    clinic: Clinic, patient: UUID
) -> None:
    refused(await clinic.post(f"/patients/{uuid4()}/therapy-episodes", CBT), 403, "unknown_patient")
    stranger = ("t-elsewhere", "therapist")
    path = f"/patients/{patient}/therapy-episodes"
    refused(await clinic.post(path, CBT, stranger, after=ENROLLED), 403, "not_on_care_team")


async def test_who_leaves_the_team_is_refused_here_too(clinic: Clinic, patient: UUID) -> None:
    path = f"/patients/{patient}/therapy-episodes"
    accepted(await clinic.post(path, CBT, after=ON_THE_TEAM))
    leaving = {"person": str(person_id(THERAPIST[0])), "role": "therapist", "reason": "Moved."}
    left = await clinic.post(f"/patients/{patient}/care-team/release", leaving, SUPERVISOR, "patients")
    refused(await clinic.post(path, CBT, after=accepted(left)["position"]), 403, "not_on_care_team")


async def test_one_session_told_by_two_people_at_one_moment_is_one(clinic: Clinic, patient: UUID) -> None:
    one, episode = f"/patients/{patient}", uuid4()
    start = {"episode_id": str(episode), **CBT}
    accepted(await clinic.post(f"{one}/therapy-episodes", start, after=ON_THE_TEAM))
    body = session(episode)
    answers = await asyncio.gather(*(clinic.post(f"{one}/sessions", body) for _ in range(8)))
    assert sorted(len(accepted(answer)["facts"]) for answer in answers) == [0] * 7 + [1]
