"""Messages to patients, in simulated time, over real SMTP: once, by day, with consent, in words that tell nothing."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from ops.tokens import operator_token
from services.notifications.domain.lexicon import load_lexicon
from tests.support.post_office import PostOffice, post_office
from tests.support.servers import Servers
from tests.support.ward import CLERK, ON_THE_TEAM, Ward, come_true, ward

QUEUED, SENT = "notifications.message-queued.v1", "notifications.message-sent.v1"
FAILED, SUPPRESSED = "notifications.message-failed.v1", "notifications.message-suppressed.v1"
BEGIN = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # 10:00 in New York.
DAY = timedelta(days=1)
LEXICON = load_lexicon()


class Clinic:
    """The ward, its clock, which goes forward only, and the mail that came of it."""

    def __init__(self, found: Ward) -> None:
        self.ward, self.now = found, BEGIN

    async def at(self, now: datetime) -> None:
        self.now = now
        await self.ward.move(now)

    async def patient(
        self, consent: bool = True, first: str = "ana", level: str = "standard", **different: object
    ) -> tuple[UUID, str]:
        """A patient with an address, and with consent to be written to there."""
        found = await self.ward.enrol(**different)
        address = f"{first}.{found.hex}@mail.example"
        point = {"contact_point_id": str(uuid4()), "channel": "email", "address": address, "preferred": True}
        path = f"/patients/{found}/contact-points"
        await self.ward.done("patients", path, {**point, "privacy_level": level}, CLERK)
        if consent:
            await self.ward.done("patients", f"/patients/{found}/consents", consent_to(address, found), CLERK)
        return found, address

    async def book(self, patient: UUID, start: datetime, **other: object) -> dict[str, Any]:
        visit = {
            "kind": "other",
            "clinician": {"person": str(uuid4()), "role": "prescriber"},
            "time_zone": "America/New_York",
            "starts_at": start.isoformat(),
            "minutes": 30,
            **other,
        }
        path = f"/patients/{patient}/appointments"
        return await self.ward.done("scheduling", path, visit, CLERK, params={"after": ON_THE_TEAM})

    async def mail(self, address: str) -> list[dict[str, Any]]:
        answer = await self.ward.staff.http.get(f"{self.ward.servers.mailbox_url}/messages", params={"to": address})
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    async def settled(self) -> dict[str, Any]:
        """What notifications has still to do."""
        http, servers = self.ward.staff.http, self.ward.servers
        token = await operator_token(http, servers.issuer_url, servers.client_secret)
        address = f"{self.ward.houses.address('notifications')}/settled"
        answer = await http.get(address, headers={"Authorization": f"Bearer {token}"})
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def facts(self, patient: UUID, *types: str) -> list[dict[str, Any]]:
        return await self.ward.facts("notifications", patient, *types)

    async def queued(self, patient: UUID) -> dict[str, Any]:
        [found] = await come_true(lambda: self.facts(patient, QUEUED))
        return found


def consent_to(address: str, patient: UUID) -> dict[str, object]:
    return {
        "consent_id": str(patient),  # Any id will do; this one a test finds again.
        "scope": "email",
        "address": address,
        "purposes": ["appointment_reminder", "follow_up"],
        "wording_version": "1",
        "how": "in_person",
    }


@pytest.fixture(scope="module")
async def clinic(servers: Servers, prefix: str) -> AsyncIterator[Clinic]:
    houses = ("patients", "prescribing", "scheduling", "notifications")
    async with ward(servers, f"{prefix}no_", houses, simulated=True) as found:
        await found.move(BEGIN)
        yield Clinic(found)


@pytest.fixture(autouse=True)
async def _a_day_of_its_own(clinic: Clinic) -> None:
    await clinic.at(clinic.now.replace(hour=15, minute=0) + 7 * DAY)


async def test_a_reminder_leaves_a_day_ahead_once_and_gives_nothing_away(clinic: Clinic) -> None:
    patient, address = await clinic.patient(given_name="Ana")
    start = clinic.now + 3 * DAY
    await clinic.book(patient, start, kind="therapy_session", place="North clinic, room 2")
    queued = await clinic.queued(patient)
    await clinic.at(start - DAY - timedelta(minutes=1))
    assert await clinic.facts(patient, SENT) == []
    await clinic.at(start - DAY)
    [sent] = await come_true(lambda: clinic.facts(patient, SENT))
    [message] = await clinic.mail(address)
    assert message["message_id"] == sent["provider_id"] == f"<{queued['message_id']}@clinic.example>"
    assert message["body"].startswith("Hello Ana,")
    assert f"{start.astimezone():%Y}" not in message["body"]
    for part in ("subject", "body", "from"):
        assert LEXICON.found_in(message[part]) == []
    assert "room" not in message["body"]
    told = json.dumps(await clinic.facts(patient), default=str)
    assert address not in told
    assert "Ana" not in told
    assert "Hello" not in told


async def test_a_patient_who_speaks_spanish_is_written_to_in_spanish_and_without_a_name_if_they_wish(
    clinic: Clinic,
) -> None:
    patient, address = await clinic.patient(language="es-MX", given_name="Ana", level="low_detail")
    await clinic.book(patient, clinic.now + timedelta(hours=20))
    await come_true(lambda: clinic.facts(patient, SENT))
    [message] = await clinic.mail(address)
    assert message["subject"].startswith("Recordatorio")
    assert message["body"].startswith("Hola:")
    assert "Ana" not in message["body"]


async def test_a_player_of_simulated_time_is_told_when_the_next_message_is_to_leave(clinic: Clinic) -> None:
    patient, _ = await clinic.patient()
    await clinic.book(patient, clinic.now + 3 * DAY)
    queued = await clinic.queued(patient)
    settled = await clinic.settled()
    assert datetime.fromisoformat(settled["next_due_at"]) == datetime.fromisoformat(queued["not_before"])
    assert settled["deliveries_due"] == 0


async def test_nobody_is_written_to_by_night(clinic: Clinic) -> None:
    patient, _ = await clinic.patient()
    night = clinic.now.replace(hour=2) + DAY  # 21:00 or 22:00 in New York.
    await clinic.at(night)
    await clinic.book(patient, night + timedelta(hours=14))
    await clinic.queued(patient)
    await clinic.at(night + timedelta(hours=8))  # 05:00 or 06:00.
    assert await clinic.facts(patient, SENT) == []
    await clinic.at(night + timedelta(hours=11))
    [sent] = await come_true(lambda: clinic.facts(patient, SENT))
    assert sent["at"] == clinic.now


async def test_without_consent_at_the_moment_of_sending_nothing_leaves(clinic: Clinic) -> None:
    never, unasked = await clinic.patient(consent=False)
    withdrawn, regretted = await clinic.patient()
    start = clinic.now + 3 * DAY
    for patient in (never, withdrawn):
        await clinic.book(patient, start)
        await clinic.queued(patient)
    path = f"/patients/{withdrawn}/consents/{withdrawn}/withdrawal"
    await clinic.ward.done("patients", path, {"how": "online"}, CLERK)
    await clinic.at(start - DAY)
    for patient in (never, withdrawn):
        [suppressed] = await come_true(lambda patient=patient: clinic.facts(patient, SUPPRESSED))
        assert suppressed["reason"] == "no_consent"
    assert await clinic.mail(unasked) == await clinic.mail(regretted) == []


async def test_a_follow_up_that_falls_due_with_nothing_booked_invites_by_day(clinic: Clinic) -> None:
    patient, address = await clinic.patient()
    booked, silent = await clinic.patient()
    for each in (patient, booked):
        await prescribed(clinic, each)
    [owed] = await come_true(lambda: clinic.ward.facts("scheduling", booked, "scheduling.follow-up-planned.v1"))
    due_at = datetime.fromisoformat(owed["due_at"])
    await clinic.book(booked, due_at + timedelta(hours=34), serves=[owed["obligation_id"]])
    await clinic.at(due_at)
    queued = await clinic.queued(patient)
    assert (queued["purpose"], queued["about"] != owed["obligation_id"]) == ("follow_up", True)
    assert await clinic.facts(patient, SENT) == []  # It is midnight.
    await clinic.at(due_at + timedelta(hours=8))
    await come_true(lambda: clinic.facts(patient, SENT))
    [message] = await clinic.mail(address)
    assert message["subject"] == "Please choose a time"
    assert LEXICON.found_in(message["subject"], message["body"]) == []
    assert [fact["purpose"] for fact in await clinic.facts(booked, QUEUED)] == ["appointment_reminder"]
    assert await clinic.mail(silent) == []


async def test_an_invitation_does_not_leave_when_a_visit_was_booked_in_the_meantime(clinic: Clinic) -> None:
    patient, address = await clinic.patient()
    await prescribed(clinic, patient)
    [owed] = await come_true(lambda: clinic.ward.facts("scheduling", patient, "scheduling.follow-up-planned.v1"))
    due_at = datetime.fromisoformat(owed["due_at"])
    await clinic.at(due_at)
    await clinic.queued(patient)
    await clinic.book(patient, due_at + timedelta(hours=62), serves=[owed["obligation_id"]])
    [suppressed] = await come_true(lambda: clinic.facts(patient, SUPPRESSED))
    assert suppressed["reason"] == "superseded"
    await clinic.at(due_at + timedelta(hours=8))
    assert await clinic.mail(address) == []


async def test_while_patients_does_not_answer_nothing_leaves_and_nothing_is_lost(clinic: Clinic) -> None:
    patient, address = await clinic.patient()
    late, missed = await clinic.patient()
    start = clinic.now + 2 * DAY
    await clinic.book(patient, start)
    await clinic.book(late, start - timedelta(hours=23))  # Its hours are over before patients is back.
    for each in (patient, late):
        await clinic.queued(each)
    clinic.ward.servers.stack.hold(f"{clinic.ward.houses.prefix}patients")
    clinic.ward.houses.started.remove("patients")
    try:
        await clinic.at(start - DAY)
        await come_true(lambda: held(clinic, patient))
        assert await clinic.facts(patient, SENT, SUPPRESSED) == []
        await clinic.at(start - timedelta(hours=22))
    finally:
        clinic.ward.houses.start("patients")
    await clinic.ward.move(clinic.now)
    await come_true(lambda: clinic.facts(patient, SENT))
    assert len(await clinic.mail(address)) == 1
    [sent_or_not] = await come_true(lambda: clinic.facts(late, SENT, SUPPRESSED))
    assert (sent_or_not["type"], len(await clinic.mail(missed))) in ((SENT, 1), (SUPPRESSED, 0))


async def test_a_reminder_for_a_visit_that_has_begun_is_too_late(clinic: Clinic) -> None:
    patient, address = await clinic.patient()
    night = clinic.now.replace(hour=3) + DAY  # 22:00 or 23:00 in New York.
    await clinic.at(night)
    await clinic.book(patient, night + timedelta(hours=4))
    await clinic.queued(patient)
    await clinic.at(night + timedelta(hours=12))
    [suppressed] = await come_true(lambda: clinic.facts(patient, SUPPRESSED))
    assert suppressed["reason"] == "too_late"
    assert await clinic.mail(address) == []


async def test_replaying_the_topic_from_zero_sends_nothing(clinic: Clinic) -> None:
    patient, address = await clinic.patient()
    await clinic.book(patient, clinic.now + timedelta(hours=20))
    await come_true(lambda: clinic.facts(patient, SENT))
    database = await clinic.ward.database("notifications")
    facts = await database.fetchval("SELECT count(*) FROM event")
    done = "SELECT sum(next_offset) FROM checkpoint WHERE work = 'messages'"
    before = await database.fetchval(done)
    assert before
    async with database.transaction():
        await database.execute("UPDATE checkpoint SET next_offset = 0 WHERE work = 'messages'")
        await database.execute("DELETE FROM seen WHERE work = 'messages'")

    async def read_again() -> bool:
        return bool(await database.fetchval(done) >= before)

    await come_true(read_again)
    other, _ = await clinic.patient()  # Who comes after the replay is reminded: it has really been gone through.
    await clinic.book(other, clinic.now + timedelta(hours=21))
    await come_true(lambda: clinic.facts(other, SENT))
    assert len(await clinic.mail(address)) == 1
    assert await database.fetchval("SELECT count(*) FROM event WHERE stream <> $1", str(other)) == facts


async def test_what_failed_for_now_is_tried_again_and_what_failed_for_good_or_is_unknown_is_not(
    clinic: Clinic,
) -> None:
    async with post_office() as office:
        await at_office(clinic, office)
        try:
            later, later_at = await clinic.patient(first="later")
            never, never_at = await clinic.patient(first="never")
            gone, gone_at = await clinic.patient(first="gone")
            for patient in (later, never, gone):
                await clinic.book(patient, clinic.now + timedelta(hours=20))
            await come_true(lambda: clinic.facts(later, SENT))
            failures = await clinic.facts(later, FAILED)
            assert [(fact["reason"], fact["will_retry"]) for fact in failures] == [("smtp_451", True)] * 2
            [refused] = await come_true(lambda: clinic.facts(never, FAILED))
            assert (refused["reason"], refused["will_retry"]) == ("smtp_550", False)
            [unknown] = await come_true(lambda: clinic.facts(gone, FAILED))
            assert (unknown["reason"], unknown["will_retry"]) == ("outcome_unknown", False)
            assert office.taken == {later_at: 1, gone_at: 1}
            assert office.asked[never_at] == 1
            assert str(gone) in await decisions_to_take(clinic)
        finally:
            await at_office(clinic, None)


async def at_office(clinic: Clinic, office: PostOffice | None) -> None:
    """Notifications with another mail server, or with the embedded stack's again."""
    clinic.ward.servers.stack.hold(f"{clinic.ward.houses.prefix}notifications")
    clinic.ward.houses.started.remove("notifications")
    clinic.ward.houses.start("notifications", **({"SMTP_PORT": str(office.port)} if office else {}))


async def decisions_to_take(clinic: Clinic) -> str:
    """Of whom a person has to decide: nobody can tell whether the message left."""
    headers = await clinic.ward.staff.headers("p-ward", "privacy_officer")
    address = clinic.ward.houses.address("notifications")
    answer = await clinic.ward.staff.http.get(f"{address}/messages/unknown", headers=headers)
    assert answer.status_code == httpx2.codes.OK, answer.text
    return answer.text


async def held(clinic: Clinic, patient: UUID) -> bool:
    """Whether the message was looked at and put back."""
    database = await clinic.ward.database("notifications")
    return bool(await database.fetchval("SELECT holds > 0 FROM delivery WHERE key = $1", str(patient)))


async def prescribed(clinic: Clinic, patient: UUID) -> None:
    order = {
        "medication": "sertraline",
        "dose": {"amount": "50", "unit": "mg"},
        "schedule": {"times": 1},
        "route": "oral",
        "indication": "depression",
        "days_supply": 30,
        "refills": 2,
    }
    path = f"/patients/{patient}/orders"
    await clinic.ward.done("prescribing", path, order, params={"after": ON_THE_TEAM})
