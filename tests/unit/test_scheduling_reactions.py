"""What other houses' facts mean for scheduling."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid5

import pytest

from contracts.clinical import Dose, Medication, RuleRef, Schedule
from contracts.fact import Fact
from contracts.patients import AllergyRefuted, PatientEnrolled
from contracts.prescribing import (
    DoseAdjusted,
    DosePrescribed,
    MedicationDiscontinued,
    MedicationReviewCompleted,
    ReviewedOrder,
)
from contracts.therapy import RiskFlagClosed, RiskFlagRaised, SessionCompleted
from services.scheduling.domain.commands import NoteEnrolment, NoteOrder, NoteReview, NoteRiskFlag, NoteSession
from services.scheduling.reactions import REACTS_TO, react
from tests.support.scenario import CORRELATION, NOW, PATIENT, event_of

ORDER = uuid5(CORRELATION, "order")
THING = uuid5(CORRELATION, "thing")
SERTRALINE = Medication(name="sertraline", rxcui="36437", classes=("ssri", "antidepressant"))
DOSE, DAILY = Dose(amount=Decimal(50), unit="mg"), Schedule(times=1)

enrolled = PatientEnrolled(
    family_name="Rivera",
    given_name="Ana",
    birth_date=date(1980, 5, 17),
    sex="female",
    language="es",
    time_zone="America/New_York",
    clinic="north",
    record_number="N-1",
)
prescribed = DosePrescribed(
    order_id=ORDER,
    medication=SERTRALINE,
    dose=DOSE,
    schedule=DAILY,
    route="oral",
    indication="F33.1",
    days_supply=30,
    refills=0,
    formulary_version="1",
)
adjusted = DoseAdjusted(
    order_id=ORDER,
    medication=SERTRALINE,
    from_dose=DOSE,
    from_schedule=DAILY,
    to_dose=Dose(amount=Decimal(100), unit="mg"),
    to_schedule=DAILY,
    direction="raised",
    reason="response",
)
discontinued = MedicationDiscontinued(
    order_id=ORDER, medication=SERTRALINE, last_dose_on=date(2026, 3, 1), reason="remission"
)
reviewed = MedicationReviewCompleted(
    review_id=THING,
    contact="video",
    orders=(ReviewedOrder(order_id=ORDER, decision="continue"),),
    effectiveness="good",
    tolerability="good",
    risk_asked=True,
    risk_clinically_important=False,
)
attended = SessionCompleted(
    session_id=THING,
    episode_id=ORDER,
    kind="treatment",
    started_at=datetime(2026, 3, 2, 14, 0, tzinfo=UTC),
    ended_at=datetime(2026, 3, 2, 14, 50, tzinfo=UTC),
    modality="CBT",
    format="individual",
    remote=True,
)
raised = RiskFlagRaised(
    flag_id=THING,
    tier="moderate",
    measure="PHQ-9",
    item=9,
    measure_record_id=ORDER,
    rule=RuleRef(rule_id="FU-SAFETY-ITEM9", version="2"),
)
closed = RiskFlagClosed(flag_id=THING, safety_action="safety_plan_agreed", text="Plan agreed.")

CLASSES = ("ssri", "antidepressant")
MEANINGS: list[tuple[Fact, Any]] = [
    (enrolled, NoteEnrolment(birth_date=date(1980, 5, 17), sex="female", time_zone="America/New_York", clinic="north")),
    (prescribed, NoteOrder(order_id=ORDER, classes=CLASSES, change="started")),
    (adjusted, NoteOrder(order_id=ORDER, classes=CLASSES, change="raised")),
    (discontinued, NoteOrder(order_id=ORDER, classes=CLASSES, change="ended")),
    (
        reviewed,
        NoteReview(review_id=THING, contact="video", orders=(ORDER,), risk_asked=True, risk_clinically_important=False),
    ),
    (attended, NoteSession(session_id=THING, remote=True)),
    (raised, NoteRiskFlag(flag_id=THING, tier="moderate")),
    (closed, NoteRiskFlag(flag_id=THING, tier=None)),
]


@pytest.mark.parametrize(("fact", "command"), MEANINGS, ids=lambda value: type(value).__name__)
def test_each_fact_is_noted_in_the_patients_own_stream(fact: Fact, command: Any) -> None:
    [reaction] = react(event_of(fact))
    assert (reaction.command, reaction.key, reaction.occurred_at) == (command, str(PATIENT), None)


def test_what_is_announced_is_what_is_reacted_to() -> None:
    assert {fact.TYPE for fact, _ in MEANINGS} == REACTS_TO


def test_what_does_not_concern_follow_up_is_let_pass() -> None:
    assert list(react(event_of(AllergyRefuted(allergy_id=THING, reason="A mistake."), occurred_at=NOW))) == []
