"""What is owed to a patient: opened by its cause, answered by what its rule admits, never forgotten."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from chassis.decider import Rejected
from contracts.clinical import BirthDateNoted, RuleRef, TimeZoneNoted
from contracts.scheduling import (
    ContactMade,
    FollowUpDue,
    FollowUpFulfilled,
    FollowUpOverdue,
    FollowUpPlanned,
    OrderNoted,
    PatientNoted,
)
from services.scheduling.domain.commands import (
    BookAppointment,
    CallDue,
    CallOverdue,
    Clinician,
    NoteEnrolment,
    NoteOrder,
    NoteRiskFlag,
    RecordContact,
)
from services.scheduling.domain.follow_ups import follow_ups
from services.scheduling.domain.rules import load_rules
from tests.reference.follow_up_calendar import Happening
from tests.support.course import Course, named
from tests.support.scenario import Scenario, ask_for

FOLLOW_UPS = follow_ups(load_rules())
NEW_YORK = "America/New_York"
STARTED = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # 10:00 on Monday, 2 March, in New York.
GROWN, YOUNG = date(1980, 5, 17), date(2003, 5, 17)


def day(days: int, minutes: int = 0) -> datetime:
    return STARTED + timedelta(days=days, minutes=minutes)


def course(birth: date = GROWN, zone: str = NEW_YORK) -> Course:
    """A patient who was enrolled and then began an antidepressant on 2 March 2026."""
    found = Course(FOLLOW_UPS)
    found.enrol(birth, zone, day(-1))
    found.happen(start)
    return found


def owed(found: Course) -> list[tuple[str, date]]:
    return sorted((one.rule.rule_id, one.due_on) for one in found.owed)


start = Happening("start", STARTED)
review = Happening("review", day(14), risk_asked=True, important=False)
session = Happening("session", day(14), role="therapist")
call = Happening("contact", day(14), form="telephone")
flag = Happening("flag", day(3), thing="F", role="therapist")


def test_a_first_antidepressant_is_reviewed_in_the_second_week() -> None:
    [planned] = course().owed
    assert planned == FollowUpPlanned(
        obligation_id=planned.obligation_id,
        kind="medication_review",
        cause=planned.cause,
        order_id=named("A"),
        rule=RuleRef(rule_id="FU-AD-FIRST-STD", version="2"),
        window_from_on=date(2026, 3, 9),
        due_on=date(2026, 3, 16),
        overdue_after_on=date(2026, 3, 16),
        due_at=datetime(2026, 3, 16, 4, 0, tzinfo=UTC),  # Daylight saving began on 8 March.
        overdue_at=datetime(2026, 3, 17, 4, 0, tzinfo=UTC),
        owner_role="prescriber",
        time_zone=NEW_YORK,
    )


def test_under_thirty_the_first_review_is_due_within_a_week() -> None:
    assert owed(course(YOUNG)) == [("FU-AD-FIRST-YOUNG", date(2026, 3, 9))]


def test_age_is_counted_on_the_patients_own_day_of_the_start() -> None:
    thirty_tomorrow = date(1996, 3, 3)
    assert owed(course(thirty_tomorrow)) == [("FU-AD-FIRST-YOUNG", date(2026, 3, 9))]
    assert owed(course(thirty_tomorrow, "Pacific/Auckland")) == [("FU-AD-FIRST-STD", date(2026, 3, 17))]


def test_after_the_first_review_the_next_is_due_four_weeks_later_counted_from_it() -> None:
    found = course()
    found.happen(replace(review, at=day(10)))
    assert owed(found) == [("FU-AD-FIRST-STD", date(2026, 4, 9))]
    assert found.owed[0].window_from_on == date(2026, 3, 26)


def test_a_review_that_falls_due_on_the_ninetieth_day_is_still_planned() -> None:
    found = course()
    found.happen(replace(review, at=day(14)))
    found.happen(replace(review, at=day(34)))
    found.happen(replace(review, at=day(62)))
    assert owed(found) == [("FU-AD-FIRST-STD", STARTED.date() + timedelta(days=90))]


def test_when_the_reviews_have_run_out_the_floor_opens() -> None:
    found = course()
    for days in (14, 42, 70):
        found.happen(replace(review, at=day(days)))
    assert owed(found) == [("FU-FLOOR", date(2026, 8, 9))]  # 90 days after the last review.


def test_a_therapy_session_never_closes_a_medication_review() -> None:
    found = course()
    assert found.happen(session) == []
    assert owed(found) == [("FU-AD-FIRST-STD", date(2026, 3, 16))]


@pytest.mark.parametrize(
    "answer",
    [
        review,
        replace(review, role="nurse", form="video"),
        call,
        replace(call, form="in_person"),
        replace(call, role="nurse", delegated=True),
        replace(call, role="care_manager", delegated=True),
        replace(call, at=day(7)),  # The window's first day.
        replace(call, at=day(40)),  # Late, but done.
    ],
)
def test_a_review_by_the_prescriber_or_a_named_delegate_answers(answer: Happening) -> None:
    found = course()
    [first] = found.owed
    found.happen(answer)
    assert found.ended(first.obligation_id) == "fulfilled"


@pytest.mark.parametrize(
    "answer",
    [
        replace(call, reached=False),
        replace(call, form="message"),
        replace(call, role="therapist"),
        replace(call, role="therapist", delegated=True),
        replace(call, role="nurse"),  # On nobody's behalf.
        replace(call, at=day(6)),  # Before the window.
        replace(review, at=day(6)),
        replace(review, orders=("B",)),  # Another drug was looked at.
    ],
)
def test_what_the_rule_does_not_admit_leaves_the_review_open(answer: Happening) -> None:
    found = course()
    before = owed(found)
    found.happen(answer)
    assert owed(found) == before


def test_what_came_before_the_start_does_not_answer_it() -> None:
    found = course(YOUNG)
    found.happen(replace(review, at=STARTED))
    assert owed(found) == [("FU-AD-FIRST-YOUNG", date(2026, 3, 9))]


def test_under_thirty_reviews_stay_weekly_until_one_records_that_risk_is_cleared() -> None:
    found = course(YOUNG)
    found.happen(replace(call, at=day(7), risk_asked=False))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 16))]
    found.happen(replace(review, at=day(13), important=True))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 22))]
    found.happen(replace(review, at=day(20), important=False))
    assert owed(found) == [("FU-AD-FIRST-YOUNG", date(2026, 4, 19))]


def test_once_risk_is_cleared_a_later_review_need_not_ask_again() -> None:
    found = course(YOUNG)
    found.happen(replace(review, at=day(7), important=False))
    found.happen(replace(call, at=day(30), risk_asked=False))
    assert owed(found) == [("FU-AD-FIRST-YOUNG", date(2026, 4, 29))]


def test_a_review_from_before_the_flag_does_not_answer_it() -> None:
    found = course()
    found.happen(flag)
    found.happen(replace(review, at=day(3, minutes=-30)))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 12))]


def test_a_raised_risk_flag_asks_for_a_review_within_a_week_that_asks_about_risk() -> None:
    found = course()
    found.happen(flag)
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 12))]
    found.happen(replace(call, at=day(5)))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 12))]
    found.happen(replace(call, at=day(6), risk_asked=True))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 15))]


def test_a_flag_never_makes_a_review_later_than_it_was() -> None:
    found = course()
    found.happen(replace(flag, at=day(12)))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 16))]


def test_a_closed_flag_alone_does_not_end_the_weekly_reviews() -> None:
    found = course()
    found.happen(flag)
    found.happen(replace(flag, what="unflag", at=day(4)))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 12))]
    found.happen(replace(review, at=day(10)))
    assert owed(found) == [("FU-AD-FIRST-STD", date(2026, 4, 9))]


def test_while_a_flag_is_open_reviews_stay_weekly_whatever_a_review_says() -> None:
    found = course()
    found.happen(flag)
    found.happen(replace(review, at=day(10), important=False))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 19))]


@pytest.mark.parametrize("closed", [False, True])
def test_it_does_not_matter_whether_the_flag_or_the_order_is_noted_first(closed: bool) -> None:
    flags = [flag] + [replace(flag, what="unflag", at=day(4))] * closed
    first_order, first_flag = Course(FOLLOW_UPS), Course(FOLLOW_UPS)
    for found, happenings in ((first_order, [start, *flags]), (first_flag, [*flags, start])):
        found.enrol(GROWN, NEW_YORK, day(-1))
        for one in happenings:
            found.asked = 100 + [start, *flags].index(one)  # The cause is the same event in both.
            found.happen(one)
    assert first_flag.owed == first_order.owed
    assert owed(first_flag) == [("FU-AD-FIRST-RISK", date(2026, 3, 12))]


def test_a_higher_dose_starts_the_clock_anew_and_supersedes_the_open_review() -> None:
    found = course()
    [first] = found.owed
    found.happen(Happening("raise", day(5)))
    assert found.ended(first.obligation_id) == "superseded"
    assert owed(found) == [("FU-AD-DOSE-UP", date(2026, 3, 14))]
    found.happen(replace(review, at=day(12)))
    assert owed(found) == [("FU-AD-DOSE-UP", date(2026, 4, 11))]


def test_a_higher_dose_does_not_put_off_a_review_for_raised_risk() -> None:
    found = course()
    found.happen(flag)
    found.happen(Happening("raise", day(9)))
    assert owed(found) == [("FU-AD-FIRST-RISK", date(2026, 3, 12))]


@pytest.mark.parametrize("change", ["lowered", "rescheduled"])
def test_a_dose_that_does_not_rise_changes_no_review(change: Any) -> None:
    found = course()
    found.ask(NoteOrder(order_id=named("A"), classes=("antidepressant",), change=change), day(5))
    assert owed(found) == [("FU-AD-FIRST-STD", date(2026, 3, 16))]


def test_the_end_of_an_order_ends_what_was_owed_for_it() -> None:
    found = course()
    [first] = found.owed
    found.happen(Happening("stop", day(5)))
    assert found.ended(first.obligation_id) == "cause_ended"
    assert found.owed == []


def test_a_drug_without_a_rule_of_its_own_is_reviewed_within_ninety_days() -> None:
    found = Course(FOLLOW_UPS)
    found.enrol(GROWN, NEW_YORK, day(-1))
    found.happen(replace(start, antidepressant=False))
    assert owed(found) == [("FU-FLOOR", date(2026, 5, 31))]
    assert found.owed[0].rule.unverified


def test_the_floor_makes_way_for_a_nearer_date_and_comes_back_after_it() -> None:
    found = Course(FOLLOW_UPS)
    found.enrol(GROWN, NEW_YORK, day(-1))
    found.happen(replace(start, thing="L", antidepressant=False))
    [floor] = found.owed
    found.happen(replace(start, at=day(10)))
    assert found.ended(floor.obligation_id) == "superseded"
    found.happen(Happening("stop", day(12)))
    assert owed(found) == [("FU-FLOOR", date(2026, 5, 31))]


def test_the_floor_is_answered_by_a_clinician_of_any_discipline() -> None:
    found = Course(FOLLOW_UPS)
    found.enrol(GROWN, NEW_YORK, day(-1))
    found.happen(replace(start, antidepressant=False))
    found.happen(replace(call, role="therapist", at=day(30)))
    assert owed(found) == [("FU-FLOOR", date(2026, 6, 30))]


def test_an_order_that_is_heard_of_before_the_enrolment_waits_for_it() -> None:
    found = Course(FOLLOW_UPS)
    noted = found.happen(start)
    assert noted == [
        PatientNoted(noted=OrderNoted(order_id=named("A"), classes=("antidepressant", "ssri"), change="started"))
    ]
    facts = found.enrol(YOUNG, NEW_YORK, day(0, minutes=1))
    assert [type(fact) for fact in facts] == [PatientNoted, PatientNoted, FollowUpPlanned]
    assert owed(found) == [("FU-AD-FIRST-YOUNG", date(2026, 3, 9))]


def test_enrolment_notes_birth_date_time_zone_and_clinic() -> None:
    patient = Scenario(FOLLOW_UPS)
    enrol = NoteEnrolment(birth_date=GROWN, sex="female", time_zone=NEW_YORK, clinic="north")
    patient.when(enrol)
    patient.then(
        PatientNoted(noted=BirthDateNoted(birth_date=GROWN, sex="female")),
        PatientNoted(noted=TimeZoneNoted(time_zone=NEW_YORK, clinic="north")),
    )


def test_an_enrolment_without_a_known_time_zone_is_refused_and_said_so() -> None:
    patient = Scenario(FOLLOW_UPS)
    patient.when(NoteEnrolment(birth_date=GROWN, sex="female", time_zone="Mars/Olympus", clinic="north"))
    patient.then_rejected("unknown_time_zone")


def test_a_flag_that_was_never_raised_cannot_be_closed() -> None:
    patient = Scenario(FOLLOW_UPS)
    patient.when(NoteRiskFlag(flag_id=named("F"), tier=None))
    patient.then_rejected("unknown_risk_flag")


def test_a_closed_flag_keeps_its_tier() -> None:
    found = course()
    found.happen(flag)
    facts: Any = found.happen(replace(flag, what="unflag", at=day(4)))
    assert (facts[0].noted.tier, facts[0].noted.open) == ("moderate", False)


def test_a_follow_up_falls_due_on_its_day_and_not_before() -> None:
    found = course()
    [first] = found.owed
    with pytest.raises(Rejected, match="not_due_yet"):
        found.ask(CallDue(obligation_id=first.obligation_id), first.due_at - timedelta(seconds=1))
    assert found.ask(CallDue(obligation_id=first.obligation_id), first.due_at) == [
        FollowUpDue(
            obligation_id=first.obligation_id,
            kind="medication_review",
            due_on=date(2026, 3, 16),
            rule=first.rule,
            booked=False,
        )
    ]
    assert found.ask(CallDue(obligation_id=first.obligation_id), day(20)) == []


def test_a_follow_up_is_overdue_once_its_last_day_has_passed() -> None:
    found = course()
    [first] = found.owed
    [overdue] = found.ask(CallOverdue(obligation_id=first.obligation_id), first.overdue_at)
    assert isinstance(overdue, FollowUpOverdue)
    assert overdue.overdue_after_on == date(2026, 3, 16)
    assert found.ask(CallOverdue(obligation_id=first.obligation_id), day(20)) == []


def test_what_was_answered_does_not_fall_due_any_more() -> None:
    found = course()
    [first] = found.owed
    found.happen(replace(review, at=day(9)))
    assert found.ask(CallDue(obligation_id=first.obligation_id), first.due_at) == []
    assert found.ask(CallOverdue(obligation_id=first.obligation_id), first.overdue_at) == []


def test_a_follow_up_with_a_visit_booked_for_it_says_so_until_the_visit_is_over() -> None:
    found = course()
    [first] = found.owed
    booking = BookAppointment(
        kind="medication_review",
        clinician=Clinician(person="dr-okafor", role="prescriber"),
        time_zone=NEW_YORK,
        starts_at=day(15),
        minutes=30,
        serves=(first.obligation_id,),
    )
    found.ask(booking, day(1))
    before = FOLLOW_UPS.decide(found.state, asked_due(first, day(15, minutes=29)))
    after = FOLLOW_UPS.decide(found.state, asked_due(first, day(15, minutes=30)))
    assert [fact.booked for fact in (*before, *after) if isinstance(fact, FollowUpDue)] == [True, False]


@pytest.mark.parametrize(
    ("kind", "days", "counts"),
    [
        ("medication_review", 14, True),  # On the day itself, at eleven.
        ("medication_review", 15, False),  # Too late to be in time: the patient is invited to come sooner.
        ("therapy_session", 14, False),  # It would not answer.
    ],
)
def test_a_visit_that_will_answer_in_time_needs_no_invitation_though_nobody_said_what_it_is_for(
    kind: Any, days: int, counts: bool
) -> None:
    found = course()
    [first] = found.owed
    visit = BookAppointment(
        kind=kind,
        clinician=Clinician(person="dr-okafor", role="prescriber"),
        time_zone=NEW_YORK,
        starts_at=day(days),
        minutes=30,
    )
    found.ask(visit, day(1))
    [due] = FOLLOW_UPS.decide(found.state, asked_due(first, first.due_at))
    assert isinstance(due, FollowUpDue)
    assert due.booked is counts


def test_the_clinics_own_grace_decides_what_is_late_where_a_rule_names_none() -> None:
    found = Course(follow_ups(load_rules(), grace_days=3))
    found.enrol(GROWN, NEW_YORK, day(-1))
    found.happen(start)
    assert found.owed[0].overdue_after_on == date(2026, 3, 19)


def test_a_contact_is_recorded_with_what_it_answers() -> None:
    found = course()
    [first] = found.owed
    facts = found.ask(RecordContact(contact_id=named("C"), channel="telephone", reached=True, minutes=12), day(14))
    made = ContactMade(contact_id=named("C"), channel="telephone", reached=True, risk_asked=False, minutes=12)
    fulfilled = facts[1]
    assert facts[0] == made
    assert isinstance(fulfilled, FollowUpFulfilled)
    assert fulfilled.obligation_id == first.obligation_id
    assert fulfilled.by in found.state.noted  # The contact's own event.


def test_the_same_contact_recorded_twice_is_one_contact() -> None:
    patient = Scenario(FOLLOW_UPS)
    contact = RecordContact(contact_id=named("C"), channel="telephone", reached=False)
    patient.when(contact)
    patient.then(ContactMade(contact_id=named("C"), channel="telephone", reached=False, risk_asked=False))
    patient.when_asked_again()
    patient.then_nothing()
    patient.when(contact.model_copy(update={"reached": True}))
    patient.then_rejected("contact_id_already_used")


def test_risk_cannot_have_been_asked_of_somebody_who_was_not_reached() -> None:
    patient = Scenario(FOLLOW_UPS)
    patient.when(RecordContact(channel="telephone", reached=False, risk_asked=True))
    patient.then_rejected("risk_asked_of_nobody")


def asked_due(planned: FollowUpPlanned, at: datetime) -> Any:
    return ask_for(CallDue(obligation_id=planned.obligation_id), now=at)
