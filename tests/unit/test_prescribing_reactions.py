"""What prescribing notes of what other houses tell, and that it can say of each of their facts what it does."""

from datetime import UTC, date, datetime
from typing import get_args
from uuid import UUID

import pytest

from contracts import patients, therapy
from contracts.clinical import AllergyNoted, BirthDateNoted, ConditionNoted, RiskFlagNoted, RuleRef
from contracts.patients import PatientsFact, Substance
from contracts.therapy import TherapyFact
from services.prescribing.domain.commands import NoteEnded, NotePatient
from services.prescribing.reactions import REACTS_TO, react
from tests.support.scenario import PATIENT, event_of

ID = UUID("1d000000-0000-4000-8000-000000000001")
ANOTHER = UUID("1d000000-0000-4000-8000-000000000002")
SOON = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)

enrolled = patients.PatientEnrolled(
    family_name="Vane",
    given_name="Ada",
    birth_date=date(1986, 3, 3),
    sex="female",
    language="en-US",
    time_zone="America/New_York",
    clinic="north",
    record_number="N-1",
)
allergy = patients.AllergyRecorded(
    allergy_id=ID,
    kind="intolerance",
    substance=Substance(text="lithium", rxcui="6448"),
    reaction="Rash",
    severity="moderate",
)
condition = patients.ConditionRecorded(condition_id=ID, icd10cm="F33.1", label="Depression", diagnosed_by="c1")
raised = therapy.RiskFlagRaised(
    flag_id=ID,
    tier="moderate",
    measure="PHQ-9",
    item=9,
    measure_record_id=ANOTHER,
    rule=RuleRef(rule_id="PHQ-9", version="1"),
)
closed = therapy.RiskFlagClosed(flag_id=ID, safety_action="safety_plan_agreed", text="Agreed together.")

NOTED = [
    (enrolled, NotePatient(noted=BirthDateNoted(birth_date=date(1986, 3, 3), sex="female"))),
    (
        allergy,
        NotePatient(
            noted=AllergyNoted(allergy_id=ID, substance="lithium", rxcui="6448", severity="moderate", active=True)
        ),
    ),
    (patients.AllergyRefuted(allergy_id=ID, reason="A virus."), NoteEnded(what="allergy", id=ID)),
    (condition, NotePatient(noted=ConditionNoted(condition_id=ID, icd10cm="F33.1", active=True))),
    (
        patients.ConditionResolved(condition_id=ID, resolved_on=date(2026, 1, 1)),
        NoteEnded(what="condition", id=ID),
    ),
    (raised, NotePatient(noted=RiskFlagNoted(flag_id=ID, tier="moderate", open=True))),
    (closed, NoteEnded(what="risk_flag", id=ID)),
]

LET_PASS = [
    patients.ContactPointSet(contact_point_id=ID, channel="email", address="ada@example.org"),
    patients.ContactPointRemoved(contact_point_id=ID),
    patients.CareTeamMemberAssigned(
        person="c1", name="Dr Moss", role="prescriber", clinic="north", from_on=date(2026, 1, 1)
    ),
    patients.CareTeamMemberReleased(person="c1", role="prescriber", reason="Moved."),
    patients.ConsentGranted(consent_id=ID, scope="sharing", wording_version="1", how="paper"),
    patients.ConsentWithdrawn(consent_id=ID, scope="sharing", how="paper"),
    patients.TreatmentApproachChosen(approach="combined", reason="Both asked for.", decided_together=True),
    therapy.PatientNoted(noted=BirthDateNoted(birth_date=date(1986, 3, 3), sex="female")),
    therapy.TherapyStarted(episode_id=ID, modality="CBT", therapist="c2", planned_sessions=16, sessions_per_month=4),
    therapy.SessionCompleted(
        session_id=ID,
        episode_id=ANOTHER,
        kind="treatment",
        started_at=SOON,
        ended_at=SOON,
        modality="CBT",
        format="individual",
        remote=False,
    ),
    therapy.MeasureRecorded(
        measure_record_id=ID,
        measure="PHQ-9",
        answers=(),
        total=None,
        band=None,
        scoring=RuleRef(rule_id="PHQ-9", version="1"),
        answered_by="patient",
        mode="paper",
        language="en-US",
    ),
]


@pytest.mark.parametrize(("fact", "command"), NOTED, ids=lambda each: type(each).__name__)
def test_what_a_decision_stands_on_is_noted_in_the_patients_own_stream(
    fact: PatientsFact | TherapyFact, command: NotePatient | NoteEnded
) -> None:
    (reaction,) = react(event_of(fact))
    assert reaction.command == command
    assert reaction.key == str(PATIENT)
    assert reaction.occurred_at is None  # It occurred when its cause did.


@pytest.mark.parametrize("fact", LET_PASS, ids=lambda each: type(each).__name__)
def test_what_no_decision_stands_on_is_let_pass(fact: PatientsFact | TherapyFact) -> None:
    assert list(react(event_of(fact))) == []


def test_every_fact_of_patients_and_therapy_is_either_noted_or_let_pass() -> None:
    noted, let_pass = {type(fact) for fact, _ in NOTED}, {type(fact) for fact in LET_PASS}
    assert noted | let_pass == {*get_args(PatientsFact), *get_args(TherapyFact)}
    assert frozenset(fact.TYPE for fact in noted) == REACTS_TO
