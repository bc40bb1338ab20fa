"""Enrolment, and what is recorded of a patient's health: sentences about care."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from contracts.patients import (
    AllergyRecorded,
    AllergyRefuted,
    ConditionRecorded,
    ConditionResolved,
    PatientEnrolled,
    PatientsFact,
    Substance,
    TreatmentApproachChosen,
)
from services.patients.domain.commands import (
    ChooseTreatmentApproach,
    EnrolPatient,
    PatientsCommand,
    RecordAllergy,
    RecordCondition,
    RefuteAllergy,
    ResolveCondition,
)
from services.patients.domain.patients import Places, known_time_zones, patients
from services.patients.domain.record import Record
from tests.support.scenario import ASKED, CLINICIAN, PATIENT, Scenario, ask_for

Patient = Scenario[Record, PatientsCommand, PatientsFact]

enrolled = PatientEnrolled(
    family_name="Reyes",
    given_name="Ana",
    birth_date=date(2000, 5, 4),
    sex="female",
    language="es-US",
    time_zone="America/New_York",
    clinic="north",
    record_number="N-1001",
)
enrol = EnrolPatient(**enrolled.model_dump())

ALLERGY = UUID("a1000000-0000-4000-8000-000000000001")
ANOTHER_ALLERGY = UUID("a1000000-0000-4000-8000-000000000002")
record_allergy = RecordAllergy(
    allergy_id=ALLERGY, kind="allergy", substance="penicillin", rxcui="70618", reaction="hives", severity="moderate"
)
allergy_recorded = AllergyRecorded(
    allergy_id=ALLERGY,
    kind="allergy",
    substance=Substance(text="penicillin", rxcui="70618"),
    reaction="hives",
    severity="moderate",
)
refute_allergy = RefuteAllergy(allergy_id=ALLERGY, reason="Tolerated amoxicillin under observation.")
allergy_refuted = AllergyRefuted(allergy_id=ALLERGY, reason="Tolerated amoxicillin under observation.")

CONDITION = UUID("cd000000-0000-4000-8000-000000000001")
ANOTHER_CONDITION = UUID("cd000000-0000-4000-8000-000000000002")
record_condition = RecordCondition(
    condition_id=CONDITION, icd10cm="F33.1", label="Recurrent depression, moderate", onset_on=date(2024, 1, 10)
)
condition_recorded = ConditionRecorded(
    condition_id=CONDITION,
    icd10cm="F33.1",
    label="Recurrent depression, moderate",
    onset_on=date(2024, 1, 10),
    diagnosed_by=CLINICIAN,
)
resolve_condition = ResolveCondition(condition_id=CONDITION, resolved_on=date(2026, 2, 1))
condition_resolved = ConditionResolved(condition_id=CONDITION, resolved_on=date(2026, 2, 1))

choose_combined = ChooseTreatmentApproach(
    approach="combined",
    reason="Moderate episode, both wished for.",
    alternatives=("CBT alone",),
    preference="Wants to sleep again first.",
    decided_together=True,
    target_measure="PHQ-9",
)


def but(model: Any, **changes: Any) -> Any:
    """The same, with some fields changed and all of them checked again."""
    return type(model)(**{**dict(model), **changes})


@pytest.fixture
def anyone() -> Patient:
    return Scenario(patients(Places(known_time_zones(), UTC)))


@pytest.fixture
def patient(anyone: Patient) -> Patient:
    anyone.given(enrolled)
    return anyone


def test_a_person_becomes_a_patient_by_enrolment(anyone: Patient) -> None:
    anyone.when(enrol)
    anyone.then(enrolled)


def test_enrolling_the_same_person_again_changes_nothing(patient: Patient) -> None:
    patient.when(enrol)
    patient.then_nothing()


def test_one_patient_is_never_enrolled_over_another(patient: Patient) -> None:
    patient.when(but(enrol, given_name="Eva"))
    patient.then_rejected("patient_already_enrolled")


def test_enrolment_under_an_id_of_its_own_choice(anyone: Patient) -> None:
    anyone.when(but(enrol, patient_id=PATIENT))
    anyone.then(enrolled)


def test_a_body_that_names_another_patient_than_the_address_is_refused(anyone: Patient) -> None:
    anyone.when(but(enrol, patient_id=ALLERGY))
    anyone.then_rejected("patient_id_differs")


def test_nobody_is_born_tomorrow(anyone: Patient) -> None:
    anyone.when(but(enrol, birth_date=date(2026, 3, 3)))
    anyone.then_rejected("birth_date_in_future")


def test_a_child_born_today_in_its_own_time_zone_is_enrolled(anyone: Patient) -> None:
    late_on_monday_in_utc = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
    born_on_tuesday = but(enrol, birth_date=date(2026, 3, 3), time_zone="Pacific/Auckland")
    anyone.when(born_on_tuesday, now=late_on_monday_in_utc)
    anyone.then(but(enrolled, birth_date=date(2026, 3, 3), time_zone="Pacific/Auckland"))


def test_nobody_is_older_than_people_become(anyone: Patient) -> None:
    anyone.when(but(enrol, birth_date=date(1870, 5, 4)))
    anyone.then_rejected("birth_date_too_long_ago")


@pytest.mark.parametrize("time_zone", ["Europe/Gotham", "EST5EDT4", "../etc/passwd", "Factory", "america/new_york"])
def test_a_time_zone_that_iana_does_not_know_is_refused(anyone: Patient, time_zone: str) -> None:
    anyone.when(but(enrol, time_zone=time_zone))
    anyone.then_rejected("time_zone_unknown")


def test_a_time_zone_that_a_later_release_no_longer_names_still_serves_its_patient(anyone: Patient) -> None:
    anyone.given(but(enrolled, time_zone="Atlantis/Capital"))
    anyone.when(record_condition)
    anyone.then(condition_recorded)


@pytest.mark.parametrize("language", ["english", "EN", "e", "en_US", "en-", "en US", "en-x"])
def test_a_language_that_cannot_be_a_tag_is_refused(language: str) -> None:
    with pytest.raises(ValueError, match="language"):
        but(enrol, language=language)


@pytest.mark.parametrize("language", ["en", "es-US", "zh-Hant-TW", "sr-Latn", "es-419", "haw"])
def test_a_language_is_told_by_its_tag(anyone: Patient, language: str) -> None:
    anyone.when(but(enrol, language=language))
    anyone.then(but(enrolled, language=language))


@pytest.mark.parametrize("given_name", ["", "   ", "Ana\r\nBcc: x", "Ana\0", "A" * 101])
def test_a_name_that_could_not_stand_in_a_message_is_refused(given_name: str) -> None:
    with pytest.raises(ValueError, match="given_name"):
        but(enrol, given_name=given_name)


def test_space_around_a_name_is_no_part_of_it(anyone: Patient) -> None:
    anyone.when(but(enrol, given_name="  Ana "))
    anyone.then(enrolled)


def test_a_field_that_nobody_knows_is_refused_not_lost() -> None:
    with pytest.raises(ValueError, match="birthdate"):
        EnrolPatient(**dict(enrol), birthdate=date(2000, 5, 4))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "command", [record_allergy, refute_allergy, record_condition, resolve_condition, choose_combined], ids=type
)
def test_nothing_is_recorded_of_somebody_who_is_not_enrolled(anyone: Patient, command: PatientsCommand) -> None:
    anyone.when(command)
    anyone.then_rejected("patient_not_enrolled")


@pytest.mark.parametrize("day", ["20000504", '"20000504"', '"957398400"', '"2000-05-04T00:00:00"', '"04.05.2000"'])
def test_a_day_is_written_as_one_and_never_guessed_from_a_number(day: str) -> None:
    body = enrol.model_dump_json().replace('"2000-05-04"', day)
    with pytest.raises(ValueError, match="birth_date"):
        EnrolPatient.model_validate_json(body)


def test_a_body_is_read_as_it_is_written() -> None:
    assert EnrolPatient.model_validate_json(enrol.model_dump_json()) == enrol


@pytest.mark.parametrize("needed", ["1", '"yes"', "null"])
def test_a_truth_value_is_written_as_one(needed: str) -> None:
    with pytest.raises(ValueError, match="interpreter_needed"):
        EnrolPatient.model_validate_json(enrol.model_dump_json().replace("false", needed))


def test_an_allergy_is_recorded(patient: Patient) -> None:
    patient.when(record_allergy)
    patient.then(allergy_recorded)


def test_an_allergy_without_an_id_gets_one_that_the_same_request_gets_again(patient: Patient) -> None:
    patient.when(but(record_allergy, allergy_id=None))
    patient.then(but(allergy_recorded, allergy_id=ask_for(enrol, id=ASKED).new_id("allergy")))


def test_an_allergy_recorded_twice_is_one(patient: Patient) -> None:
    patient.given(allergy_recorded)
    patient.when(record_allergy)
    patient.then_nothing()


def test_a_late_repeat_does_not_bring_a_refuted_allergy_back(patient: Patient) -> None:
    patient.given(allergy_recorded, allergy_refuted)
    patient.when(record_allergy)
    patient.then_nothing()


def test_one_id_is_never_two_allergies(patient: Patient) -> None:
    patient.given(allergy_recorded)
    patient.when(but(record_allergy, severity="severe"))
    patient.then_rejected("allergy_id_already_used")


@pytest.mark.parametrize(
    ("substance", "rxcui"),
    [("Penicillin", None), ("penicillins, all", "70618"), ("PENICILLIN", "70618")],
)
def test_one_substance_is_recorded_once(patient: Patient, substance: str, rxcui: str | None) -> None:
    patient.given(allergy_recorded)
    patient.when(but(record_allergy, allergy_id=ANOTHER_ALLERGY, substance=substance, rxcui=rxcui))
    patient.then_rejected("allergy_already_recorded")


def test_a_substance_whose_allergy_was_refuted_may_be_recorded_anew(patient: Patient) -> None:
    patient.given(allergy_recorded, allergy_refuted)
    patient.when(but(record_allergy, allergy_id=ANOTHER_ALLERGY))
    patient.then(but(allergy_recorded, allergy_id=ANOTHER_ALLERGY))


def test_an_allergy_is_refuted_with_its_reason(patient: Patient) -> None:
    patient.given(allergy_recorded)
    patient.when(refute_allergy)
    patient.then(allergy_refuted)


def test_an_allergy_refuted_twice_is_refuted_once(patient: Patient) -> None:
    patient.given(allergy_recorded, allergy_refuted)
    patient.when(refute_allergy)
    patient.then_nothing()


def test_an_allergy_is_not_refuted_for_two_reasons(patient: Patient) -> None:
    patient.given(allergy_recorded, allergy_refuted)
    patient.when(but(refute_allergy, reason="It was a rash of another cause."))
    patient.then_rejected("allergy_already_refuted")


def test_only_an_allergy_on_record_is_refuted(patient: Patient) -> None:
    patient.when(refute_allergy)
    patient.then_rejected("allergy_unknown")


def test_a_condition_is_recorded_as_the_diagnosis_of_who_records_it(patient: Patient) -> None:
    patient.when(record_condition)
    patient.then(condition_recorded)


def test_a_condition_keeps_the_name_of_who_diagnosed_it(patient: Patient) -> None:
    patient.when(but(record_condition, diagnosed_by="c-9"))
    patient.then(but(condition_recorded, diagnosed_by="c-9"))


def test_a_condition_recorded_twice_is_one(patient: Patient) -> None:
    patient.given(condition_recorded)
    patient.when(record_condition)
    patient.then_nothing()


def test_one_id_is_never_two_conditions(patient: Patient) -> None:
    patient.given(condition_recorded)
    patient.when(but(record_condition, icd10cm="F41.1"))
    patient.then_rejected("condition_id_already_used")


def test_one_code_is_recorded_once_while_it_holds(patient: Patient) -> None:
    patient.given(condition_recorded)
    patient.when(but(record_condition, condition_id=ANOTHER_CONDITION))
    patient.then_rejected("condition_already_recorded")


def test_a_condition_that_came_back_is_recorded_anew(patient: Patient) -> None:
    patient.given(condition_recorded, condition_resolved)
    patient.when(but(record_condition, condition_id=ANOTHER_CONDITION))
    patient.then(but(condition_recorded, condition_id=ANOTHER_CONDITION))


def test_a_condition_does_not_begin_tomorrow(patient: Patient) -> None:
    patient.when(but(record_condition, onset_on=date(2026, 3, 3)))
    patient.then_rejected("onset_in_future")


def test_a_condition_does_not_begin_before_birth(patient: Patient) -> None:
    patient.when(but(record_condition, onset_on=date(1999, 5, 4)))
    patient.then_rejected("onset_before_birth")


@pytest.mark.parametrize("code", ["F33.", "33.1", "f33.1", "F331", "depression", "F33.12345"])
def test_a_code_that_icd_10_cm_cannot_have_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="icd10cm"):
        but(record_condition, icd10cm=code)


def test_a_condition_is_resolved(patient: Patient) -> None:
    patient.given(condition_recorded)
    patient.when(resolve_condition)
    patient.then(condition_resolved)


def test_a_condition_resolved_twice_is_resolved_once(patient: Patient) -> None:
    patient.given(condition_recorded, condition_resolved)
    patient.when(resolve_condition)
    patient.then_nothing()


def test_a_condition_is_not_resolved_on_two_days(patient: Patient) -> None:
    patient.given(condition_recorded, condition_resolved)
    patient.when(but(resolve_condition, resolved_on=date(2026, 2, 2)))
    patient.then_rejected("condition_already_resolved")


def test_a_condition_is_not_resolved_tomorrow(patient: Patient) -> None:
    patient.given(condition_recorded)
    patient.when(but(resolve_condition, resolved_on=date(2026, 3, 3)))
    patient.then_rejected("resolution_in_future")


def test_a_condition_is_not_resolved_before_it_began(patient: Patient) -> None:
    patient.given(condition_recorded)
    patient.when(but(resolve_condition, resolved_on=date(2024, 1, 9)))
    patient.then_rejected("resolution_before_onset")


def test_only_a_condition_on_record_is_resolved(patient: Patient) -> None:
    patient.when(resolve_condition)
    patient.then_rejected("condition_unknown")


def test_the_choice_of_treatment_is_kept_with_its_reasons(patient: Patient) -> None:
    patient.when(choose_combined)
    patient.then(TreatmentApproachChosen(**choose_combined.model_dump()))


def test_the_same_choice_again_changes_nothing(patient: Patient) -> None:
    patient.when(choose_combined)
    patient.when_asked_again()
    patient.then_nothing()


def test_treatment_may_be_chosen_anew_and_back_again(patient: Patient) -> None:
    patient.given(
        TreatmentApproachChosen(**choose_combined.model_dump()),
        TreatmentApproachChosen(approach="medication", reason="No time for sessions now.", decided_together=True),
    )
    patient.when(choose_combined)
    patient.then(TreatmentApproachChosen(**choose_combined.model_dump()))


def test_days_are_those_of_the_patients_time_zone(patient: Patient) -> None:
    """At two in the morning in UTC it is still the day before in New York."""
    patient.given(condition_recorded)
    patient.when(but(resolve_condition, resolved_on=date(2026, 3, 3)), now=datetime(2026, 3, 3, 2, 0, tzinfo=UTC))
    patient.then_rejected("resolution_in_future")


def test_the_record_knows_who_may_see_the_patient(patient: Patient) -> None:
    assert patient.state.access is not None
    assert patient.state.access.clinic == "north"
