"""Visits: at a time that the clock really shows, still to come, agreed once."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid5

import pytest
from pydantic import ValidationError

from contracts.scheduling import AppointmentBooked, FollowUpFulfilled, FollowUpPlanned, Staff
from services.scheduling.domain.commands import BookAppointment, Clinician
from services.scheduling.domain.follow_ups import follow_ups
from services.scheduling.domain.rules import load_rules
from services.scheduling.domain.state import FollowUps
from tests.reference.follow_up_calendar import Happening
from tests.support.course import Course
from tests.support.scenario import CORRELATION, NOW, Scenario

VISIT = uuid5(CORRELATION, "visit")
STARTS = datetime(2026, 3, 9, 13, 30, tzinfo=UTC)  # 09:30 in New York, on daylight saving time since the day before.


@pytest.fixture
def patient() -> Scenario[FollowUps, Any, Any]:
    return Scenario(follow_ups(load_rules()), actor_role="clerk")


def booking(**changes: Any) -> BookAppointment:
    given = {
        "appointment_id": VISIT,
        "kind": "medication_review",
        "clinician": Clinician(person="dr-okafor", role="prescriber"),
        "time_zone": "America/New_York",
        "starts_at": STARTS,
        "minutes": 30,
        "place": "Room 4",
    }
    return BookAppointment(**{**given, **changes})


booked = AppointmentBooked(
    appointment_id=VISIT,
    kind="medication_review",
    clinician=Staff(person="dr-okafor", role="prescriber"),
    starts_at=STARTS,
    wall_time="2026-03-09T09:30",
    time_zone="America/New_York",
    minutes=30,
    place="Room 4",
    remote=False,
)


def test_a_visit_is_agreed_as_an_instant_and_as_the_wall_time_the_patient_is_told(patient: Any) -> None:
    patient.when(booking())
    patient.then(booked)


def test_a_wall_time_alone_is_enough_where_the_clock_shows_it_once(patient: Any) -> None:
    patient.when(booking(starts_at=None, wall_time=datetime(2026, 3, 9, 9, 30)))
    patient.then(booked)


def test_the_same_visit_asked_for_twice_is_booked_once(patient: Any) -> None:
    patient.when(booking())
    patient.when_asked_again(now=STARTS + timedelta(days=1))
    patient.then_nothing()


def test_one_id_is_one_visit(patient: Any) -> None:
    patient.given(booked)
    patient.when(booking(minutes=45))
    patient.then_rejected("appointment_id_already_used")


def test_a_visit_lies_in_the_future(patient: Any) -> None:
    patient.when(booking(starts_at=NOW))
    patient.then_rejected("appointment_in_the_past")


def test_a_visit_in_the_wrong_year_is_noticed(patient: Any) -> None:
    patient.when(booking(starts_at=datetime(2062, 3, 9, 13, 30, tzinfo=UTC)))
    patient.then_rejected("appointment_too_far_ahead")


def test_a_wall_time_that_the_clock_skips_is_refused(patient: Any) -> None:
    patient.when(booking(starts_at=None, wall_time=datetime(2026, 3, 8, 2, 30)))
    patient.then_rejected("wall_time_does_not_exist")


def test_a_wall_time_that_comes_twice_is_asked_about(patient: Any) -> None:
    twice = datetime(2026, 11, 1, 1, 30)
    patient.when(booking(starts_at=None, wall_time=twice))
    patient.then_rejected("wall_time_comes_twice")
    patient.when(booking(starts_at=datetime(2026, 11, 1, 6, 30, tzinfo=UTC), wall_time=twice))
    [second] = patient.decisions()
    assert (second.wall_time, second.starts_at.hour) == ("2026-11-01T01:30", 6)


def test_an_instant_and_a_wall_time_that_differ_are_refused(patient: Any) -> None:
    patient.when(booking(wall_time=datetime(2026, 3, 9, 8, 30)))
    patient.then_rejected("wall_time_contradicts_start")


def test_a_time_zone_is_one_of_the_iana_database(patient: Any) -> None:
    patient.when(booking(time_zone="Eastern Time"))
    patient.then_rejected("unknown_time_zone")


def test_a_patient_is_in_one_place_at_a_time(patient: Any) -> None:
    patient.given(booked)
    other = uuid5(CORRELATION, "other visit")
    patient.when(booking(appointment_id=other, starts_at=STARTS + timedelta(minutes=29)))
    patient.then_rejected("patient_already_booked")
    patient.when(booking(appointment_id=other, starts_at=STARTS + timedelta(minutes=30)))
    assert len(patient.decisions()) == 1


def test_a_visit_serves_only_what_is_owed_to_this_patient(patient: Any) -> None:
    patient.when(booking(serves=(VISIT,)))
    patient.then_rejected("unknown_follow_up")


def test_a_visit_cannot_serve_what_is_answered_already() -> None:
    course = Course(follow_ups(load_rules()))
    course.enrol(date(1980, 5, 17), "America/New_York", NOW)
    course.happen(Happening("start", NOW))
    course.happen(Happening("review", NOW + timedelta(days=10)))
    [answered] = [fact.obligation_id for fact in course.facts if isinstance(fact, FollowUpFulfilled)]
    [open_one] = course.owed
    assert isinstance(open_one, FollowUpPlanned)
    patient = Scenario(course.decider)
    patient.state = course.state
    patient.when(booking(serves=(open_one.obligation_id,)))
    assert len(patient.decisions()) == 1
    patient.when(booking(serves=(answered,)))
    patient.then_rejected("follow_up_already_closed")


@pytest.mark.parametrize(
    "changes",
    [
        {"starts_at": None},
        {"starts_at": STARTS.replace(tzinfo=None)},
        {"starts_at": STARTS + timedelta(seconds=1)},
        {"minutes": 0},
        {"kind": "party"},
        {"clinician": {"person": "dr-okafor", "role": "porter"}},
        {"place": "Room\x004"},
    ],
)
def test_a_booking_that_makes_no_sense_is_no_booking(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        booking(**changes)
