"""The care view as a process of its own on a real Kafka and PostgreSQL, read as JSON and as pages."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import create_engine, house_url
from contracts import patients, therapy
from contracts.clinical import RuleRef
from contracts.event import NO_HASH
from contracts.fact import Fact
from tests.reference.care_view_fold import care_view
from tests.support.history import Record, history
from tests.support.history.chaining import next_of
from tests.support.history.loading import into_kafka
from tests.support.history.telling import Told
from tests.support.houses import Houses
from tests.support.servers import Servers

WITHIN_S = 60.0
HISTORY = list(history(73, count=5, weeks=16, reads=False))
PATIENTS = sorted({record.event.key for record in HISTORY})
PRESCRIBER = next(
    record.event.fact.person
    for record in HISTORY
    if isinstance(record.event.fact, patients.CareTeamMemberAssigned) and record.event.fact.role == "prescriber"
)
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass
class Patient:
    """A patient whose facts a test tells one by one."""

    id: UUID = field(default_factory=uuid4)
    heads: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def tell(self, source: str, fact: Fact) -> Record:
        """The next fact of a source, not yet published."""
        sequence, before = self.heads.get(source, (0, NO_HASH))
        now = datetime.now(UTC)
        told = Told(source, str(self.id), fact, uuid4(), now, now, PRESCRIBER, "prescriber", uuid4(), None)
        record = next_of(told, sequence + 1, before)
        self.heads[source] = sequence + 1, record.event.hash
        return record

    def enrolled(self, family_name: str = "Ferreira") -> list[Record]:
        return [
            self.tell(
                "/patients",
                patients.PatientEnrolled(
                    family_name=family_name,
                    given_name="Ana",
                    birth_date=date(1998, 2, 14),
                    sex="female",
                    language="pt",
                    time_zone="Europe/Lisbon",
                    clinic="riverside",
                    record_number="RV-20417",
                ),
            ),
            self.tell(
                "/patients",
                patients.CareTeamMemberAssigned(
                    person=PRESCRIBER,
                    name="L. Brandt",
                    role="prescriber",
                    clinic="riverside",
                    from_on=date(2020, 1, 1),
                ),
            ),
        ]

    def scored(self, total: int) -> Record:
        return self.tell(
            "/therapy",
            therapy.MeasureRecorded(
                measure_record_id=uuid4(),
                measure="PHQ-9",
                answers=(),
                total=total,
                band="moderate",
                scoring=RuleRef(rule_id="PHQ-9", version="1"),
                answered_by="patient",
                mode="remote",
                language="pt",
            ),
        )


@dataclass
class View:
    """The care view, and whoever asks it."""

    servers: Servers
    prefix: str
    address: str
    engine: AsyncEngine
    http: httpx2.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    async def publish(self, *records: Record) -> None:
        await into_kafka(self.servers.kafka, self.prefix, records)

    async def token(self, person: str = PRESCRIBER, role: str = "prescriber") -> str:
        if person not in self.tokens:
            form = {
                "grant_type": "urn:tandem:dev-person",
                "client_secret": self.servers.client_secret,
                "sub": person,
                "role": role,
                "name": "L. Brandt",
                "clinics": "riverside",
            }
            answer = await self.http.post(f"{self.servers.issuer_url}/token", data=form)
            self.tokens[person] = answer.raise_for_status().json()["access_token"]
        return self.tokens[person]

    async def get(
        self, path: str, *, who: str = PRESCRIBER, headers: Mapping[str, str] | None = None, **params: Any
    ) -> httpx2.Response:
        sent = {"Authorization": f"Bearer {await self.token(who)}", **(headers or {})}
        return await self.http.get(self.address + path, params=params, headers=sent)

    async def shown(self, patient: object, path: str = "", **params: Any) -> dict[str, Any]:
        answer = await self.get(f"/patients/{patient}{path}", **params)
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def facts_of_access(self, kind: str, patient: object) -> int:
        """How often that is on record of this patient, in the house's own table."""
        query = """SELECT count(*) FROM event WHERE headers ->> 'ce_type' = :kind
                   AND convert_from(value, 'UTF8')::jsonb -> 'patients' @> to_jsonb(CAST(:patient AS text))"""
        async with self.engine.connect() as connection:
            found = await connection.scalar(text(query), {"kind": kind, "patient": str(patient)})
        return int(found or 0)


