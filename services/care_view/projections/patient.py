"""By patients: who the patient is, what they react to, who cares for them, what they agreed to."""

from uuid import UUID

from msgspec.structs import replace

from contracts.event import Event
from contracts.fact import Fact
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
    TreatmentApproachChosen,
)

from .bounded import without
from .document import Patient
from .parts import (
    APPROACHES_KEPT,
    CLOSED_KEPT,
    RELEASED_KEPT,
    Allergy,
    Approach,
    Condition,
    Consent,
    ContactPoint,
    Identity,
    Member,
    Refuted,
    Resolved,
)


def patient(now: Patient, event: Event[Fact]) -> Patient:  # noqa: PLR0911, PLR0912 (one branch a fact)
    match event.fact:
        case PatientEnrolled() as fact:
            return replace(now, identity=enrolled(event, fact))
        case AllergyRecorded() as fact:
            allergy = Allergy(fact.kind, fact.substance.text, fact.reaction, fact.severity, event.occurred_at)
            return replace(now, allergies={**now.allergies, fact.allergy_id: allergy})
        case AllergyRefuted() as fact:
            return refute(now, event, fact)
        case ConditionRecorded() as fact:
            condition = Condition(fact.icd10cm, fact.label, fact.diagnosed_by, fact.onset_on)
            return replace(now, conditions={**now.conditions, fact.condition_id: condition})
        case ConditionResolved() as fact:
            return resolve(now, fact)
        case ContactPointSet() as fact:
            point = ContactPoint(fact.channel, fact.address, fact.preferred, fact.confidential, fact.privacy_level)
            return replace(now, contact_points={**now.contact_points, fact.contact_point_id: point})
        case ContactPointRemoved(contact_point_id=contact_point_id):
            return replace(now, contact_points=without(now.contact_points, contact_point_id))
        case CareTeamMemberAssigned() as fact:
            member = Member(fact.person, fact.name, fact.role, fact.clinic, fact.from_on, fact.until_on)
            return replace(now, team=(*others(now.team, fact.person, fact.role), member))
        case CareTeamMemberReleased(person=person, role=role):
            stay = others(now.team, person, role)
            left = tuple(member for member in now.team if member not in stay)
            return replace(now, team=stay, released=(*now.released, *left)[-RELEASED_KEPT:])
        case ConsentGranted() as fact:
            consent = Consent(fact.scope, event.occurred_at, fact.address, fact.purposes)
            return replace(now, consents={**now.consents, fact.consent_id: consent})
        case ConsentWithdrawn(consent_id=consent_id):
            return withdraw(now, event, consent_id)
        case TreatmentApproachChosen() as fact:
            return replace(now, approaches=(*now.approaches, chosen(event, fact))[-APPROACHES_KEPT:])
        case _:
            return now


def enrolled(event: Event[Fact], fact: PatientEnrolled) -> Identity:
    return Identity(
        family_name=fact.family_name,
        given_name=fact.given_name,
        birth_date=fact.birth_date,
        sex=fact.sex,
        language=fact.language,
        interpreter_needed=fact.interpreter_needed,
        time_zone=fact.time_zone,
        clinic=fact.clinic,
        record_number=fact.record_number,
        enrolled_at=event.occurred_at,
    )


def refute(now: Patient, event: Event[Fact], fact: AllergyRefuted) -> Patient:
    if (was := now.allergies.get(fact.allergy_id)) is None:
        return now
    refuted = Refuted(was.substance, fact.reason, event.occurred_at)
    return replace(
        now,
        allergies=without(now.allergies, fact.allergy_id),
        refuted=(*now.refuted, refuted)[-CLOSED_KEPT:],
    )


def resolve(now: Patient, fact: ConditionResolved) -> Patient:
    if (was := now.conditions.get(fact.condition_id)) is None:
        return now
    resolved = Resolved(was.icd10cm, was.label, fact.resolved_on)
    return replace(
        now,
        conditions=without(now.conditions, fact.condition_id),
        resolved=(*now.resolved, resolved)[-CLOSED_KEPT:],
    )


def withdraw(now: Patient, event: Event[Fact], consent_id: UUID) -> Patient:
    if (was := now.consents.get(consent_id)) is None:
        return now
    withdrawn = replace(was, withdrawn_at=event.occurred_at)
    return replace(
        now,
        consents=without(now.consents, consent_id),
        withdrawn=(*now.withdrawn, withdrawn)[-CLOSED_KEPT:],
    )


def chosen(event: Event[Fact], fact: TreatmentApproachChosen) -> Approach:
    return Approach(
        approach=fact.approach,
        reason=fact.reason,
        chosen_at=event.occurred_at,
        decided_together=fact.decided_together,
        alternatives=fact.alternatives,
        preference=fact.preference,
        target_measure=fact.target_measure,
    )


def others(team: tuple[Member, ...], person: str, role: str) -> tuple[Member, ...]:
    """The team but this person in this role."""
    return tuple(member for member in team if (member.person, member.role) != (person, role))
