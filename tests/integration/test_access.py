"""Who may see and do what, decided by a copy that must be fresh; and every look and every refusal on record."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import create_engine, house_url
from chassis.http import Problem
from ops.clinic import person_id
from tests.support.desk import Desk, Wall, patients, serving, settings_of
from tests.support.houses import Staff, enrolment
from tests.support.servers import Servers

NURSE, CLERK, SUPERVISOR, AUDITOR = (
    ("n-door", "nurse"),
    ("c-door", "clerk"),
    ("s-door", "supervisor"),
    ("a-door", "auditor"),
)
CONTACT = {"channel": "telephone", "reached": True}
SECRET = "amaranth"


@dataclass
class Doors:
    """The patients' house, a desk that takes commands, a wall and a search that show; staff who knock."""

    patients: httpx2.AsyncClient
    desk: httpx2.AsyncClient
    view: httpx2.AsyncClient
    search: httpx2.AsyncClient
    staff: Staff
    engines: Mapping[str, AsyncEngine]
    wall: Wall
    prefix: str
    numbers: list[int] = field(default_factory=list)

    async def tell(self, path: str, body: object, who: tuple[str, str] = SUPERVISOR, clinic: str = "north") -> str:
        """A command to the patients' house; returns its position."""
        headers = await self.staff.headers(*who, clinic, key=str(uuid4()))
        answer = await self.patients.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        position: str = answer.json()["position"]
        return position

    async def enrol(self) -> UUID:
        patient = uuid4()
        self.numbers.append(1)
        await self.tell("/patients", enrolment(patient, len(self.numbers)), CLERK)
        return patient

    async def assign(self, patient: UUID, who: tuple[str, str] = NURSE, **changed: object) -> str:
        person, role = who
        member = {"person": str(person_id(person)), "name": person, "role": role, "from_on": "2020-01-01"}
        return await self.tell(f"/patients/{patient}/care-team", {**member, **changed})

    async def release(self, patient: UUID) -> str:
        member = {"person": str(person_id(NURSE[0])), "role": "nurse", "reason": "moved"}
        return await self.tell(f"/patients/{patient}/care-team/release", member)

    async def act(
        self, patient: UUID, who: tuple[str, str] = NURSE, clinic: str = "north", **params: str
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, clinic, key=str(uuid4()))
        return await self.desk.post(f"/patients/{patient}/contacts", json=CONTACT, headers=headers, params=params)

    async def look(self, patient: UUID, who: tuple[str, str] = NURSE, **params: str) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north")
        return await self.view.get(f"/patients/{patient}", headers=headers, params=params)

    async def on_record(self, house: str, who: tuple[str, str]) -> list[tuple[str, dict[str, Any]]]:
        """What a house has on record of a person: type and value of each fact, in order."""
        async with self.engines[house].connect() as session:
            rows = await session.execute(
                text("SELECT headers ->> 'ce_type' AS type, value FROM event WHERE stream = :stream ORDER BY sequence"),
                {"stream": f"access/{person_id(who[0])}"},
            )
            return [(row.type, json.loads(row.value)) for row in rows]


@pytest.fixture(scope="module")
async def doors(servers: Servers, prefix: str) -> AsyncIterator[Doors]:
    own = f"{prefix}door_"
    settings = settings_of(servers, own)
    wall = Wall()
    engines = {
        house: create_engine(house_url(servers.database_url, own, house), application="test")
        for house in ("scheduling", "care_view", "audit", "patients")
    }
    async with AsyncExitStack() as ending:
        for engine in engines.values():
            ending.push_async_callback(engine.dispose)
        # A relay would end with the table that a test takes away.
        without_relay = settings_of(servers, own, TANDEM_ROLES="api,worker")
        apps = (patients(settings), Desk().wire(settings), wall.wire_view(without_relay), wall.wire(settings))
        clients = [await ending.enter_async_context(serving(app)) for app in apps]
        http = await ending.enter_async_context(httpx2.AsyncClient())
        yield Doors(*clients, Staff(http, servers), engines, wall, own)