@pytest.fixture(scope="module")
async def view(servers: Servers, prefix: str) -> AsyncIterator[View]:
    houses = Houses(servers, f"{prefix}cv_")
    async with AsyncExitStack() as ending:
        ending.callback(houses.stop)
        address = houses.start("care_view")
        engine = create_engine(house_url(servers.database_url, houses.prefix, "care_view"), application="test")
        ending.push_async_callback(engine.dispose)
        http = await ending.enter_async_context(httpx2.AsyncClient(timeout=30.0))
        found = View(servers, houses.prefix, address, engine, http)
        await found.publish(*HISTORY)
        for patient in PATIENTS:  # Each source's last fact.
            last = Counter(record.event.source for record in HISTORY if record.event.key == patient)
            await found.shown(patient, after=[f"{source[1:]}:{count}" for source, count in last.items()])
        yield found


@pytest.fixture
async def ana(view: View) -> Patient:
    """A patient of whom only patients has told."""
    patient = Patient()
    await view.publish(*patient.enrolled())
    await view.shown(patient.id, after="patients:2")
    return patient


@pytest.mark.parametrize("patient", PATIENTS)
async def test_the_sections_are_what_the_reference_works_out_from_the_raw_records(view: View, patient: str) -> None:
    records = [record for record in HISTORY if record.event.key == patient]
    expected = care_view((record.headers, record.value) for record in records)
    shown = await view.shown(patient)
    for section in ("patient", "medications", "therapy"):
        assert shown[section] == expected[section]
    assert {one["order_id"]: one["line"] for one in shown["medicines"]} == expected["medications"]["active"]
    assert {one["obligation_id"] for one in shown["follow_ups"]} == set(expected["follow_ups"]["open"])
    assert shown["messages"] == list(reversed(expected["messages"]["last"].values()))
    counts = Counter(record.event.source[1:] for record in records)
    assert shown["seen"] == counts


@pytest.mark.parametrize("patient", PATIENTS)
async def test_every_fact_is_one_line_of_the_timeline_and_paging_loses_none(view: View, patient: str) -> None:
    lines: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    while True:
        page = await view.shown(patient, "/timeline", limit=23, **before)
        lines += page["entries"]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    told = sorted(str(record.event.id) for record in HISTORY if record.event.key == patient)
    assert sorted(line["id"] for line in lines) == told
    moments = [line["occurred_at"] for line in lines]
    assert [datetime.fromisoformat(one) for one in moments] == sorted(
        (datetime.fromisoformat(one) for one in moments), reverse=True
    )


async def test_the_timeline_is_filtered_by_kind(view: View) -> None:
    kinds = {line["kind"] for line in (await view.shown(PATIENTS[0], "/timeline", limit=200))["entries"]}
    for kind in kinds:
        lines = (await view.shown(PATIENTS[0], "/timeline", kind=kind, limit=200))["entries"]
        assert {line["kind"] for line in lines} == {kind}
    refused = await view.get(f"/patients/{PATIENTS[0]}/timeline", kind="gossip")
    assert refused.status_code == 422


async def test_a_cursor_that_is_none_is_refused(view: View) -> None:
    refused = await view.get(f"/patients/{PATIENTS[0]}/timeline", before="bm90IGEgY3Vyc29y")
    assert (refused.status_code, refused.json()["reason"]) == (422, "unknown_cursor")


async def test_a_position_is_waited_for_until_the_view_has_seen_it(view: View, ana: Patient) -> None:
    asked = asyncio.create_task(view.get(f"/patients/{ana.id}", after="therapy:1"))
    await asyncio.sleep(0)
    await view.publish(ana.scored(11))
    answer = await asked
    assert answer.status_code == httpx2.codes.OK
    assert answer.json()["seen"]["therapy"] == 1
    assert [score["total"] for score in answer.json()["therapy"]["scores"]["PHQ-9"]] == [11]


async def test_several_positions_are_waited_for_together(view: View, ana: Patient) -> None:
    await view.publish(ana.scored(9), ana.scored(8))
    shown = await view.shown(ana.id, after=["patients:2", "therapy:2"])
    assert shown["seen"] == {"patients": 2, "therapy": 2}


async def test_a_position_that_does_not_come_is_not_passed_off_as_seen(view: View, ana: Patient) -> None:
    answer = await view.get(f"/patients/{ana.id}", after="prescribing:9")
    assert (answer.status_code, answer.json()["reason"]) == (409, "not_yet_known")
    assert "prescribing:9" in answer.json()["detail"]


