"""The formulary as data: every drug of it, and what a table must not say.

What is expected is read from the CSV here once more, by other means: plain cells by their first word, and by hand
where a cell says more than one number.
"""

import csv
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from contracts.clinical import AllergyNoted, BirthDateNoted
from contracts.prescribing import DosePrescribed, PatientNoted, PrescribingFact, WarningOverridden
from services.prescribing.domain.commands import Override, PrescribeDose, PrescribingCommand
from services.prescribing.domain.figures import BadTable, figure, maximum
from services.prescribing.domain.formulary import load
from services.prescribing.domain.medication_orders import medication_orders
from services.prescribing.domain.orders import Orders
from tests.support.scenario import Scenario

DOMAIN = Path("services/prescribing/domain")
TABLES = {name: (DOMAIN / f"{name}.csv").read_bytes() for name in ("formulary", "drug_classes", "brand_names")}
FORMULARY = load(**TABLES)
ROWS = {row["generic"]: row for row in csv.DictReader(TABLES["formulary"].decode().splitlines())}
CLASS_ROWS = list(csv.DictReader(TABLES["drug_classes"].decode().splitlines()))
BRAND_ROWS = list(csv.DictReader(TABLES["brand_names"].decode().splitlines()))
ORDER = UUID("0d000000-0000-4000-8000-000000000001")
ALLERGY = UUID("a1000000-0000-4000-8000-000000000001")

# By hand: where it is sure for everyone, and where nobody may go, if they differ; None where nothing is known.
SOFT_BY_HAND: dict[str, Decimal | None] = {"divalproex sodium": None, "esketamine": Decimal(84)}
SURE_BY_HAND: dict[str, Decimal | None] = {
    "divalproex sodium": None,
    "esketamine": Decimal(84),
    "lamotrigine": Decimal(100),
    "methylphenidate": Decimal(60),
}
NEVER_BY_HAND: dict[str, Decimal | None] = {
    "divalproex sodium": None,
    "esketamine": Decimal(84),
    "lamotrigine": Decimal(400),
    "methylphenidate": Decimal(72),
}
LEAST = Decimal("0.0001")  # The smallest step of a dose.

Patient = Scenario[Orders, PrescribingCommand, PrescribingFact]


def first_word(cell: str) -> Decimal:
    return Decimal(cell.split(maxsplit=1)[0])


def soft(drug: str) -> Decimal | None:
    return SOFT_BY_HAND[drug] if drug in SOFT_BY_HAND else first_word(ROWS[drug]["soft_max_mg_day"])


def sure(drug: str) -> Decimal | None:
    return SURE_BY_HAND[drug] if drug in SURE_BY_HAND else first_word(ROWS[drug]["label_max_mg_day"])


def never(drug: str) -> Decimal | None:
    return NEVER_BY_HAND[drug] if drug in NEVER_BY_HAND else first_word(ROWS[drug]["label_max_mg_day"])


def patient_of(age: int) -> Patient:
    found: Patient = Scenario(medication_orders(FORMULARY))
    birth = BirthDateNoted(birth_date=date(2026 - age, 1, 1), sex="male")
    found.given(PatientNoted(noted=birth))
    return found


def prescribe(drug: str, amount: Decimal, rules: tuple[str, ...] = ()) -> PrescribeDose:
    reasons = [{"rule_id": rule, "reason_code": "no_alternative", "text": "None left."} for rule in rules]
    return PrescribeDose.model_validate(
        {
            "order_id": ORDER,
            "medication": drug,
            "dose": {"amount": amount, "unit": "mg/24h" if drug == "selegiline" else "mg"},
            "schedule": {"times": 1},
            "route": {
                "selegiline": "transdermal",
                "esketamine": "nasal",
                "asenapine": "sublingual",
                "buprenorphine": "sublingual",
            }.get(drug, "oral"),
            "indication": "As agreed",
            "days_supply": 30,
            "refills": 0,
            "overrides": reasons,
        }
    )