def reason(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("reason", "")


async def test_who_is_not_on_the_team_is_refused_and_that_is_on_record(doors: Doors) -> None:
    patient, stranger = await doors.enrol(), (f"n-{uuid4()}", "nurse")
    assert reason(await doors.act(patient, stranger)) == (403, "not_on_care_team")
    assert await doors.on_record("scheduling", stranger) == [
        (
            "access.access-refused.v1",
            {"what": "scheduling.record-contact", "rule": "team", "patients": [str(patient)]},
        )
    ]
    async with doors.engines["scheduling"].connect() as session:
        asked = text("SELECT count(*) FROM event WHERE stream = :stream")
        assert (await session.execute(asked, {"stream": str(patient)})).scalar_one() == 0


@pytest.mark.parametrize(
    ("who", "clinic", "expected"),
    [
        (("d-door", "prescriber"), "north", "not_on_care_team"),
        (("p-door", "pharmacist"), "north", "role_not_permitted"),
        (("a-door", "auditor"), "north", "role_not_permitted"),
        (("o-door", "operator"), "north", "role_not_permitted"),
    ],
)
async def test_every_condition_that_fails_has_its_own_reason(
    doors: Doors, who: tuple[str, str], clinic: str, expected: str
) -> None:
    patient = await doors.enrol()
    assert reason(await doors.act(patient, who, clinic)) == (403, expected)


async def test_a_clerk_of_another_clinic_is_refused(doors: Doors) -> None:
    patient, other = await doors.enrol(), ("c-south", "clerk")
    headers = await doors.staff.headers(*other, "south", key="k")
    at = f"/patients/{patient}/contacts/{uuid4()}"
    assert reason(await doors.desk.post(at, json=CONTACT, headers=headers)) == (403, "other_clinic")
    assert (await doors.on_record("scheduling", other))[-1][1]["rule"] == "clinic"


async def test_a_patient_whom_nobody_enrolled_is_refused_and_that_is_on_record(doors: Doors) -> None:
    stranger = (f"n-{uuid4()}", "nurse")
    assert reason(await doors.act(uuid4(), stranger)) == (403, "unknown_patient")
    assert [value["rule"] for _, value in await doors.on_record("scheduling", stranger)] == ["unknown_patient"]


async def test_what_was_just_agreed_holds_at_once_for_who_brings_its_position(doors: Doors) -> None:
    for _ in range(10):
        patient = await doors.enrol()
        after = await doors.assign(patient)
        assert (await doors.act(patient, after=after)).status_code == 200
        after = await doors.release(patient)
        assert reason(await doors.act(patient, after=after)) == (403, "not_on_care_team")
        assert reason(await doors.look(patient, after=after)) == (403, "not_on_care_team")


async def test_in_the_patients_own_house_it_holds_without_any_position(doors: Doors) -> None:
    patient = await doors.enrol()
    condition = {"icd10cm": "F32.1", "label": "Depression"}

    async def note() -> httpx2.Response:
        headers = await doors.staff.headers(*NURSE, "north", key=str(uuid4()))
        return await doors.patients.post(f"/patients/{patient}/conditions", json=condition, headers=headers)

    assert (await note()).status_code == 403
    await doors.assign(patient)
    assert (await note()).status_code == 200
    await doors.release(patient)
    assert (await note()).status_code == 403


async def test_who_was_just_enrolled_is_waited_for(doors: Doors) -> None:
    patient = await doors.enrol()
    headers = await doors.staff.headers(*CLERK, "north", key="k")
    at = f"/patients/{patient}/contacts/{uuid4()}"
    assert (await doors.desk.post(at, json=CONTACT, headers=headers)).status_code == 200


async def test_a_membership_that_begins_tomorrow_does_not_hold_today(doors: Doors) -> None:
    patient = await doors.enrol()
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    after = await doors.assign(patient, from_on=tomorrow)
    assert reason(await doors.act(patient, after=after)) == (403, "not_on_care_team")


async def test_a_position_that_never_comes_is_not_waited_for_without_end(doors: Doors) -> None:
    patient = await doors.enrol()
    assert reason(await doors.act(patient, after="patients:999")) == (409, "not_yet_known")


async def test_a_patient_whose_facts_are_held_up_is_closed(doors: Doors) -> None:
    patient = await doors.enrol()
    assert (await doors.act(patient, after=await doors.assign(patient))).status_code == 200
    async with doors.engines["scheduling"].begin() as session:
        held = text("UPDATE access_v1.document SET stale_since = now() WHERE key = :key")
        await session.execute(held, {"key": str(patient)})
    assert reason(await doors.act(patient)) == (503, "access_copy_stale")


async def test_every_look_is_on_record_with_its_purpose(doors: Doors) -> None:
    patient = await doors.enrol()
    await doors.look(patient, after=await doors.assign(patient))
    before = await doors.on_record("care_view", NURSE)
    answers = await asyncio.gather(*(doors.look(patient) for _ in range(5)))
    assert [answer.json() for answer in answers] == [{"shown": "all is well"}] * 5
    read = ("access.record-read.v1", {"what": "care_view.patient", "patients": [str(patient)]})
    assert (await doors.on_record("care_view", NURSE))[len(before) :] == [read] * 5
    async with doors.engines["care_view"].connect() as session:
        asked = text("SELECT headers ->> 'ce_reason', headers ->> 'ce_partitionkey' FROM event WHERE stream = :stream")
        stream = f"access/{person_id(NURSE[0])}"
        assert set(await session.execute(asked, {"stream": stream})) == {("TREAT", str(person_id(NURSE[0])))}


async def test_a_search_puts_everybody_whom_it_shows_on_record(doors: Doors) -> None:
    doors.wall.shown = [uuid4(), uuid4()]
    headers = await doors.staff.headers(*AUDITOR)
    assert (await doors.search.get("/facts", headers=headers)).status_code == 200
    assert (await doors.on_record("audit", AUDITOR))[-1] == (
        "access.record-read.v1",
        {"what": "audit.facts", "patients": [str(patient) for patient in doors.wall.shown]},
    )


async def test_what_cannot_be_put_on_record_is_not_shown(doors: Doors) -> None:
    patient = await doors.enrol()
    assert (await doors.look(patient, after=await doors.assign(patient))).status_code == 200
    doors.wall.load = lambda: SECRET
    async with doors.engines["care_view"].begin() as session:
        await session.execute(text("ALTER TABLE event RENAME TO away"))
    try:
        answer = await doors.look(patient)
        assert reason(answer) == (503, "reading_not_recorded")
        assert SECRET not in answer.text
    finally:
        async with doors.engines["care_view"].begin() as session:
            await session.execute(text("ALTER TABLE away RENAME TO event"))
    assert (await doors.look(patient)).json() == {"shown": SECRET}


async def test_a_look_that_finds_nothing_is_on_record_all_the_same(doors: Doors) -> None:
    patient = await doors.enrol()
    await doors.look(patient, after=await doors.assign(patient))
    before = len(await doors.on_record("care_view", NURSE))

    def nothing() -> None:
        raise Problem(404, "nothing_there", "Nothing is there.")

    doors.wall.load = nothing
    assert reason(await doors.look(patient)) == (404, "nothing_there")
    assert len(await doors.on_record("care_view", NURSE)) == before + 1


async def test_a_house_whose_copy_may_be_old_decides_nothing_until_it_is_fresh_again(
    doors: Doors, servers: Servers
) -> None:
    patient = await doors.enrol()
    after = await doors.assign(patient)
    assert (await doors.act(patient, after=after)).status_code == 200
    own = f"{doors.prefix}b_"
    async with AsyncExitStack() as ending:
        settings = settings_of(servers, own)
        beside = await ending.enter_async_context(serving(patients(settings)))
        other = Doors(beside, beside, beside, beside, doors.staff, {}, doors.wall, own)
        patient = await other.enrol()
        after = await other.assign(patient)
        alone = settings_of(servers, own, TANDEM_ROLES="api,relay")
        other.desk = await ending.enter_async_context(serving(Desk().wire(alone)))
        assert reason(await other.act(patient)) == (503, "access_copy_stale"), "nobody has ever read the log here"

        async with serving(Desk().wire(settings_of(servers, own, TANDEM_ROLES="worker"))):
            await until_answered(other, patient, 200)
            assert (await other.act(patient, after=after)).status_code == 200
        await other.release(patient)
        await until_answered(other, patient, 503)
        assert reason(await other.act(patient)) == (503, "access_copy_stale"), "the worker is gone and facts wait"

        async with serving(Desk().wire(settings_of(servers, own, TANDEM_ROLES="worker"))):
            await until_answered(other, patient, 403)


async def until_answered(doors: Doors, patient: UUID, status: int) -> None:
    """Asks again until the answer has that status."""
    async with asyncio.timeout(30):
        while True:
            if (await doors.act(patient)).status_code == status:
                return
            await asyncio.sleep(0.1)
