"""What a prescriber may do to one patient's medication orders."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from pydantic import ValidationError

from contracts.clinical import (
    AllergyNoted,
    BirthDateNoted,
    Dose,
    Medication,
    RiskFlagNoted,
    Schedule,
)
from contracts.prescribing import (
    DoseAdjusted,
    DosePrescribed,
    MedicationDiscontinued,
    MedicationReviewCompleted,
    PatientNoted,
    PrescribingFact,
    ReviewedOrder,
    WarningOverridden,
)
from services.prescribing.domain.commands import (
    AdjustDose,
    CompleteMedicationReview,
    DiscontinueMedication,
    NoteEnded,
    NotePatient,
    Override,
    PrescribeDose,
    PrescribingCommand,
)
from services.prescribing.domain.formulary import load
from services.prescribing.domain.medication_orders import medication_orders
from services.prescribing.domain.orders import Orders
from tests.support.scenario import ASKED, NOW, Scenario

DOMAIN = Path("services/prescribing/domain")
FORMULARY = load(*((DOMAIN / f"{name}.csv").read_bytes() for name in ("formulary", "drug_classes", "brand_names")))
ORDER = UUID("0d000000-0000-4000-8000-000000000001")
ANOTHER_ORDER = UUID("0d000000-0000-4000-8000-000000000002")
REVIEW = UUID("7e000000-0000-4000-8000-000000000001")
ALLERGY = UUID("a1000000-0000-4000-8000-000000000001")
FLAG = UUID("f1000000-0000-4000-8000-000000000001")

ONCE_A_DAY = Schedule(times=1)
SERTRALINE = Medication(name="sertraline", rxcui="36437", classes=("antidepressant", "ssri"))
born = PatientNoted(noted=BirthDateNoted(birth_date=date(1986, 3, 3), sex="female"))  # 39, on the eve of 40.
prescribe = PrescribeDose(
    order_id=ORDER,
    medication="sertraline",
    dose=Dose(amount=50, unit="mg"),
    schedule=ONCE_A_DAY,
    route="oral",
    indication="Major depression, single episode",
    days_supply=30,
    refills=1,
)
prescribed = DosePrescribed(
    order_id=ORDER,
    medication=SERTRALINE,
    dose=Dose(amount=50, unit="mg"),
    schedule=ONCE_A_DAY,
    route="oral",
    indication="Major depression, single episode",
    days_supply=30,
    refills=1,
    formulary_version=FORMULARY.version,
)
adjust = AdjustDose(order_id=ORDER, dose=Dose(amount=100, unit="mg"), schedule=ONCE_A_DAY, reason="response")
discontinue = DiscontinueMedication(order_id=ORDER, last_dose_on=NOW.date(), reason="side_effect")
discontinued = MedicationDiscontinued(
    order_id=ORDER, medication=SERTRALINE, last_dose_on=NOW.date(), reason="side_effect"
)
review = CompleteMedicationReview(
    review_id=REVIEW,
    contact="in_person",
    orders=(ReviewedOrder(order_id=ORDER, decision="continue"),),
    effectiveness="partial",
    tolerability="good",
    risk_asked=True,
    risk_clinically_important=False,
    next_review_on=date(2026, 3, 16),
    em_minutes=20,
)
allergic = AllergyNoted(allergy_id=ALLERGY, substance="sertraline", rxcui="36437", severity="severe", active=True)

Patient = Scenario[Orders, PrescribingCommand, PrescribingFact]


@pytest.fixture
def patient() -> Patient:
    found: Patient = Scenario(medication_orders(FORMULARY))
    found.given(born)
    return found


def asked(command: Any, **other: Any) -> Any:
    """The command with other content, checked as a request would be."""
    return type(command).model_validate({**dict(command), **other})


def without_checks(fact: PrescribingFact) -> PrescribingFact:
    return fact.model_copy(update={"checks": ()}) if isinstance(fact, DosePrescribed | DoseAdjusted) else fact


# Prescribing


def test_a_prescriber_puts_an_order_in_force(patient: Patient) -> None:
    patient.when(prescribe)
    assert [without_checks(each) for each in patient.decisions()] == [prescribed]


def test_an_order_says_which_rules_were_asked_and_by_which_formulary(patient: Patient) -> None:
    patient.when(prescribe)
    (fact,) = patient.decisions()
    assert isinstance(fact, DosePrescribed)
    assert {check.rule.rule_id: check.outcome for check in fact.checks} == {
        "DUPLICATE-INGREDIENT": "passed",
        "DOSE-LABEL-MAX": "passed",
        "ALLERGY": "passed",
        "DOSE-SOFT-MAX": "passed",
        "DOSE-RANGE": "passed",
        "DOSE-AGE": "passed",
        "DOSE-START": "passed",
    }
    assert {check.rule.version for check in fact.checks} == {FORMULARY.version}


def test_an_order_asked_for_twice_is_one_order(patient: Patient) -> None:
    patient.when(prescribe)
    patient.when_asked_again()
    patient.then_nothing()


def test_an_order_asked_for_again_after_it_was_adjusted_and_ended_does_not_start_again(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(adjust)
    patient.given(*patient.decisions(), discontinued)
    patient.when(prescribe)
    patient.then_nothing()


def test_an_order_id_never_stands_for_two_prescriptions(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(prescribe, dose=Dose(amount=75, unit="mg")))
    patient.then_rejected("order_id_already_used")


def test_an_order_without_an_id_gets_the_same_one_however_often_the_same_request_comes(patient: Patient) -> None:
    patient.when(asked(prescribe, order_id=None))
    (fact,) = patient.decisions()
    assert isinstance(fact, DosePrescribed)
    assert fact.order_id == uuid5(ASKED, "order")
    patient.given(fact)
    patient.when(asked(prescribe, order_id=None))
    patient.then_nothing()


def test_one_drug_is_never_ordered_twice_for_one_patient(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(prescribe, order_id=ANOTHER_ORDER))
    refusal = patient.then_rejected("medication_already_taken")
    assert str(ORDER) in refusal.sentence


def test_two_orders_of_one_drug_each_pass_alone_and_never_together() -> None:
    """The stream is the patient: whoever comes second decides on the state that the first one left."""
    decider = medication_orders(FORMULARY)
    first, second = prescribe, asked(prescribe, order_id=ANOTHER_ORDER, dose=Dose(amount=100, unit="mg"))
    for one, other in ((first, second), (second, first)):
        alone: Patient = Scenario(decider)
        alone.given(born)
        alone.when(one)
        accepted = alone.decisions()
        alone.when(other)  # On the state before either: it would pass as well.
        assert alone.decisions()
        together: Patient = Scenario(decider)
        together.given(born, *accepted)
        together.when(other)
        together.then_rejected("medication_already_taken")


def test_a_drug_that_was_stopped_may_be_started_again(patient: Patient) -> None:
    patient.given(prescribed, discontinued)
    patient.when(asked(prescribe, order_id=ANOTHER_ORDER))
    assert without_checks(patient.decisions()[0]) == prescribed.model_copy(update={"order_id": ANOTHER_ORDER})


def test_a_generic_name_is_known_in_any_case(patient: Patient) -> None:
    patient.when(asked(prescribe, medication=" Sertraline "))
    assert [without_checks(each) for each in patient.decisions()] == [prescribed]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("sertralin", "sertraline"), ("Zoloft", "sertraline"), ("lithium", "lithium carbonate")],
)
def test_an_unknown_drug_is_refused_with_those_that_may_be_meant(patient: Patient, typed: str, meant: str) -> None:
    patient.when(asked(prescribe, medication=typed))
    refusal = patient.then_rejected("medication_unknown")
    assert meant in refusal.sentence
    assert refusal.details["close_matches"] == [meant]


def test_a_drug_like_no_other_is_refused_without_a_guess(patient: Patient) -> None:
    patient.when(asked(prescribe, medication="aspirin"))
    assert patient.then_rejected("medication_unknown").details["close_matches"] == []


def test_nothing_is_prescribed_before_the_birth_date_is_known() -> None:
    stranger: Patient = Scenario(medication_orders(FORMULARY))
    stranger.when(prescribe)
    assert "after=patients:" in stranger.then_rejected("not_yet_known").sentence


@pytest.mark.parametrize(
    "wrong",
    [
        {"dose": {"amount": -50, "unit": "mg"}},
        {"dose": {"amount": 0, "unit": "mg"}},
        {"dose": {"amount": 50, "unit": "spoon"}},
        {"dose": {"amount": 50, "unit": "mg", "unti": "mg"}},
        {"dose": {"amount": "NaN", "unit": "mg"}},
        {"schedule": {"times": 0}},
        {"schedule": {"times": 1, "every_days": 7}},
        {"days_supply": 0},
        {"refills": 13},
        {"indication": "  "},
        {"indicatoin": "Major depression"},
        {"route": "rectal"},
    ],
)
def test_a_malformed_order_is_no_command(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(prescribe, **wrong)


def test_one_warning_is_answered_once() -> None:
    answer = {"rule_id": "DOSE-SOFT-MAX", "reason_code": "specialist_advice", "text": "As advised."}
    with pytest.raises(ValidationError, match="Answer each rule once"):
        asked(prescribe, overrides=(answer, answer))


# Adjusting


def test_a_prescriber_raises_the_dose_of_an_order_in_force(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(adjust)
    (fact,) = patient.decisions()
    assert without_checks(fact) == DoseAdjusted(
        order_id=ORDER,
        medication=SERTRALINE,
        from_dose=Dose(amount=50, unit="mg"),
        from_schedule=ONCE_A_DAY,
        to_dose=Dose(amount=100, unit="mg"),
        to_schedule=ONCE_A_DAY,
        direction="raised",
        reason="response",
    )


@pytest.mark.parametrize(
    ("amount", "times", "direction"),
    [(25, 1, "lowered"), (25, 2, "rescheduled"), (25, 3, "raised"), (50, 2, "raised")],
)
def test_the_direction_of_a_change_is_that_of_the_daily_dose(
    patient: Patient, amount: int, times: int, direction: str
) -> None:
    patient.given(prescribed)
    patient.when(asked(adjust, dose=Dose(amount=amount, unit="mg"), schedule=Schedule(times=times)))
    (fact,) = patient.decisions()
    assert isinstance(fact, DoseAdjusted)
    assert fact.direction == direction


def test_the_dose_that_is_in_force_already_needs_no_change(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(adjust, dose=prescribe.dose))
    patient.then_nothing()


def test_a_change_asked_for_twice_happens_once(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(adjust)
    patient.when_asked_again()
    patient.then_nothing()


def test_a_change_starts_from_the_dose_of_the_last_change(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(adjust)
    patient.given(*patient.decisions())
    patient.when(asked(adjust, dose=Dose(amount=75, unit="mg")))
    (fact,) = patient.decisions()
    assert isinstance(fact, DoseAdjusted)
    assert fact.from_dose == Dose(amount=100, unit="mg")
    assert fact.direction == "lowered"


def test_the_limits_hold_for_a_change_as_for_a_start(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(adjust, dose=Dose(amount=250, unit="mg")))
    patient.then_rejected("above_label_maximum")


def test_an_order_that_ended_is_not_adjusted(patient: Patient) -> None:
    patient.given(prescribed, discontinued)
    patient.when(adjust)
    patient.then_rejected("order_not_in_force")


def test_an_order_nobody_gave_is_not_adjusted(patient: Patient) -> None:
    patient.when(adjust)
    patient.then_rejected("order_unknown")


def test_a_late_entry_does_not_undo_a_later_change(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(adjust, occurred_at=NOW - timedelta(minutes=1))
    patient.then_rejected("later_dose_on_record")


def test_a_change_may_be_entered_late_when_no_later_one_is_on_record(patient: Patient) -> None:
    patient.given(prescribed, occurred_at=NOW - timedelta(days=30))
    patient.when(adjust, occurred_at=NOW - timedelta(days=20))
    patient.given(*patient.decisions(), occurred_at=NOW - timedelta(days=20))
    patient.when(asked(adjust, dose=Dose(amount=150, unit="mg")), occurred_at=NOW - timedelta(days=25))
    patient.then_rejected("later_dose_on_record")


# Discontinuing


def test_a_prescriber_ends_an_order(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(discontinue)
    patient.then(discontinued)


def test_an_order_ends_on_the_day_the_patient_really_stopped(patient: Patient) -> None:
    patient.given(prescribed, occurred_at=NOW - timedelta(days=30))
    patient.when(asked(discontinue, last_dose_on=date(2026, 2, 10)))
    patient.then(discontinued.model_copy(update={"last_dose_on": date(2026, 2, 10)}))


def test_an_order_does_not_end_before_it_began(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(discontinue, last_dose_on=NOW.date() - timedelta(days=1)))
    assert patient.then_rejected("last_dose_before_start").details["started_on"] == "2026-03-02"


def test_an_order_does_not_end_in_the_future(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(discontinue, last_dose_on=NOW.date() + timedelta(days=2)))
    patient.then_rejected("last_dose_in_the_future")


def test_an_order_started_in_the_evening_in_honolulu_ends_on_that_evenings_date(patient: Patient) -> None:
    evening = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)  # 2 March, 20:00 there.
    patient.given(prescribed, occurred_at=evening)
    patient.when(asked(discontinue, last_dose_on=date(2026, 3, 2)), now=evening + timedelta(hours=1))
    patient.then(discontinued.model_copy(update={"last_dose_on": date(2026, 3, 2)}))


def test_an_order_ends_today_in_auckland_where_it_is_tomorrow_already(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(discontinue, last_dose_on=date(2026, 3, 3)))  # 3 March, 04:00 there.
    patient.then(discontinued.model_copy(update={"last_dose_on": date(2026, 3, 3)}))


def test_an_order_ended_twice_in_the_same_words_ended_once(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(discontinue)
    patient.when_asked_again()
    patient.then_nothing()


def test_an_order_that_ended_does_not_end_otherwise(patient: Patient) -> None:
    patient.given(prescribed, discontinued)
    patient.when(asked(discontinue, reason="remission"))
    patient.then_rejected("order_not_in_force")


# Reviewing


def test_a_review_of_medicines_is_recorded(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(review)
    patient.then(MedicationReviewCompleted(**dict(review)))


def test_a_review_recorded_twice_is_one_review_even_after_the_order_ended(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(review)
    patient.given(*patient.decisions(), discontinued)
    patient.when(review)
    patient.then_nothing()


def test_a_review_id_never_stands_for_two_reviews(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(review)
    patient.given(*patient.decisions())
    patient.when(asked(review, tolerability="poor"))
    patient.then_rejected("review_id_already_used")


def test_only_orders_in_force_are_reviewed(patient: Patient) -> None:
    patient.given(prescribed, discontinued)
    patient.when(review)
    patient.then_rejected("order_not_in_force")


def test_a_review_names_no_order_the_patient_does_not_have(patient: Patient) -> None:
    patient.when(review)
    patient.then_rejected("order_unknown")


def test_who_asked_about_risk_says_what_they_found(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(review, risk_clinically_important=None))
    patient.then_rejected("risk_answer_missing")


def test_nothing_is_found_about_risk_unasked(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(review, risk_asked=False))
    patient.then_rejected("risk_not_asked")


def test_the_next_review_does_not_lie_before_this_one(patient: Patient) -> None:
    patient.given(prescribed)
    patient.when(asked(review, next_review_on=date(2026, 2, 1)))
    patient.then_rejected("next_review_in_the_past")


def test_a_review_decides_once_on_each_of_one_or_more_orders() -> None:
    with pytest.raises(ValidationError, match="Decide on each order once"):
        asked(review, orders=(*review.orders, *review.orders))
    with pytest.raises(ValidationError):
        asked(review, orders=())


# What others tell


def test_an_allergy_told_by_patients_is_noted_once(patient: Patient) -> None:
    patient.when(NotePatient(noted=allergic))
    patient.then(PatientNoted(noted=allergic))
    patient.when_asked_again()
    patient.then_nothing()


def test_a_refuted_allergy_is_noted_as_such(patient: Patient) -> None:
    patient.given(PatientNoted(noted=allergic))
    patient.when(NoteEnded(what="allergy", id=ALLERGY))
    patient.then(PatientNoted(noted=allergic.model_copy(update={"active": False})))
    patient.when_asked_again()
    patient.then_nothing()


def test_an_allergy_told_again_after_it_was_refuted_does_not_come_back(patient: Patient) -> None:
    patient.given(PatientNoted(noted=allergic))
    patient.given(PatientNoted(noted=allergic.model_copy(update={"active": False})))
    patient.when(NotePatient(noted=allergic))
    patient.then_nothing()


def test_a_risk_flag_told_by_therapy_is_noted_and_its_closing_too(patient: Patient) -> None:
    raised = RiskFlagNoted(flag_id=FLAG, tier="moderate", open=True)
    patient.when(NotePatient(noted=raised))
    patient.then(PatientNoted(noted=raised))
    patient.given(PatientNoted(noted=raised))
    patient.when(NoteEnded(what="risk_flag", id=FLAG))
    patient.then(PatientNoted(noted=raised.model_copy(update={"open": False})))


def test_the_end_of_what_was_never_noted_is_no_news(patient: Patient) -> None:
    patient.when(NoteEnded(what="condition", id=FLAG))
    patient.then_nothing()


def test_a_corrected_birth_date_replaces_the_one_before(patient: Patient) -> None:
    corrected = BirthDateNoted(birth_date=date(1996, 3, 3), sex="female")
    patient.when(NotePatient(noted=corrected))
    patient.then(PatientNoted(noted=corrected))


def test_an_override_is_kept_beside_the_order_for_everyone_downstream(patient: Patient) -> None:
    answer = Override(rule_id="DOSE-AGE", reason_code="specialist_advice", text="Seen by a specialist for old age.")
    old = PatientNoted(noted=BirthDateNoted(birth_date=date(1950, 1, 1), sex="male"))
    patient.given(old)
    patient.when(asked(prescribe, overrides=(answer,)))
    order, override = patient.decisions()
    assert isinstance(order, DosePrescribed)
    (check,) = [each for each in order.checks if each.outcome == "overridden"]
    assert override == WarningOverridden(
        order_id=ORDER,
        rule=check.rule,
        severity="precaution",
        reason_code="specialist_advice",
        text="Seen by a specialist for old age.",
    )
    assert check.rule.rule_id == "DOSE-AGE"
