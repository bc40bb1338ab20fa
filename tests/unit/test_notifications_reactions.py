"""What scheduling's facts mean for notifications: whom to write to, about what, from when until when."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clinical import RuleRef
from contracts.fact import Fact
from contracts.scheduling import (
    AppointmentBooked,
    ContactMade,
    FollowUpDue,
    FollowUpFulfilled,
    FollowUpWithdrawn,
    Staff,
)
from services.notifications.domain.commands import QueueMessage, RecallMessages
from services.notifications.domain.hours import by_day, zone_or_none
from services.notifications.reactions import REACTS_TO, react
from tests.support.scenario import CORRELATION, NOW, PATIENT, event_of

VISIT, OWED = uuid5(CORRELATION, "visit"), uuid5(CORRELATION, "owed")
RULE = RuleRef(rule_id="FU-AD-FIRST-STD", version="2")
NEW_YORK = ZoneInfo("America/New_York")

booked = AppointmentBooked(
    appointment_id=VISIT,
    kind="medication_review",
    clinician=Staff(person="dr-okafor", role="prescriber"),
    starts_at=datetime(2026, 3, 9, 13, 30, tzinfo=UTC),  # 09:30 in New York.
    wall_time="2026-03-09T09:30",
    time_zone="America/New_York",
    minutes=30,
    remote=False,
)
due = FollowUpDue(obligation_id=OWED, kind="medication_review", due_on=date(2026, 3, 2), rule=RULE, booked=False)


def commands(fact: Fact, **attributes: Any) -> list[Any]:
    reactions = list(react(event_of(fact, **attributes)))
    assert {reaction.key for reaction in reactions} <= {str(PATIENT)}
    return [reaction.command for reaction in reactions]


def test_a_visit_is_reminded_of_a_day_ahead() -> None:
    [queue] = commands(booked)
    assert queue == QueueMessage(
        message_id=queue.message_id,
        purpose="appointment_reminder",
        channel="email",
        about=VISIT,
        not_before=datetime(2026, 3, 8, 13, 30, tzinfo=UTC),
        not_after=booked.starts_at,
        wall_time="2026-03-09T09:30",
        time_zone="America/New_York",
    )


@pytest.mark.parametrize(
    ("start", "not_before"),
    [
        (datetime(2026, 3, 12, 6, 0), datetime(2026, 3, 11, 8, 0)),  # Too early in the morning: at eight.
        (datetime(2026, 3, 12, 8, 0), datetime(2026, 3, 11, 8, 0)),
        (datetime(2026, 3, 12, 20, 59), datetime(2026, 3, 11, 20, 59)),
        (datetime(2026, 3, 12, 21, 0), datetime(2026, 3, 12, 8, 0)),  # Too late in the evening: the next morning.
    ],
)
def test_a_reminder_waits_for_the_day_where_the_visit_is(start: datetime, not_before: datetime) -> None:
    visit = booked.model_copy(update={"starts_at": start.replace(tzinfo=NEW_YORK).astimezone(UTC)})
    [queue] = commands(visit)
    assert queue.not_before.astimezone(NEW_YORK).replace(tzinfo=None) == not_before


def test_a_follow_up_that_falls_due_with_nothing_booked_invites() -> None:
    [queue] = commands(due)
    assert (queue.purpose, queue.about) == ("follow_up", OWED)
    assert (queue.not_before, queue.not_after) == (NOW, NOW + timedelta(days=3))


def test_a_follow_up_for_which_a_visit_is_booked_invites_nobody() -> None:
    assert commands(due.model_copy(update={"booked": True})) == []


def test_a_visit_that_serves_a_follow_up_recalls_the_invitation_to_it() -> None:
    recall, queue = commands(booked.model_copy(update={"serves": (OWED,)}))
    assert recall == RecallMessages(about=(OWED,), reason="superseded")
    assert queue.purpose == "appointment_reminder"


@pytest.mark.parametrize(
    "ended",
    [
        FollowUpFulfilled(obligation_id=OWED, by=VISIT, rule=RULE),
        FollowUpWithdrawn(obligation_id=OWED, reason="superseded", by=VISIT),
    ],
)
def test_what_is_no_longer_owed_is_not_written_about(ended: Fact) -> None:
    assert commands(ended) == [RecallMessages(about=(OWED,), reason="superseded")]


def test_one_cause_is_one_message_and_another_cause_another() -> None:
    [first], [again], [other] = commands(booked), commands(booked), commands(booked, id=OWED)
    assert first.message_id == again.message_id != other.message_id
    [invitation] = commands(due)
    assert invitation.message_id != first.message_id


def test_what_is_announced_is_what_is_reacted_to() -> None:
    contact = ContactMade(contact_id=VISIT, channel="telephone", reached=True, risk_asked=True)
    assert commands(contact) == []
    assert {AppointmentBooked.TYPE, FollowUpDue.TYPE, FollowUpFulfilled.TYPE, FollowUpWithdrawn.TYPE} == REACTS_TO


def test_a_visit_in_a_zone_that_nobody_knows_is_reminded_of_all_the_same() -> None:
    [queue] = commands(booked.model_copy(update={"time_zone": "Nowhere"}))
    assert queue.not_before == booked.starts_at - timedelta(hours=24)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Santiago", "Australia/Lord_Howe"]),
)
def test_the_next_hour_by_day_is_by_day_and_within_eleven_hours(at: datetime, name: str) -> None:
    zone = zone_or_none(name)
    assert zone
    found = by_day(at, zone)
    assert 8 <= found.astimezone(zone).hour < 21
    assert timedelta(0) <= found - at <= timedelta(hours=12)


@pytest.mark.parametrize("name", [None, "", "Nowhere", "../etc/passwd", "America"])
def test_what_is_no_zone_is_none(name: str | None) -> None:
    assert zone_or_none(name) is None
