"""What holds whatever is asked of one patient's orders, in whatever order."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import reduce
from pathlib import Path
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from chassis.decider import Ask, Rejected
from contracts.clinical import AllergyNoted, BirthDateNoted, ConditionNoted, RiskFlagNoted
from contracts.event import Event
from contracts.prescribing import DosePrescribed, PrescribingFact
from services.prescribing.domain.checks import AGE_RANGE, ALLERGY, LABEL_MAXIMUM, RANGE_KNOWN, SOFT_MAXIMUM
from services.prescribing.domain.commands import NotePatient, PrescribingCommand
from services.prescribing.domain.formulary import load
from services.prescribing.domain.medication_orders import medication_orders
from services.prescribing.domain.orders import Active, Orders
from tests.support.scenario import CORRELATION, NOW, ask_for, event_of

DOMAIN = Path("services/prescribing/domain")
FORMULARY = load(*((DOMAIN / f"{name}.csv").read_bytes() for name in ("formulary", "drug_classes", "brand_names")))
DECIDER = medication_orders(FORMULARY)

# Few ids and few drugs, so that commands meet.
IDS = [UUID(int=number) for number in range(1, 4)]
DRUGS = ["sertraline", "Citalopram", "lithium carbonate", "divalproex sodium", "esketamine", "selegiline", "aspirin"]
SUBSTANCES = ["sertraline", "lithium", "Zoloft", "valproate", "dust"]
RULES = [SOFT_MAXIMUM, RANGE_KNOWN, AGE_RANGE, ALLERGY, LABEL_MAXIMUM, "NO-SUCH-RULE"]
DAYS = [NOW.date() + timedelta(days=days) for days in (-40, -1, 0, 1, 40)]

ids = st.sampled_from(IDS)
doses = st.fixed_dictionaries(
    {
        "amount": st.sampled_from(["0.0001", "0.1", "12.5", "20", "40", "50", "84", "100", "300", "99999.9999"]),
        "unit": st.sampled_from(["mg", "mg", "mg", "mcg", "g", "mL", "unit", "mg/24h"]),
    }
)
schedules = st.fixed_dictionaries({"times": st.integers(1, 24), "period_days": st.integers(1, 366)}) | st.just(
    {"times": 1}
)
overrides = st.lists(st.sampled_from(RULES), unique=True).map(
    lambda rules: [{"rule_id": rule, "reason_code": "other", "text": "Agreed."} for rule in rules]
)
notes = st.one_of(
    st.builds(BirthDateNoted, birth_date=st.dates(date(1900, 1, 1), date(2030, 1, 1)), sex=st.just("other")),
    st.builds(
        AllergyNoted,
        allergy_id=ids,
        substance=st.sampled_from(SUBSTANCES),
        rxcui=st.none(),
        severity=st.just("mild"),
        active=st.booleans(),
    ),
    st.builds(ConditionNoted, condition_id=ids, icd10cm=st.just("F33.1"), active=st.booleans()),
    st.builds(RiskFlagNoted, flag_id=ids, tier=st.just("low"), open=st.booleans()),
)
bodies = st.one_of(
    st.fixed_dictionaries(
        {
            "order_id": ids | st.none(),
            "medication": st.sampled_from(DRUGS) | st.text(min_size=1, max_size=100).filter(str.strip),
            "dose": doses,
            "schedule": schedules,
            "route": st.sampled_from(["oral", "oral", "nasal", "transdermal", "intramuscular"]),
            "indication": st.just("As agreed"),
            "days_supply": st.integers(1, 365),
            "refills": st.integers(0, 12),
            "overrides": overrides,
        }
    ),
    st.fixed_dictionaries(
        {
            "order_id": ids,
            "dose": doses,
            "schedule": schedules,
            "reason": st.sampled_from(["response", "taper"]),
            "overrides": overrides,
        }
    ),
    st.fixed_dictionaries(
        {"order_id": ids, "last_dose_on": st.sampled_from(DAYS), "reason": st.sampled_from(["remission", "error"])}
    ),
    st.fixed_dictionaries(
        {
            "review_id": ids | st.none(),
            "contact": st.just("video"),
            "orders": st.lists(ids, min_size=1, unique=True).map(
                lambda found: [{"order_id": each, "decision": "continue"} for each in found]
            ),
            "effectiveness": st.just("good"),
            "tolerability": st.just("good"),
            "risk_asked": st.booleans(),
            "risk_clinically_important": st.none() | st.booleans(),
            "next_review_on": st.none() | st.sampled_from(DAYS),
        }
    ),
    st.fixed_dictionaries({"noted": notes}),
    st.fixed_dictionaries({"what": st.sampled_from(["allergy", "condition", "risk_flag"]), "id": ids}),
)
commands = bodies.map(TypeAdapter[PrescribingCommand](PrescribingCommand).validate_python)
asks = st.builds(
    lambda command, number, hours: ask_for(
        command, id=uuid5(CORRELATION, str(number)), occurred_at=NOW - timedelta(hours=hours)
    ),
    commands,
    st.integers(0, 5),
    st.sampled_from([0, 0, 1, 1000]),
)
courses = st.lists(asks, max_size=12)
KNOWN = NotePatient(noted=BirthDateNoted(birth_date=date(1986, 3, 2), sex="female"))


def decided(orders: Orders, ask: Ask[PrescribingCommand]) -> Sequence[PrescribingFact] | Rejected:
    """What comes of an ask: facts or a refusal. All else propagates and fails the property."""
    try:
        return DECIDER.decide(orders, ask)
    except Rejected as refusal:
        return refusal


def course_of(asks: Sequence[Ask[PrescribingCommand]]) -> list[Event[PrescribingFact]]:
    """The events that come of asking one after the other, beginning with a known birth date."""
    orders, events = DECIDER.initial, list[Event[PrescribingFact]]()
    for ask in (ask_for(KNOWN), *asks):
        outcome = decided(orders, ask)
        for fact in () if isinstance(outcome, Rejected) else outcome:
            events.append(event_of(fact, len(events) + 1, occurred_at=ask.occurred_at))
            orders = DECIDER.evolve(orders, events[-1])
    return events


def folded(events: Sequence[Event[PrescribingFact]]) -> Orders:
    return reduce(DECIDER.evolve, events, DECIDER.initial)


@given(courses, asks)
def test_a_decision_is_facts_or_a_refusal_and_nothing_else(
    before: list[Ask[PrescribingCommand]], ask: Ask[PrescribingCommand]
) -> None:
    for orders in (folded(course_of(before)), DECIDER.initial):
        outcome = decided(orders, ask)
        if isinstance(outcome, Rejected):
            assert outcome.reason == outcome.reason.lower().replace(" ", "_")
            assert outcome.sentence.endswith(".")


@given(courses, asks)
def test_asking_twice_yields_nothing(before: list[Ask[PrescribingCommand]], ask: Ask[PrescribingCommand]) -> None:
    orders = folded(course_of(before))
    outcome = decided(orders, ask)
    if isinstance(outcome, Rejected):
        return
    for fact in outcome:
        orders = DECIDER.evolve(orders, event_of(fact, occurred_at=ask.occurred_at))
    assert decided(orders, ask) == []


@given(courses)
def test_every_part_of_a_history_can_be_folded(asks: list[Ask[PrescribingCommand]]) -> None:
    events = course_of(asks)
    for first in range(len(events)):
        folded(events[:first])
        folded(events[first:])  # As after a fact that was recorded in error and taken out.


@given(courses)
def test_the_same_history_always_folds_to_the_same_state(asks: list[Ask[PrescribingCommand]]) -> None:
    events = course_of(asks)
    assert folded(events) == folded(events)


@given(courses)
def test_one_ingredient_is_never_in_force_twice(asks: list[Ask[PrescribingCommand]]) -> None:
    events = course_of(asks)
    for last in range(len(events) + 1):
        names = [each.medication.name for each in folded(events[:last]).by_id.values() if isinstance(each, Active)]
        assert len(names) == len(set(names))


@given(courses)
def test_no_daily_dose_is_ever_put_in_force_above_the_greatest_label_maximum(
    asks: list[Ask[PrescribingCommand]],
) -> None:
    """By a second way of counting: in floats, from the facts, for the drugs whose figures are plain mg a day."""
    greatest = {"sertraline": 200, "citalopram": 40, "lithium carbonate": 1800}
    in_mg = {"mg": 1.0, "mcg": 0.001, "g": 1000.0}
    for event in course_of(asks):
        fact = event.fact
        if isinstance(fact, DosePrescribed) and fact.medication.name in greatest:
            daily = float(fact.dose.amount) * in_mg[fact.dose.unit] * fact.schedule.times / fact.schedule.period_days
            assert daily <= greatest[fact.medication.name] * 1.0000001
