"""Who may do and see what: one table of command or view × role × relationship, and the copy it is judged by.

Default deny: a name without a row, a role without an entry, a relationship that does not hold, all refuse. Each
service judges by its own copy of the patients' facts (`Known`), folded by `known`; the copy's freshness is the
caller's to check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Literal, assert_never

from .event import Event
from .fact import Fact
from .patients import CareTeamMemberAssigned, CareTeamMemberReleased, PatientEnrolled
from .roles import Role


class Relationship(StrEnum):
    """What must hold between the person who asks and the patient."""

    ANY = "any"  # Nothing: enrolment, lists of one's own, machines.
    CLINIC = "clinic"  # The person works at the patient's clinic.
    TEAM = "team"  # The person is, today, on the patient's care team in the role in which they act.
    SELF = "self"  # The record is the person's own, or of whom they represent.


ANY, CLINIC, TEAM, SELF = Relationship.ANY, Relationship.CLINIC, Relationship.TEAM, Relationship.SELF

CARE: Mapping[Role, Relationship] = {"prescriber": TEAM, "therapist": TEAM, "nurse": TEAM, "care_manager": TEAM}

PERMISSIONS: Mapping[str, Mapping[Role, Relationship]] = {
    # patients
    "patients.enrol-patient": {"clerk": ANY, "supervisor": ANY, "care_manager": ANY},
    "patients.record-allergy": {**CARE, "clerk": CLINIC},
    "patients.refute-allergy": {"prescriber": TEAM, "nurse": TEAM},
    "patients.record-condition": {"prescriber": TEAM, "therapist": TEAM, "nurse": TEAM},
    "patients.resolve-condition": {"prescriber": TEAM, "therapist": TEAM},
    "patients.set-contact-point": {**CARE, "clerk": CLINIC, "patient": SELF},
    "patients.remove-contact-point": {**CARE, "clerk": CLINIC, "patient": SELF},
    "patients.assign-care-team-member": {"supervisor": CLINIC, "care_manager": TEAM},
    "patients.release-care-team-member": {"supervisor": CLINIC, "care_manager": TEAM},
    "patients.grant-consent": {**CARE, "clerk": CLINIC, "patient": SELF},
    "patients.withdraw-consent": {**CARE, "clerk": CLINIC, "patient": SELF},
    "patients.choose-treatment-approach": {"prescriber": TEAM, "therapist": TEAM},
    "patients.may-send": {"service": ANY},
    # prescribing
    "prescribing.prescribe-dose": {"prescriber": TEAM},
    "prescribing.adjust-dose": {"prescriber": TEAM},
    "prescribing.discontinue-medication": {"prescriber": TEAM},
    "prescribing.complete-medication-review": {"prescriber": TEAM, "nurse": TEAM, "pharmacist": TEAM},
    # therapy
    "therapy.start-therapy": {"therapist": TEAM},
    "therapy.complete-session": {"therapist": TEAM},
    "therapy.record-measure": {**CARE},
    "therapy.close-risk-flag": {"prescriber": TEAM, "therapist": TEAM, "nurse": TEAM},
    # scheduling
    "scheduling.book-appointment": {**CARE, "clerk": CLINIC},
    "scheduling.record-contact": {**CARE},
    # notifications
    "notifications.unknown-messages": {"privacy_officer": ANY},
    # care_view
    "care_view.patient": {**CARE, "pharmacist": TEAM, "supervisor": CLINIC},
    "care_view.timeline": {**CARE, "pharmacist": TEAM, "supervisor": CLINIC},
    # audit
    "audit.facts": {"auditor": ANY, "privacy_officer": ANY, "operator": ANY},
    "audit.verify": {"auditor": ANY, "privacy_officer": ANY, "operator": ANY},
    # any service
    "operate": {"operator": ANY},
}


@dataclass(frozen=True)
class Membership:
    """One role of one person on a care team; both days are counted."""

    person: str
    role: Role
    from_on: date
    until_on: date | None = None


@dataclass(frozen=True)
class Known:
    """What a decision on access needs of one patient."""

    clinic: str
    team: tuple[Membership, ...] = ()


@dataclass(frozen=True)
class Person:
    """Who asks: from a verified token. `patient` is whose record is their own, if any."""

    id: str
    role: Role
    clinics: tuple[str, ...] = ()
    patient: str | None = None


def known(copy: Known | None, event: Event[Fact]) -> Known | None:
    """The copy after one more fact; None until the patient is enrolled. Facts that do not matter change nothing."""
    match event.fact:
        case PatientEnrolled(clinic=clinic):
            return Known(clinic) if copy is None else replace(copy, clinic=clinic)
        case CareTeamMemberAssigned() as joined if copy:
            member = Membership(joined.person, joined.role, joined.from_on, joined.until_on)
            return replace(copy, team=(*without(copy, joined.person, joined.role), member))
        case CareTeamMemberReleased(person=person, role=role) if copy:
            return replace(copy, team=without(copy, person, role))
        case _:
            return copy


def without(copy: Known, person: str, role: Role) -> tuple[Membership, ...]:
    """The care team but this person in this role."""
    return tuple(member for member in copy.team if (member.person, member.role) != (person, role))


Refusal = Literal["role", "clinic", "team", "own_record", "unknown_patient"]


def refused(what: str, person: Person, patient: str | None, copy: Known | None, today: date) -> Refusal | None:
    """Which condition fails, or None when the person may. `copy` is the patient's, None if there is none.

    `patient` is None for what concerns no single patient, which only `ANY` allows. `today` is the clinic's day.
    """
    relationship = PERMISSIONS.get(what, {}).get(person.role)
    if relationship is None:
        return "role"
    if relationship is Relationship.ANY:
        return None
    if patient is None or copy is None:
        return "unknown_patient"
    match relationship:
        case Relationship.CLINIC:
            return None if copy.clinic in person.clinics else "clinic"
        case Relationship.SELF:
            return None if person.patient == patient else "own_record"
        case Relationship.TEAM:
            mine = (m for m in copy.team if (m.person, m.role) == (person.id, person.role))
            in_force = any(m.from_on <= today and (m.until_on is None or today <= m.until_on) for m in mine)
            return None if in_force else "team"
        case _:
            assert_never(relationship)