def rules_asking(patient: Patient, command: PrescribeDose) -> set[str]:
    """The rules that want a coded reason, after which the same command with all of them is accepted."""
    patient.when(command)
    if not isinstance(patient.outcome, Exception):
        return set()
    rules = patient.then_rejected("reason_needed").details["rules"]
    assert isinstance(rules, list)
    answers = tuple(Override(rule_id=rule, reason_code="no_alternative", text="None left.") for rule in rules)
    patient.when(command.model_copy(update={"overrides": answers}))
    overridden = {each.rule.rule_id for each in patient.decisions() if isinstance(each, WarningOverridden)}
    assert overridden == set(rules)
    return overridden


def test_the_formulary_has_85_drugs_and_its_version_is_its_hash() -> None:
    assert len(FORMULARY.drugs) == len(ROWS) == 85
    assert FORMULARY.version == sha256(TABLES["formulary"]).hexdigest()[:12]


@pytest.mark.parametrize("drug", ROWS)
def test_up_to_the_soft_maximum_no_reason_is_needed_where_the_range_is_known(drug: str) -> None:
    limit, label = soft(drug), sure(drug)
    if limit is None or label is None:
        assert rules_asking(patient_of(40), prescribe(drug, Decimal(1))) == {"DOSE-RANGE"}
        return
    assert rules_asking(patient_of(40), prescribe(drug, min(limit, label))) == set()


@pytest.mark.parametrize("drug", ROWS)
def test_above_the_soft_maximum_a_reason_is_needed(drug: str) -> None:
    limit, label, end = soft(drug), sure(drug), never(drug)
    if limit is None or label is None or end is None:
        assert drug == "divalproex sodium"  # Its limits go by weight; see above.
        return
    if limit + LEAST <= end:
        expected = {"DOSE-SOFT-MAX"} | ({"DOSE-RANGE"} if limit + LEAST > label else set())
        assert rules_asking(patient_of(40), prescribe(drug, limit + LEAST)) == expected


@pytest.mark.parametrize("drug", ROWS)
def test_above_the_label_maximum_nothing_helps(drug: str) -> None:
    end, limit, label = never(drug), soft(drug), sure(drug)
    patient = patient_of(40)
    if end is None or limit is None or label is None:
        assert drug == "divalproex sodium"
        return
    reasons = ("DOSE-LABEL-MAX", "DOSE-SOFT-MAX", "DOSE-RANGE")
    patient.when(prescribe(drug, end + LEAST, reasons))
    patient.then_rejected("above_label_maximum")
    at_the_end = {"DOSE-SOFT-MAX"} if end > limit else set()
    assert rules_asking(patient, prescribe(drug, end)) == at_the_end | ({"DOSE-RANGE"} if end > label else set())


@pytest.mark.parametrize("drug", ROWS)
@pytest.mark.parametrize("age", [17, 66])
def test_for_the_young_and_the_old_a_reason_is_needed_unless_the_data_names_the_age(drug: str, age: int) -> None:
    named = age > 65 and drug in ("citalopram", "eszopiclone", "zaleplon")
    smallest = rules_asking(patient_of(age), prescribe(drug, LEAST)) - {"DOSE-RANGE"}
    assert smallest == (set() if named else {"DOSE-AGE"})


@pytest.mark.parametrize("drug", ROWS)
def test_the_order_carries_code_and_all_classes_of_the_drug(drug: str) -> None:
    patient = patient_of(40)
    patient.when(prescribe(drug, LEAST, ("DOSE-RANGE",) if drug == "divalproex sodium" else ()))
    order = patient.decisions()[0]
    assert isinstance(order, DosePrescribed)
    code = ROWS[drug]["rxcui_ingredient"]
    assert order.medication.rxcui == (None if code == "(unverified)" else code)
    assert list(order.medication.classes) == sorted(row["class"] for row in CLASS_ROWS if row["member"] == drug)
    assert order.formulary_version == FORMULARY.version


@pytest.mark.parametrize("drug", ROWS)
def test_an_allergy_stops_each_drug_by_its_name_and_by_its_code(drug: str) -> None:
    code = ROWS[drug]["rxcui_ingredient"]
    records = [(f"{drug.upper()} tablets", None)] + ([] if code == "(unverified)" else [("small pills", code)])
    for substance, rxcui in records:
        patient = patient_of(40)
        noted = AllergyNoted(allergy_id=ALLERGY, substance=substance, rxcui=rxcui, severity="mild", active=True)
        patient.given(PatientNoted(noted=noted))
        patient.when(prescribe(drug, LEAST))
        patient.then_rejected("allergy_on_record")


