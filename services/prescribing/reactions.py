"""What prescribing notes of what patients and therapy tell: all that its own checks stand on, and nothing more.

No decision here asks for names, addresses, care teams, consents or what is done in therapy: such facts are not even
decoded.
"""

from collections.abc import Iterator
from typing import get_args

from chassis.decider import Reaction
from contracts.clinical import AllergyNoted, BirthDateNoted, ConditionNoted, Noted, RiskFlagNoted
from contracts.event import Event
from contracts.fact import Fact
from contracts.patients import AllergyRecorded, AllergyRefuted, ConditionRecorded, ConditionResolved, PatientEnrolled
from contracts.therapy import RiskFlagClosed, RiskFlagRaised

from .domain.commands import NoteEnded, NotePatient, PrescribingCommand

Noteworthy = (
    PatientEnrolled
    | AllergyRecorded
    | AllergyRefuted
    | ConditionRecorded
    | ConditionResolved
    | RiskFlagRaised
    | RiskFlagClosed
)
REACTS_TO: frozenset[str] = frozenset(fact.TYPE for fact in get_args(Noteworthy))


def react(event: Event[Fact]) -> Iterator[Reaction[PrescribingCommand]]:
    """One note for a fact, into the patient's own stream here."""
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


def when_allergy_recorded(allergy: AllergyRecorded) -> AllergyNoted:
    return AllergyNoted(
        allergy_id=allergy.allergy_id,
        substance=allergy.substance.text,
        rxcui=allergy.substance.rxcui,
        severity=allergy.severity,
        active=True,
    )


def noting(event: Event[Fact], noted: Noted) -> Reaction[PrescribingCommand]:
    return Reaction(NotePatient(noted=noted), event.key)
