"""Courses of therapy, sessions, questionnaires and risk flags: sentences about care."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid5

import pytest

from contracts.clinical import AllergyNoted, BirthDateNoted, RuleRef
from contracts.therapy import (
    ItemAnswer,
    MeasureRecorded,
    PatientNoted,
    RiskFlagClosed,
    RiskFlagRaised,
    SessionCompleted,
    TherapyFact,
    TherapyStarted,
)
from services.therapy.domain.care import Care, therapy
from services.therapy.domain.commands import (
    Answer,
    CloseRiskFlag,
    CompleteSession,
    NotePatient,
    RecordMeasure,
    StartTherapy,
    TherapyCommand,
)
from services.therapy.domain.measures import load_measures
from services.therapy.domain.modalities import load_modalities
from tests.support.scenario import CLINICIAN, NOW, Scenario

Patient = Scenario[Care, TherapyCommand, TherapyFact]

birth_date = BirthDateNoted(birth_date=date(2000, 5, 4), sex="female")
noted = PatientNoted(noted=birth_date)

EPISODE = UUID("e1000000-0000-4000-8000-000000000001")
ANOTHER = UUID("ff000000-0000-4000-8000-000000000001")
start = StartTherapy(episode_id=EPISODE, modality="CBT", planned_sessions=16, sessions_per_month=4)
started = TherapyStarted(
    episode_id=EPISODE, modality="CBT", therapist=CLINICIAN, planned_sessions=16, sessions_per_month=4
)

SESSION = UUID("5e000000-0000-4000-8000-000000000001")
complete = CompleteSession(
    session_id=SESSION,
    episode_id=EPISODE,
    kind="treatment",
    started_at=NOW - timedelta(minutes=50),
    ended_at=NOW,
    remote=False,
    interventions=("behavioural_activation",),
    plan_summary="Two walks a week; review next Monday.",
    medication_talked_about=("adherence",),
)
completed = SessionCompleted(**{**dict(complete), "modality": "CBT"})

FORM = UUID("f0000000-0000-4000-8000-000000000001")


def phq9(*values: int | None) -> tuple[Answer, ...]:
    """Answers by item from 1; None is one that was left out."""
    return tuple(Answer(item=item, value=value) for item, value in enumerate(values, 1) if value is not None)


record = RecordMeasure(
    measure_record_id=FORM, measure="PHQ-9", answers=phq9(2, 2, 1, 2, 1, 2, 1, 1, 0), mode="in_person", language="en"
)
recorded = MeasureRecorded(
    measure_record_id=FORM,
    measure="PHQ-9",
    answers=tuple(ItemAnswer(item=a.item, value=a.value) for a in record.answers),
    total=12,
    band="moderate",
    scoring=RuleRef(rule_id="PHQ-9", version="1"),
    loinc="44261-6",
    answered_by="patient",
    mode="in_person",
    language="en",
)

FLAG = uuid5(FORM, "PHQ-9:flag:9")
flagged = RiskFlagRaised(
    flag_id=FLAG,
    tier="moderate",
    measure="PHQ-9",
    item=9,
    measure_record_id=FORM,
    rule=RuleRef(rule_id="PHQ-9:flag:9", version="1"),
)
close = CloseRiskFlag(flag_id=FLAG, safety_action="safety_plan_agreed", text="Plan agreed, copy given, sister knows.")
closed = RiskFlagClosed(flag_id=FLAG, safety_action="safety_plan_agreed", text="Plan agreed, copy given, sister knows.")


def but(model: Any, **changes: Any) -> Any:
    """The same, with some fields changed and all of them checked again."""
    return type(model)(**{**dict(model), **changes})


@pytest.fixture
def stranger() -> Patient:
    return Scenario(therapy(load_measures(), load_modalities()), actor_role="therapist")


@pytest.fixture
def patient(stranger: Patient) -> Patient:
    stranger.given(noted)
    return stranger


@pytest.fixture
def in_therapy(patient: Patient) -> Patient:
    patient.given(started)
    return patient


def test_therapy_notes_who_was_enrolled(stranger: Patient) -> None:
    stranger.when(NotePatient(noted=birth_date))
    stranger.then(noted)


def test_what_is_noted_already_is_not_noted_again(patient: Patient) -> None:
    patient.when(NotePatient(noted=birth_date))
    patient.then_nothing()


def test_a_corrected_birth_date_is_noted_anew(patient: Patient) -> None:
    patient.when(NotePatient(noted=but(birth_date, birth_date=date(2001, 5, 4))))
    patient.then(PatientNoted(noted=but(birth_date, birth_date=date(2001, 5, 4))))


def test_what_therapy_does_not_decide_by_is_not_noted(patient: Patient) -> None:
    patient.when(NotePatient(noted=AllergyNoted(allergy_id=ANOTHER, substance="x", severity="mild", active=True)))
    patient.then_nothing()


@pytest.mark.parametrize("command", [start, complete, record, close], ids=type)
def test_nothing_is_decided_of_a_patient_who_is_not_yet_known(stranger: Patient, command: TherapyCommand) -> None:
    stranger.when(command)
    stranger.then_rejected("not_yet_known")


def test_a_course_of_therapy_begins_with_who_asks_for_it(patient: Patient) -> None:
    patient.when(start)
    patient.then(started)


def test_a_course_of_therapy_may_begin_with_a_colleague(patient: Patient) -> None:
    patient.when(but(start, therapist="t-2"))
    patient.then(but(started, therapist="t-2"))


def test_a_course_begun_twice_is_one(in_therapy: Patient) -> None:
    in_therapy.when(start)
    in_therapy.then_nothing()


def test_one_id_is_never_two_courses(in_therapy: Patient) -> None:
    in_therapy.when(but(start, modality="IPT"))
    in_therapy.then_rejected("episode_id_already_used")


@pytest.mark.parametrize("modality", ["cbt", "Hypnosis", "CBT "])
def test_a_modality_is_one_of_those_on_file(patient: Patient, modality: str) -> None:
    patient.when(start.model_copy(update={"modality": modality}))
    refusal = patient.then_rejected("modality_unknown")
    assert "CBT" in refusal.sentence


def test_a_session_took_place(in_therapy: Patient) -> None:
    in_therapy.when(complete)
    in_therapy.then(completed)


def test_a_session_has_the_modality_of_its_course(patient: Patient) -> None:
    patient.given(but(started, modality="IPT"))
    patient.when(complete)
    patient.then(but(completed, modality="IPT"))


def test_a_session_recorded_twice_is_one(in_therapy: Patient) -> None:
    in_therapy.given(completed)
    in_therapy.when(complete)
    in_therapy.then_nothing()


def test_a_session_told_in_another_offset_is_the_same_session(in_therapy: Patient) -> None:
    in_therapy.given(completed)
    new_york = timezone(timedelta(hours=-5))
    in_therapy.when(
        but(complete, started_at=complete.started_at.astimezone(new_york), ended_at=NOW.astimezone(new_york))
    )
    in_therapy.then_nothing()


def test_one_id_is_never_two_sessions(in_therapy: Patient) -> None:
    in_therapy.given(completed)
    in_therapy.when(but(complete, started_at=NOW - timedelta(minutes=49)))
    in_therapy.then_rejected("session_id_already_used")


def test_a_session_belongs_to_a_course(patient: Patient) -> None:
    patient.when(complete)
    patient.then_rejected("episode_unknown")


@pytest.mark.parametrize("minutes", [0, -1])
def test_a_session_ends_after_it_starts(in_therapy: Patient, minutes: int) -> None:
    in_therapy.when(but(complete, started_at=NOW - timedelta(minutes=minutes)))
    in_therapy.then_rejected("session_ends_before_it_starts")


def test_a_session_that_has_not_ended_is_not_complete(in_therapy: Patient) -> None:
    in_therapy.when(but(complete, ended_at=NOW + timedelta(seconds=1)))
    in_therapy.then_rejected("session_in_future")


def test_a_session_of_twelve_hours_is_the_longest(in_therapy: Patient) -> None:
    in_therapy.when(but(complete, started_at=NOW - timedelta(hours=12)))
    in_therapy.then(but(completed, started_at=NOW - timedelta(hours=12)))


def test_a_session_of_more_than_twelve_hours_is_a_mistake(in_therapy: Patient) -> None:
    in_therapy.when(but(complete, started_at=NOW - timedelta(hours=12, seconds=1)))
    in_therapy.then_rejected("session_too_long")


def test_nobody_is_in_therapy_before_birth(in_therapy: Patient) -> None:
    started_at = datetime(1999, 5, 4, 9, tzinfo=UTC)
    in_therapy.when(but(complete, started_at=started_at, ended_at=started_at + timedelta(minutes=50)))
    in_therapy.then_rejected("session_before_birth")


def test_a_group_session_carries_the_groups_id_and_never_who_else_was_there(in_therapy: Patient) -> None:
    in_therapy.when(but(complete, format="group", group_session_id=ANOTHER))
    in_therapy.then(but(completed, format="group", group_session_id=ANOTHER))


@pytest.mark.parametrize("changes", [{"format": "group"}, {"group_session_id": ANOTHER}])
def test_a_group_session_and_no_other_carries_the_groups_id(in_therapy: Patient, changes: dict[str, Any]) -> None:
    in_therapy.when(but(complete, **changes))
    in_therapy.then_rejected("group_session_unclear")


@pytest.mark.parametrize(
    "started_at",
    [
        *('"2026-03-02T14:00:00"', '"2026-02-30T14:00:00Z"', '"2026-03-02"', "1772460000", '"1772460000"'),
        *('"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-10:00"'),
    ],
)
def test_a_time_that_cannot_be_placed_is_refused(started_at: str) -> None:
    body = complete.model_dump_json().replace('"2026-03-02T14:10:00Z"', started_at)
    with pytest.raises(ValueError, match="started_at"):
        CompleteSession.model_validate_json(body)


def test_a_body_is_read_as_it_is_written() -> None:
    assert CompleteSession.model_validate_json(complete.model_dump_json()) == complete


def test_a_full_form_has_a_total_and_a_band(patient: Patient) -> None:
    patient.when(record)
    patient.then(recorded)


def test_a_form_is_the_same_in_whatever_order_its_answers_come(patient: Patient) -> None:
    patient.when(but(record, answers=tuple(reversed(record.answers))))
    patient.then(recorded)


def test_a_form_recorded_twice_is_one(patient: Patient) -> None:
    patient.given(recorded)
    patient.when(record)
    patient.then_nothing()


def test_a_repeat_after_a_new_version_of_the_scoring_is_still_the_same_form(patient: Patient) -> None:
    patient.given(but(recorded, scoring=RuleRef(rule_id="PHQ-9", version="0"), band="medium"))
    patient.when(record)
    patient.then_nothing()


def test_one_id_is_never_two_forms(patient: Patient) -> None:
    patient.given(recorded)
    patient.when(but(record, answers=phq9(3, 2, 1, 2, 1, 2, 1, 1, 0)))
    patient.then_rejected("measure_record_id_already_used")


def test_an_incomplete_form_has_neither_total_nor_band(patient: Patient) -> None:
    answers = phq9(2, 2, 1, 2, 1, 2, 1, None, 0)
    patient.when(but(record, answers=answers))
    patient.then(but(recorded, answers=tuple(ItemAnswer(**dict(answer)) for answer in answers), total=None, band=None))


@pytest.mark.parametrize("value", [1, 2, 3])
def test_any_thought_of_being_better_off_dead_raises_a_risk_flag(patient: Patient, value: int) -> None:
    answers = phq9(0, 0, 0, 0, 0, 0, 0, 0, value)
    patient.when(but(record, answers=answers))
    patient.then(
        but(recorded, answers=tuple(ItemAnswer(**dict(a)) for a in answers), total=value, band="none"), flagged
    )


def test_it_raises_the_flag_on_an_incomplete_form_too(patient: Patient) -> None:
    answers = phq9(None, None, None, None, None, None, None, None, 1)
    patient.when(but(record, answers=answers))
    patient.then(but(recorded, answers=(ItemAnswer(item=9, value=1),), total=None, band=None), flagged)


def test_a_repeat_raises_no_second_flag(patient: Patient) -> None:
    patient.when(but(record, answers=phq9(0, 0, 0, 0, 0, 0, 0, 0, 1)))
    patient.when_asked_again()
    patient.then_nothing()


def test_each_form_that_asks_for_it_raises_a_flag_of_its_own(patient: Patient) -> None:
    patient.given(but(recorded, measure_record_id=ANOTHER), but(flagged, flag_id=ANOTHER, measure_record_id=ANOTHER))
    patient.when(but(record, answers=phq9(None, None, None, None, None, None, None, None, 1)))
    patient.then(but(recorded, answers=(ItemAnswer(item=9, value=1),), total=None, band=None), flagged)


def test_a_total_that_is_that_of_the_answers_is_accepted(patient: Patient) -> None:
    patient.when(RecordMeasure.model_validate_json(but(record, total=12).model_dump_json().replace("12", '"12"')))
    patient.then(recorded)


def test_a_total_that_is_not_that_of_the_answers_is_refused(patient: Patient) -> None:
    patient.when(but(record, total=13))
    patient.then_rejected("total_does_not_match")


def test_a_total_of_nought_is_checked_too(patient: Patient) -> None:
    patient.when(but(record, total=0))
    patient.then_rejected("total_does_not_match")


def test_a_total_of_an_incomplete_form_is_refused(patient: Patient) -> None:
    patient.when(but(record, answers=phq9(2, 2), total=4))
    patient.then_rejected("total_does_not_match")


@pytest.mark.parametrize("item", [0, 10, -1])
def test_an_item_that_the_form_does_not_have_is_refused(patient: Patient, item: int) -> None:
    patient.when(but(record, answers=(Answer(item=item, value=1),)))
    patient.then_rejected("item_unknown")


@pytest.mark.parametrize("value", [-1, 4])
def test_an_answer_that_the_item_cannot_have_is_refused(patient: Patient, value: int) -> None:
    patient.when(but(record, answers=phq9(value)))
    patient.then_rejected("answer_out_of_range")


def test_one_item_has_one_answer(patient: Patient) -> None:
    patient.when(but(record, answers=(*record.answers, Answer(item=9, value=0))))
    patient.then_rejected("item_answered_twice")


def test_an_empty_form_is_not_recorded(patient: Patient) -> None:
    patient.when(but(record, answers=()))
    patient.then_rejected("no_answers")


@pytest.mark.parametrize("value", [True, 1.5, "1"])
def test_an_answer_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match="value"):
        Answer(item=1, value=value)


def test_a_measure_that_is_on_file_but_cannot_be_scored_yet_says_so(patient: Patient) -> None:
    patient.when(but(record, measure="CORE-10"))
    refusal = patient.then_rejected("measure_not_offered")
    assert "PHQ-9" in refusal.sentence


def test_a_measure_that_nobody_knows_is_refused(patient: Patient) -> None:
    patient.when(but(record, measure="PHQ9"))
    patient.then_rejected("measure_unknown")


def test_a_risk_flag_is_closed_by_what_was_done_for_safety(patient: Patient) -> None:
    patient.given(recorded, flagged)
    patient.when(close)
    patient.then(closed)


def test_a_risk_flag_closed_twice_is_closed_once(patient: Patient) -> None:
    patient.given(recorded, flagged, closed)
    patient.when(close)
    patient.then_nothing()


def test_a_closed_risk_flag_is_not_closed_by_another_action(patient: Patient) -> None:
    patient.given(recorded, flagged, closed)
    patient.when(but(close, safety_action="means_restricted"))
    patient.then_rejected("risk_flag_already_closed")


def test_only_a_risk_flag_of_this_patient_is_closed(patient: Patient) -> None:
    patient.when(close)
    patient.then_rejected("risk_flag_unknown")


@pytest.mark.parametrize("missing", ["safety_action", "text"])
def test_no_risk_flag_is_closed_without_a_safety_action_and_its_words(missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        CloseRiskFlag(**{name: value for name, value in dict(close).items() if name != missing})
