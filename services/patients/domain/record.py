"""One patient's record: what was told of them, folded from the first fact on. Nothing is checked here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never
from uuid import UUID

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
from contracts.permissions import Known, known
from contracts.roles import Role

Member = tuple[str, Role]  # A person may be on a team in two roles.


@dataclass(frozen=True)
class Allergy:
    recorded: AllergyRecorded
    refuted: AllergyRefuted | None = None


@dataclass(frozen=True)
class Condition:
    recorded: ConditionRecorded
    resolved: ConditionResolved | None = None


@dataclass(frozen=True)
class ContactPoint:
    latest: ContactPointSet
    removed: bool = False


@dataclass(frozen=True)
class Consent:
    granted: ConsentGranted
    withdrawn: bool = False


@dataclass(frozen=True)
class Record:
    """What is known of one patient. What has ended stays, so that its id is never taken for something else.

    `access` is who may see the patient, by the same fold as in every other house.
    """

    enrolment: PatientEnrolled | None = None
    allergies: Mapping[UUID, Allergy] = field(default_factory=dict)
    conditions: Mapping[UUID, Condition] = field(default_factory=dict)
    contact_points: Mapping[UUID, ContactPoint] = field(default_factory=dict)
    consents: Mapping[UUID, Consent] = field(default_factory=dict)
    team: Mapping[Member, CareTeamMemberAssigned] = field(default_factory=dict)
    former_team: frozenset[Member] = frozenset()
    approach: TreatmentApproachChosen | None = None
    access: Known | None = None


def evolve(record: Record, event: Event[PatientsFact]) -> Record:
    after = told(record, event.fact)
    access = known(record.access, event)
    return after if access is record.access else replace(after, access=access)


def told(record: Record, fact: PatientsFact) -> Record:  # noqa: PLR0911, PLR0912 (one branch a fact)
    """The record after one more fact. An end without its beginning changes nothing."""
    match fact:
        case PatientEnrolled():
            return replace(record, enrolment=fact)
        case AllergyRecorded(allergy_id=id):
            return replace(record, allergies={**record.allergies, id: Allergy(fact)})
        case AllergyRefuted(allergy_id=id):
            if allergy := record.allergies.get(id):
                return replace(record, allergies={**record.allergies, id: replace(allergy, refuted=fact)})
            return record
        case ConditionRecorded(condition_id=id):
            return replace(record, conditions={**record.conditions, id: Condition(fact)})
        case ConditionResolved(condition_id=id):
            if condition := record.conditions.get(id):
                return replace(record, conditions={**record.conditions, id: replace(condition, resolved=fact)})
            return record
        case ContactPointSet(contact_point_id=id):
            return replace(record, contact_points={**record.contact_points, id: ContactPoint(fact)})
        case ContactPointRemoved(contact_point_id=id):
            if point := record.contact_points.get(id):
                return replace(record, contact_points={**record.contact_points, id: replace(point, removed=True)})
            return record
        case ConsentGranted(consent_id=id):
            return replace(record, consents={**record.consents, id: Consent(fact)})
        case ConsentWithdrawn(consent_id=id):
            if consent := record.consents.get(id):
                return replace(record, consents={**record.consents, id: replace(consent, withdrawn=True)})
            return record
        case CareTeamMemberAssigned(person=person, role=role):
            member = (person, role)
            return replace(record, team={**record.team, member: fact}, former_team=record.former_team - {member})
        case CareTeamMemberReleased(person=person, role=role):
            left = (person, role)
            remaining = {member: joined for member, joined in record.team.items() if member != left}
            return replace(record, team=remaining, former_team=record.former_team | {left})
        case TreatmentApproachChosen():
            return replace(record, approach=fact)
        case _:
            assert_never(fact)
