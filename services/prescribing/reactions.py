"""What prescribing notes of what patients and therapy tell: all that its own checks stand on, and nothing more.

Names, addresses, care teams, consents and therapy itself are not asked for in any decision here.
"""

from collections.abc import Iterator
from typing import assert_never, get_args

from chassis.decider import Reaction
from contracts.clinical import AllergyNoted, BirthDateNoted, ConditionNoted, Noted, RiskFlagNoted
from contracts.event import Event
from contracts.patients import (
    AllergyRecorded,
    AllergyRefuted,
    CareTeamMemberAssigned,
    CareTeamMemberReleased,
    ConditionRecorded,
    ConditionResolved,
    ConsentGranted,
    ConsentWithdrawn,
    ContactPointRemoved,
    ContactPointSet,
    PatientEnrolled,
    PatientsFact,
    TreatmentApproachChosen,
)
from contracts.therapy import (
    MeasureRecorded,
    RiskFlagClosed,
    RiskFlagRaised,
    SessionCompleted,
    TherapyFact,
    TherapyStarted,
)
from contracts.therapy import PatientNoted as TherapyNoted

from .domain.commands import NoteEnded, NotePatient

Note = NotePatient | NoteEnded

# Every fact for which `react` has an answer, be it silence; a type that is not here is parked, not overlooked.
REACTS_TO: frozenset[str] = frozenset(fact.TYPE for fact in (*get_args(PatientsFact), *get_args(TherapyFact)))


def react(event: Event[PatientsFact | TherapyFact]) -> Iterator[Reaction[Note]]:
    """At most one note for a fact; it goes into the patient's own stream here."""
    match event.fact:
        case PatientEnrolled(birth_date=birth_date, sex=sex):
            yield noting(event, BirthDateNoted(birth_date=birth_date, sex=sex))
        case AllergyRecorded() as allergy:
            yield noting(event, when_allergy_recorded(allergy))
        case AllergyRefuted(allergy_id=id):
            yield Reaction(NoteEnded(what="allergy", id=id), event.key)
        case ConditionRecorded(condition_id=id, icd10cm=icd10cm):
            yield noting(event, ConditionNoted(condition_id=id, icd10cm=icd10cm, active=True))
        case ConditionResolved(condition_id=id):
            yield Reaction(NoteEnded(what="condition", id=id), event.key)
        case RiskFlagRaised(flag_id=id, tier=tier):
            yield noting(event, RiskFlagNoted(flag_id=id, tier=tier, open=True))
        case RiskFlagClosed(flag_id=id):
            yield Reaction(NoteEnded(what="risk_flag", id=id), event.key)
        case ContactPointSet() | ContactPointRemoved() | CareTeamMemberAssigned() | CareTeamMemberReleased():
            pass
        case ConsentGranted() | ConsentWithdrawn() | TreatmentApproachChosen():
            pass
        case TherapyNoted() | TherapyStarted() | SessionCompleted() | MeasureRecorded():
            pass
        case _:
            assert_never(event.fact)


def when_allergy_recorded(allergy: AllergyRecorded) -> AllergyNoted:
    return AllergyNoted(
        allergy_id=allergy.allergy_id,
        substance=allergy.substance.text,
        rxcui=allergy.substance.rxcui,
        severity=allergy.severity,
        active=True,
    )


def noting(event: Event[PatientsFact | TherapyFact], noted: Noted) -> Reaction[Note]:
    return Reaction(NotePatient(noted=noted), event.key)