async def test_a_patient_whose_facts_are_held_up_is_answered_at_once_and_heals(view: View, ana: Patient) -> None:
    missing, later = ana.scored(14), ana.scored(12)
    await view.publish(later)
    until = time.monotonic() + WITHIN_S
    while (await view.shown(ana.id))["stale_since"] is None:
        assert time.monotonic() < until, "the gap was not noticed"
        await asyncio.sleep(0.05)
    began = time.monotonic()
    shown = await view.shown(ana.id, after="therapy:2")
    assert shown["stale_since"] is not None
    assert shown["not_yet_seen"] == ["therapy:2"]
    assert time.monotonic() - began < 4.0, "it waited for what cannot come"
    page = await view.get(f"/patients/{ana.id}", headers=HTML)
    assert "held up since" in page.text
    await view.publish(missing)
    while (shown := await view.shown(ana.id))["stale_since"] is not None:
        assert time.monotonic() < until, "the gap was not closed"
        await asyncio.sleep(0.05)
    assert [score["total"] for score in shown["therapy"]["scores"]["PHQ-9"]] == [14, 12]


@pytest.mark.parametrize("headers", [{}, HTML], ids=["JSON", "page"])
@pytest.mark.parametrize("path", ["", "/timeline"])
async def test_every_look_is_on_record_before_it_is_answered(
    view: View, ana: Patient, path: str, headers: dict[str, str]
) -> None:
    earlier = await view.facts_of_access("access.record-read.v1", ana.id)
    answer = await view.get(f"/patients/{ana.id}{path}", headers=headers)
    assert answer.status_code == httpx2.codes.OK
    assert await view.facts_of_access("access.record-read.v1", ana.id) == earlier + 1


@pytest.mark.parametrize("headers", [{}, HTML], ids=["JSON", "page"])
async def test_who_is_not_on_the_team_is_refused_and_that_is_on_record(
    view: View, ana: Patient, headers: dict[str, str]
) -> None:
    stranger = str(uuid4())
    read = await view.facts_of_access("access.record-read.v1", ana.id)
    answer = await view.get(f"/patients/{ana.id}", who=stranger, headers=headers)
    assert answer.status_code == httpx2.codes.FORBIDDEN
    assert "Ferreira" not in answer.text
    assert "Ask a supervisor to assign you" in answer.text
    assert answer.headers["content-type"].startswith("text/html" if headers else "application/problem+json")
    assert await view.facts_of_access("access.record-read.v1", ana.id) == read
    assert await view.facts_of_access("access.access-refused.v1", ana.id) >= 1


async def test_a_page_joins_both_disciplines_and_runs_nothing_in_the_browser(view: View) -> None:
    patient = PATIENTS[0]
    shown = await view.shown(patient)
    page = await view.get(f"/patients/{patient}", headers=HTML)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "<script" not in page.text
    assert not re.search(r"\sstyle=|\son\w+=", page.text), "the policy forbids what stands within a page"
    identity = shown["patient"]["identity"]
    for words in (identity["family_name"], identity["record_number"], "Medication", "Therapy", "PHQ-9", "Follow-ups"):
        assert words in page.text
    for medicine in shown["medicines"]:
        assert medicine["line"]["medication"] in page.text
    style = re.search(r'href="(/static/style\.[0-9a-f]{12}\.css)"', page.text)
    assert style
    sheet = await view.http.get(view.address + style[1])
    assert sheet.status_code == httpx2.codes.OK
    assert sheet.headers["content-type"].startswith("text/css")
    assert "immutable" in sheet.headers["cache-control"]
    assert page.headers["cache-control"] == "no-store"


async def test_what_has_not_come_is_not_shown_as_nothing(view: View, ana: Patient) -> None:
    page = (await view.get(f"/patients/{ana.id}", headers=HTML)).text
    assert "Not loaded: nothing has come from prescribing" in page
    assert "none recorded" in page  # Allergies: patients has told of her, and of none.
    assert "no flag open" not in page  # Nobody knows: therapy has told nothing yet.


async def test_what_people_wrote_is_text_and_never_markup(view: View) -> None:
    patient = Patient()
    await view.publish(*patient.enrolled("<img src=x onerror=alert(1)>"))
    page = await view.get(f"/patients/{patient.id}", headers=HTML, after="patients:2")
    assert "&lt;img src=x" in page.text
    assert "<img" not in page.text