@pytest.mark.parametrize("row", BRAND_ROWS, ids=lambda row: row["brand"])
def test_a_brand_name_leads_to_its_drug(row: dict[str, str]) -> None:
    assert FORMULARY.close_to(row["brand"])[0] == row["generic"]


# What a cell may say.


@pytest.mark.parametrize(
    ("cell", "ranges"),
    [
        ("20", [("20", "20")]),
        ("37.5-75 (XR)", [("37.5", "75")]),
        ("6 mg/24h", [("6", "6")]),
        ("84/session", [("84", "84")]),
        ("60 IR / 72 OROS", [("60", "60"), ("72", "72")]),
        ("10-20 IR; 18-36 OROS", [("10", "20"), ("18", "36")]),
        ("60 (OCD/panic; K)", [("60", "60")]),
        ("25 x2wk, 50 x2wk, 100, 200", [("25", "25")]),
        ("750 or 25 mg/kg/d (ER)", [("750", "750")]),
        ("60 mg/kg/d", []),
        ("", []),
        ("-", []),
        ("by level", []),
    ],
)
def test_what_a_cell_says(cell: str, ranges: list[tuple[str, str]]) -> None:
    assert [(str(each.low), str(each.high)) for each in figure(cell).ranges] == ranges


@pytest.mark.parametrize(
    "cell", ["5O", "1,000", "20-", "20-10", "12..5", "0", "20 mcg", "2 g", "50mg", "1e3", "10; 2O", "60 IR / 7Z OROS"]
)
def test_a_claim_that_is_no_number_of_mg_is_refused(cell: str) -> None:
    with pytest.raises(BadTable):
        figure(cell)


def test_a_maximum_is_one_number() -> None:
    with pytest.raises(BadTable, match="range"):
        maximum("20-40")


# What a table must not say. One bad cell and the whole of it is refused.


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(table: bytes) -> bytes:
        assert old.encode() in table, "the test changes what is not there"
        return table.replace(old.encode(), new.encode(), 1)

    return change


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        ("formulary", replaced("sertraline,36437", "fluoxetine,36437"), "fluoxetine"),
        ("formulary", replaced("sertraline,36437", "sertraline,4493"), "twice"),
        ("formulary", replaced("sertraline,36437", "sertraline,36A37"), "36A37"),
        ("formulary", replaced("sertraline,36437", "Sertraline,36437"), "lower case"),
        ("formulary", replaced(",SSRI,50 (25", ",SSRl,50 (25"), "SSRl"),
        ("formulary", replaced("50-200,200,200", "50-200,2OO,200"), "2OO"),
        ("formulary", replaced("50-200,200,200", "50-200,150-200,200"), "range"),
        ("formulary", replaced("BZD,IV,", "BZD,VI,"), "VI"),
        ("formulary", replaced("generic,", "drug,"), "columns"),
        ("formulary", replaced("sertraline,36437,", "sertraline,"), "11 cells"),
        ("formulary", replaced("citalopram,2556", "citalopran,2556"), "citalopran"),
        ("drug_classes", replaced("ssri,sertraline,formulary", "ssri,sertralin,formulary"), "sertraline"),
        ("drug_classes", replaced("ssri,sertraline,formulary", "ssri,fluoxetine,formulary"), "twice"),
        ("drug_classes", replaced("ssri,sertraline,formulary", "SSRI,sertraline,formulary"), "SSRI"),
        ("drug_classes", replaced("ssri,sertraline,formulary", "ssri,sertraline,formularx"), "scope"),
        ("drug_classes", replaced("opioid,tapentadol,non_psychotropic", "opioid,tapentadol,formulary"), "tapentadol"),
        ("brand_names", replaced("Zoloft,sertraline", "Zoloft,sertralin"), "sertralin"),
        ("brand_names", replaced("Zoloft,sertraline", "Prozac,sertraline"), "Prozac"),
        ("brand_names", lambda table: table + b"\xff", "UTF-8"),
    ],
)
def test_a_table_with_one_bad_cell_is_refused_whole(table: str, change: Callable[[bytes], bytes], told: str) -> None:
    changed: dict[str, Any] = {**TABLES, table: change(TABLES[table])}
    with pytest.raises(BadTable, match=told):
        load(**changed)
