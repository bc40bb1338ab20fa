"""The rules that guard a dose, each by its name and on both sides of its limit."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from contracts.clinical import AllergyNoted, BirthDateNoted, Check, Dose, Schedule
from contracts.prescribing import DoseAdjusted, DosePrescribed, PatientNoted, PrescribingFact, WarningOverridden
from services.prescribing.domain.checks import RULES
from services.prescribing.domain.commands import AdjustDose, Override, PrescribeDose, PrescribingCommand
from services.prescribing.domain.formulary import load
from services.prescribing.domain.medication_orders import medication_orders
from services.prescribing.domain.orders import Orders
from tests.support.scenario import Scenario

DOMAIN = Path("services/prescribing/domain")
FORMULARY = load(*((DOMAIN / f"{name}.csv").read_bytes() for name in ("formulary", "drug_classes", "brand_names")))
ORDER = UUID("0d000000-0000-4000-8000-000000000001")
ALLERGY = UUID("a1000000-0000-4000-8000-000000000001")

Patient = Scenario[Orders, PrescribingCommand, PrescribingFact]


def born(on: str) -> PatientNoted:
    return PatientNoted(noted=BirthDateNoted(birth_date=date.fromisoformat(on), sex="female"))


def patient_born(on: str = "1986-03-02") -> Patient:
    """By default the patient is 40 today, 2 March 2026."""
    found: Patient = Scenario(medication_orders(FORMULARY))
    found.given(born(on))
    return found


@pytest.fixture
def patient() -> Patient:
    return patient_born()


def prescribe(drug: str, amount: float | str, unit: str = "mg", times: int = 1, days: int = 1, **other: Any) -> Any:
    return PrescribeDose.model_validate(
        {
            "order_id": ORDER,
            "medication": drug,
            "dose": {"amount": str(amount), "unit": unit},
            "schedule": {"times": times, "period_days": days},
            "route": FORMULARY.drugs[drug].route,
            "indication": "As agreed",
            "days_supply": 30,
            "refills": 0,
            **other,
        }
    )


def because(*rules: str) -> dict[str, Any]:
    reasons = [Override(rule_id=rule, reason_code="benefit_outweighs_risk", text="Discussed.") for rule in rules]
    return {"overrides": tuple(reasons)}


def adjust(amount: float, times: int = 1, **other: Any) -> AdjustDose:
    dose, schedule = Dose(amount=Decimal(str(amount)), unit="mg"), Schedule(times=times)
    return AdjustDose(order_id=ORDER, dose=dose, schedule=schedule, reason="titration", **other)


def check(patient: Patient, rule: str) -> Check:
    fact = patient.decisions()[0]
    assert isinstance(fact, DosePrescribed | DoseAdjusted)
    (found,) = [each for each in fact.checks if each.rule.rule_id == rule]
    return found


def accepted(patient: Patient) -> None:
    assert patient.decisions()


# DOSE-SOFT-MAX


def test_soft_maximum_itself_needs_no_reason(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 60))
    assert check(patient, "DOSE-SOFT-MAX").outcome == "passed"


def test_above_the_soft_maximum_a_coded_reason_is_needed(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", "60.01"))
    refusal = patient.then_rejected("reason_needed")
    assert "soft maximum of 60 mg a day" in refusal.sentence
    assert refusal.details["rules"] == ["DOSE-SOFT-MAX"]


def test_with_a_coded_reason_the_soft_maximum_is_overridden_and_everyone_is_told(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 80, **because("DOSE-SOFT-MAX")))
    found = check(patient, "DOSE-SOFT-MAX")
    assert found.outcome == "overridden"
    assert patient.decisions()[1:] == [
        WarningOverridden(
            order_id=ORDER,
            rule=found.rule,
            severity="not_recommended",
            reason_code="benefit_outweighs_risk",
            text="Discussed.",
        )
    ]


def test_a_soft_maximum_of_one_indication_says_which(patient: Patient) -> None:
    patient.when(prescribe("quetiapine", 400))
    assert "300 (bipolar dep)" in patient.then_rejected("reason_needed").sentence


@pytest.mark.parametrize(
    ("amount", "unit", "times", "days"),
    [(30, "mg", 2, 1), ("0.06", "g", 1, 1), (60000, "mcg", 1, 1), (120, "mg", 1, 2)],
)
def test_the_daily_dose_counts_however_it_is_written(
    patient: Patient, amount: int, unit: str, times: int, days: int
) -> None:
    patient.when(prescribe("fluoxetine", amount, unit, times, days, **because("DOSE-RANGE") if days > 1 else {}))
    assert check(patient, "DOSE-SOFT-MAX").outcome == "passed"
    patient.when(prescribe("fluoxetine", amount, unit, times + 1, days))
    patient.then_rejected("above_label_maximum")


# DOSE-LABEL-MAX


def test_label_maximum_itself_is_not_above_it(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 80, **because("DOSE-SOFT-MAX")))
    assert check(patient, "DOSE-LABEL-MAX").outcome == "passed"


def test_above_the_label_maximum_no_reason_helps(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 81, **because("DOSE-SOFT-MAX", "DOSE-LABEL-MAX")))
    refusal = patient.then_rejected("above_label_maximum")
    assert "label maximum of 80 mg a day: order no more than that" in refusal.sentence


def test_a_label_maximum_for_older_people_holds_from_the_day_after_that_age() -> None:
    still_sixty = patient_born("1965-03-03")
    still_sixty.when(prescribe("citalopram", 40))
    accepted(still_sixty)
    sixty_one = patient_born("1965-03-02")
    sixty_one.when(prescribe("citalopram", 40))
    assert "label maximum of 20 mg a day" in sixty_one.then_rejected("above_label_maximum").sentence


def test_a_label_maximum_that_is_lower_for_some_is_shown_to_whoever_goes_beyond_it(patient: Patient) -> None:
    patient.when(prescribe("citalopram", 40))
    assert "hepatic impairment" in (check(patient, "DOSE-LABEL-MAX").message or "")
    assert check(patient, "DOSE-LABEL-MAX").outcome == "warned"
    patient.when(prescribe("citalopram", 20))
    assert check(patient, "DOSE-LABEL-MAX").outcome == "passed"


def test_who_takes_more_than_the_label_allows_may_be_led_down_with_a_reason() -> None:
    patient = patient_born("1965-03-03")
    patient.when(prescribe("citalopram", 40))
    patient.given(*patient.decisions())
    patient.given(born("1965-03-02"))  # Whose birthday came, or whose birth date was corrected.
    patient.when(adjust(30))
    assert patient.then_rejected("reason_needed").details["rules"] == ["DOSE-LABEL-MAX"]
    patient.when(adjust(30, **because("DOSE-LABEL-MAX")))
    assert check(patient, "DOSE-LABEL-MAX").outcome == "overridden"


def test_an_unsourced_limit_says_so(patient: Patient) -> None:
    patient.when(prescribe("haloperidol", 101))
    assert "a figure without a named source" in patient.then_rejected("above_label_maximum").sentence
    patient.when(prescribe("haloperidol", 5))
    assert check(patient, "DOSE-LABEL-MAX").rule.unverified
    assert not check(patient, "DOSE-START").rule.unverified


# DOSE-RANGE


def test_a_limit_by_weight_is_not_known_and_never_passed(patient: Patient) -> None:
    patient.when(prescribe("divalproex sodium", 250))
    refusal = patient.then_rejected("reason_needed")
    assert refusal.details["rules"] == ["DOSE-RANGE"]
    assert "60 mg/kg/d" in refusal.sentence
    patient.when(prescribe("divalproex sodium", 750, **because("DOSE-RANGE")))
    assert check(patient, "DOSE-RANGE").outcome == "overridden"
    fact = patient.decisions()[0]
    assert isinstance(fact, DosePrescribed)
    assert {"DOSE-LABEL-MAX", "DOSE-SOFT-MAX"}.isdisjoint(each.rule.rule_id for each in fact.checks)


@pytest.mark.parametrize(
    ("amount", "outcome"),
    [(100, "passed"), (101, "reason_needed"), (400, "reason_needed"), (401, "above_label_maximum")],
)
def test_a_limit_that_depends_on_other_drugs_is_known_below_the_least_and_above_the_greatest(
    patient: Patient, amount: int, outcome: str
) -> None:
    patient.when(prescribe("lamotrigine", amount))
    if outcome == "passed":
        assert check(patient, "DOSE-RANGE").outcome == "passed"
    else:
        patient.then_rejected(outcome)


def test_figures_for_one_route_say_nothing_about_another(patient: Patient) -> None:
    patient.when(prescribe("haloperidol", 5, route="intramuscular"))
    refusal = patient.then_rejected("reason_needed")
    assert refusal.details["rules"] == ["DOSE-RANGE"]
    assert "oral use, not intramuscular" in refusal.sentence


def test_a_depot_is_measured_by_its_daily_average_and_needs_a_reason(patient: Patient) -> None:
    patient.when(prescribe("aripiprazole", 400, days=28, route="intramuscular", **because("DOSE-RANGE")))
    assert check(patient, "DOSE-LABEL-MAX").outcome == "passed"
    assert check(patient, "DOSE-SOFT-MAX").outcome == "passed"
    patient.when(prescribe("aripiprazole", 900, days=28, route="intramuscular", **because("DOSE-RANGE")))
    patient.then_rejected("above_label_maximum")


def test_figures_for_one_route_give_no_start_of_another(patient: Patient) -> None:
    patient.when(prescribe("haloperidol", 10, route="intramuscular", **because("DOSE-RANGE")))
    order = patient.decisions()[0]
    assert isinstance(order, DosePrescribed)
    assert "DOSE-START" not in {each.rule.rule_id for each in order.checks}


def test_a_small_average_does_not_hide_a_great_dose(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 420, days=7))
    refusal = patient.then_rejected("reason_needed")
    assert refusal.details["rules"] == ["DOSE-RANGE"]
    assert "420 mg on one day" in refusal.sentence


def test_three_doses_in_two_days_bring_two_on_one_of_them(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 50, times=3, days=2))
    assert "100 mg on one day" in patient.then_rejected("reason_needed").sentence


# The unit must fit.


@pytest.mark.parametrize(
    ("drug", "amount", "unit"),
    [("sertraline", 50, "mL"), ("sertraline", 1, "unit"), ("clonidine", "0.1", "mg/24h"), ("selegiline", 6, "mg")],
)
def test_a_unit_that_cannot_be_compared_is_refused(patient: Patient, drug: str, amount: int, unit: str) -> None:
    patient.when(prescribe(drug, amount, unit))
    patient.then_rejected("unit_does_not_fit")


def test_a_patch_is_measured_by_what_it_gives_in_24_hours(patient: Patient) -> None:
    patient.when(prescribe("selegiline", 12, "mg/24h"))
    accepted(patient)
    patient.when(prescribe("selegiline", 6, "mg/24h", times=3))
    patient.then_rejected("above_label_maximum")


def test_a_patch_worn_for_a_week_gives_its_dose_on_each_day(patient: Patient) -> None:
    patient.when(prescribe("selegiline", 18, "mg/24h", days=7))
    patient.then_rejected("above_label_maximum")


def test_a_dose_by_session_is_measured_by_the_session(patient: Patient) -> None:
    patient.when(prescribe("esketamine", 84, times=2, days=7))
    accepted(patient)
    patient.when(prescribe("esketamine", 85, times=1, days=7))
    assert "85 mg on a day of dosing" in patient.then_rejected("above_label_maximum").sentence


# DOSE-AGE


@pytest.mark.parametrize(
    ("born_on", "needed"),
    [("2008-03-03", True), ("2008-03-02", False), ("1960-03-03", False), ("1960-03-02", True), ("1959-03-02", True)],
)
def test_under_18_and_over_65_a_reason_is_needed(born_on: str, needed: bool) -> None:
    patient = patient_born(born_on)
    patient.when(prescribe("sertraline", 50))
    if not needed:
        assert check(patient, "DOSE-AGE").outcome == "passed"
        return
    assert patient.then_rejected("reason_needed").details["rules"] == ["DOSE-AGE"]
    patient.when(prescribe("sertraline", 50, **because("DOSE-AGE")))
    assert check(patient, "DOSE-AGE").outcome == "overridden"


@pytest.mark.parametrize(("drug", "amount"), [("citalopram", 20), ("eszopiclone", 2), ("zaleplon", 10)])
def test_over_65_a_figure_for_that_age_stands_for_the_missing_range(drug: str, amount: int) -> None:
    patient = patient_born("1950-01-01")
    patient.when(prescribe(drug, amount))
    assert check(patient, "DOSE-AGE").outcome == "passed"


def test_a_figure_for_older_people_says_nothing_about_the_young() -> None:
    patient = patient_born("2010-01-01")
    patient.when(prescribe("citalopram", 20))
    patient.then_rejected("reason_needed")


def test_who_was_born_on_29_february_is_18_on_1_march() -> None:
    patient = patient_born("2008-02-29")
    patient.when(prescribe("sertraline", 50))
    accepted(patient)


# DOSE-START


@pytest.mark.parametrize(
    ("drug", "amount", "outcome"),
    [
        ("sertraline", 25, "warned"),
        ("sertraline", 50, "passed"),
        ("sertraline", 100, "warned"),
        ("venlafaxine", 75, "passed"),
        ("venlafaxine", "37.5", "passed"),
        ("lamotrigine", 25, "passed"),
        ("lamotrigine", 100, "warned"),
        ("zolpidem", 10, "warned"),
    ],
)
def test_a_first_dose_off_the_usual_start_is_shown(patient: Patient, drug: str, amount: int, outcome: str) -> None:
    patient.when(prescribe(drug, amount))
    assert check(patient, "DOSE-START").outcome == outcome


def test_a_warning_about_the_start_shows_what_the_formulary_says(patient: Patient) -> None:
    patient.when(prescribe("lamotrigine", 100))
    assert check(patient, "DOSE-START").message == (
        "lamotrigine 100 mg a day is above the start dose of 25 x2wk, 50 x2wk, 100, 200 mg a day"
        ", a figure without a named source"
    )


def test_a_change_of_dose_is_no_start(patient: Patient) -> None:
    patient.when(prescribe("sertraline", 50))
    patient.given(*patient.decisions())
    patient.when(adjust(100))
    (fact,) = patient.decisions()
    assert isinstance(fact, DoseAdjusted)
    assert "DOSE-START" not in {each.rule.rule_id for each in fact.checks}


# ALLERGY


def allergic(substance: str, rxcui: str | None = None, active: bool = True) -> PatientNoted:
    noted = AllergyNoted(allergy_id=ALLERGY, substance=substance, rxcui=rxcui, severity="severe", active=active)
    return PatientNoted(noted=noted)


@pytest.mark.parametrize(
    ("drug", "amount", "substance", "rxcui"),
    [
        ("sertraline", 50, "sertraline", None),
        ("sertraline", 50, "Sertraline hydrochloride", None),
        ("sertraline", 50, "SSRI, the green one", "36437"),
        ("sertraline", 50, "Zoloft", None),
        ("cariprazine", "1.5", "Cariprazine", None),  # Its RxCUI is not known.
        ("lithium carbonate", 600, "lithium", None),
        ("lithium carbonate", 600, "white tablets", "6448"),
        ("lithium carbonate", 600, "white tablets", "42351"),
        ("lithium carbonate", 600, "Lithium citrate", None),
        ("divalproex sodium", 750, "valproate", None),
        ("divalproex sodium", 750, "Valproic acid", None),
        ("divalproex sodium", 750, "capsules", "40254"),
        ("divalproex sodium", 750, "capsules", "11118"),
        ("divalproex sodium", 750, "capsules", "266856"),
    ],
)
def test_no_drug_to_whose_ingredient_the_patient_is_allergic(
    patient: Patient, drug: str, amount: int, substance: str, rxcui: str | None
) -> None:
    patient.given(allergic(substance, rxcui))
    patient.when(prescribe(drug, amount, **because("DOSE-RANGE") if "valpro" in drug else {}))
    refusal = patient.then_rejected("allergy_on_record")
    assert substance in refusal.sentence
    assert refusal.details["rules"] == ["ALLERGY"]


@pytest.mark.parametrize(
    ("substance", "rxcui"), [("penicillin", "7984"), ("citalopram", "2556"), ("desertraline", None), ("", None)]
)
def test_an_allergy_to_something_else_is_no_obstacle(patient: Patient, substance: str, rxcui: str | None) -> None:
    patient.given(allergic(substance or "-", rxcui))
    patient.when(prescribe("sertraline", 50))
    assert check(patient, "ALLERGY").outcome == "passed"


def test_a_refuted_allergy_is_no_obstacle(patient: Patient) -> None:
    patient.given(allergic("sertraline"), allergic("sertraline", active=False))
    patient.when(prescribe("sertraline", 50))
    assert check(patient, "ALLERGY").outcome == "passed"


def test_an_allergy_is_overridden_with_a_coded_reason_only(patient: Patient) -> None:
    patient.given(allergic("sertraline"))
    patient.when(prescribe("sertraline", 50, **because("ALLERGY")))
    _, override = patient.decisions()
    assert isinstance(override, WarningOverridden)
    assert (override.rule.rule_id, override.severity) == ("ALLERGY", "contraindication")


def test_an_allergy_noted_after_the_start_asks_for_a_reason_at_the_next_change(patient: Patient) -> None:
    patient.when(prescribe("sertraline", 50))
    patient.given(*patient.decisions(), allergic("sertraline"))
    patient.when(adjust(100))
    patient.then_rejected("allergy_on_record")


# Several at once, and answers.


def test_all_that_asks_for_a_reason_is_named_at_once() -> None:
    patient = patient_born("1950-01-01")
    patient.given(allergic("fluoxetine"))
    patient.when(prescribe("fluoxetine", 80))
    refusal = patient.then_rejected("allergy_on_record")
    assert refusal.details["rules"] == ["ALLERGY", "DOSE-SOFT-MAX", "DOSE-AGE"]
    assert "soft maximum" in refusal.sentence
    assert "over 65" in refusal.sentence


def test_every_warning_needs_an_answer_of_its_own() -> None:
    patient = patient_born("1950-01-01")
    patient.when(prescribe("fluoxetine", 80, **because("DOSE-SOFT-MAX")))
    assert patient.then_rejected("reason_needed").details["rules"] == ["DOSE-AGE"]
    patient.when(prescribe("fluoxetine", 80, **because("DOSE-AGE", "DOSE-SOFT-MAX")))
    assert len(patient.decisions()) == 3


def test_nothing_is_overridden_that_did_not_warn(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 20, **because("DOSE-SOFT-MAX")))
    patient.then_rejected("nothing_to_override")


def test_the_refusal_says_which_reasons_may_be_given(patient: Patient) -> None:
    patient.when(prescribe("fluoxetine", 80))
    reasons = patient.then_rejected("reason_needed").details["reason_codes"]
    assert isinstance(reasons, list)
    assert "benefit_outweighs_risk" in reasons


def test_a_very_long_list_of_allergies_still_gets_an_answer(patient: Patient) -> None:
    for number in range(40):
        noted = AllergyNoted(
            allergy_id=UUID(int=number + 1), substance=f"sertraline {'x' * 85}", severity="mild", active=True
        )
        patient.given(PatientNoted(noted=noted))
    patient.when(prescribe("sertraline", 50, **because("ALLERGY")))
    accepted(patient)


def test_every_rule_explains_itself() -> None:
    assert all(rule.__doc__ for rule in RULES)