async def test_a_program_without_a_token_is_told_so_and_not_sent_anywhere(view: View, ana: Patient) -> None:
    answer = await view.http.get(f"{view.address}/patients/{ana.id}")
    assert (answer.status_code, answer.json()["reason"]) == (401, "unauthenticated")


async def person_of_the_issuer(view: View) -> str:
    """Somebody on every patient's team whom the issuer lets choose themselves."""
    known = {"role": "prescriber", "clinics": ["riverside"], "name": "L. Brandt"}
    headers = {"Authorization": f"Bearer {view.servers.client_secret}"}
    answer = await view.http.put(f"{view.servers.issuer_url}/people/{PRESCRIBER}", json=known, headers=headers)
    answer.raise_for_status()
    return PRESCRIBER


async def test_a_browser_signs_in_by_the_code_flow_looks_and_signs_out(view: View, ana: Patient) -> None:
    person = await person_of_the_issuer(view)
    wanted = f"/patients/{ana.id}?after=patients%3A2"
    async with httpx2.AsyncClient(timeout=30.0, headers=HTML) as browser:
        sent_away = await browser.get(view.address + wanted)
        assert sent_away.status_code == 303
        to_the_issuer = await browser.get(view.address + sent_away.headers["location"])
        asked = parse_qs(urlsplit(to_the_issuer.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert asked["response_type"] == ["code"]
        chosen = await browser.post(to_the_issuer.headers["location"], data={"sub": person})
        back = await browser.get(chosen.headers["location"])
        assert back.status_code == 303, back.text
        assert back.headers["location"] == wanted
        kept = next(one for one in back.headers.get_list("set-cookie") if one.startswith("tandem_token="))
        assert "HttpOnly" in kept
        assert "SameSite=lax" in kept
        page = await browser.get(view.address + back.headers["location"])
        assert page.status_code == httpx2.codes.OK
        assert "Ana Ferreira" in page.text
        again = await browser.get(chosen.headers["location"])
        assert again.status_code == 400, "a code and its state serve once"
        out = await browser.post(f"{view.address}/sign-out")
        assert out.status_code == 303
        assert (await browser.get(view.address + wanted)).status_code == 303, "signed out, and still let in"


@pytest.mark.parametrize("change", [{"state": "another"}, {"iss": "https://elsewhere.example"}])
async def test_a_sign_in_that_was_not_begun_here_is_refused(view: View, change: dict[str, str]) -> None:
    async with httpx2.AsyncClient(timeout=30.0, headers=HTML) as browser:
        away = await browser.get(f"{view.address}/sign-in", params={"to": "/"})
        state = parse_qs(urlsplit(away.headers["location"]).query)["state"][0]
        back = await browser.get(f"{view.address}/signed-in", params={"code": "x", "state": state, **change})
        assert (back.status_code, "tandem_token" in str(back.headers)) == (400, False)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"])
async def test_signing_in_leads_back_to_this_house_and_nowhere_else(view: View, target: str) -> None:
    person = await person_of_the_issuer(view)
    async with httpx2.AsyncClient(timeout=30.0, headers=HTML) as browser:
        away = await browser.get(f"{view.address}/sign-in", params={"to": target})
        chosen = await browser.post(away.headers["location"], data={"sub": person})
        back = await browser.get(chosen.headers["location"])
        assert (back.status_code, back.headers["location"]) == (303, "/")


async def test_a_token_that_has_ended_leads_to_signing_in_again(view: View, ana: Patient) -> None:
    cookies = {"Cookie": "tandem_token=not.a.token", **HTML}
    answer = await view.http.get(f"{view.address}/patients/{ana.id}", headers=cookies)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?to=")


async def test_what_is_overdue_is_asked_of_the_clock_when_the_view_is_shown(view: View) -> None:
    found = [one for patient in PATIENTS for one in (await view.shown(patient))["follow_ups"]]
    today = datetime.now(UTC).date()
    judged = [one for one in found if abs((date.fromisoformat(one["overdue_after_on"]) - today).days) > 3]
    for one in judged:  # No fact of the history says so: it depends on the day on which this test runs.
        assert (one["state"] == "overdue") == (date.fromisoformat(one["overdue_after_on"]) < today)
    assert found
