"""What the patient agreed to: where they may be reached, who cares for them, what may be done and sent."""

from collections.abc import Iterator
from datetime import date
from uuid import UUID

from chassis.decider import Rejected
from contracts.patients import (
    CareTeamMemberAssigned,
    CareTeamMemberReleased,
    Channel,
    ConsentGranted,
    ConsentWithdrawn,
    ContactPointRemoved,
    ContactPointSet,
    PatientsFact,
)
from contracts.roles import CLINICIANS

from .addresses import address_for
from .commands import (
    AssignCareTeamMember,
    GrantConsent,
    ReleaseCareTeamMember,
    RemoveContactPoint,
    SetContactPoint,
    WithdrawConsent,
)
from .record import Record


def set_contact_point(record: Record, command: SetContactPoint, contact_point_id: UUID) -> list[PatientsFact]:
    address = address_for(command.channel, command.address)
    point = ContactPointSet(
        contact_point_id=contact_point_id,
        channel=command.channel,
        address=address,
        preferred=command.preferred,
        confidential=command.confidential,
        privacy_level=command.privacy_level,
    )
    known = record.contact_points.get(contact_point_id)
    if known and known.latest == point:
        return []  # Also after its removal: a late repeat must not bring it back.
    if known and known.removed:
        raise Rejected("contact_point_removed", "This contact point was removed. Set the new one under a new id.")
    others = [other for other in contact_points(record, command.channel) if other.contact_point_id != contact_point_id]
    if any(other.address == address for other in others):
        raise Rejected("address_already_on_record", "This address is on record. Change that contact point instead.")
    if not command.preferred:
        return [point]
    # One preferred address a channel: what was preferred is said to be so no longer, for every reader alike.
    return [*(other.model_copy(update={"preferred": False}) for other in others if other.preferred), point]


def contact_points(record: Record, channel: Channel) -> Iterator[ContactPointSet]:
    """The addresses at which the patient may be reached on this channel."""
    for point in record.contact_points.values():
        if point.latest.channel == channel and not point.removed:
            yield point.latest


def remove_contact_point(record: Record, command: RemoveContactPoint) -> list[PatientsFact]:
    known = record.contact_points.get(command.contact_point_id)
    if known is None:
        raise Rejected("contact_point_unknown", "No contact point of this patient has this id; look it up, try again.")
    return [] if known.removed else [ContactPointRemoved(contact_point_id=command.contact_point_id)]


def assign(record: Record, command: AssignCareTeamMember, clinic: str, first_day: date) -> list[PatientsFact]:
    if command.role not in CLINICIANS:
        raise Rejected("role_not_on_care_teams", f"A care team is made of: {', '.join(CLINICIANS)}.")
    known = record.team.get((command.person, command.role))
    assigned = CareTeamMemberAssigned(
        person=command.person,
        name=command.name,
        role=command.role,
        clinic=clinic,
        from_on=command.from_on or (known.from_on if known else first_day),
        until_on=command.until_on,
    )
    if assigned == known:
        return []
    if assigned.until_on and assigned.until_on < assigned.from_on:
        raise Rejected("ends_before_it_begins", "The last day on the team lies before the first; check both.")
    return [assigned]


def release(record: Record, command: ReleaseCareTeamMember) -> list[PatientsFact]:
    member = (command.person, command.role)
    if member in record.team:
        return [CareTeamMemberReleased(person=command.person, role=command.role, reason=command.reason)]
    if member in record.former_team:
        return []
    raise Rejected("not_on_care_team", "Nobody with this id and role was ever on the care team; check both.")


def grant(record: Record, command: GrantConsent, consent_id: UUID) -> list[PatientsFact]:
    granted = ConsentGranted(
        consent_id=consent_id,
        scope=command.scope,
        address=consented_address(command),
        purposes=tuple(sorted(set(command.purposes))),
        wording_version=command.wording_version,
        how=command.how,
    )
    if known := record.consents.get(consent_id):
        if known.granted == granted:
            return []  # Also after it was withdrawn: a late repeat must not bring it back.
        raise Rejected("consent_id_already_used", "This id is another consent's. Record this one under a new id.")
    for other in consents_in_force(record):
        # What is in force twice would outlive its withdrawal.
        if covers_same(granted, other):
            raise Rejected(
                "consent_already_given",
                "Consent for that is in force. If the patient agreed to something else, withdraw that one first.",
                consent_id=str(other.consent_id),
            )
    return [granted]


def consented_address(command: GrantConsent) -> str | None:
    """The address in the form in which it is kept. Raises Rejected when address, purposes and scope do not fit."""
    match command.scope:
        case "email" | "sms" | "voice":
            if command.address is None or not command.purposes:
                raise Rejected(
                    "consent_incomplete",
                    "Consent to be written to or called names the very address and at least one purpose.",
                )
            return address_for(command.scope, command.address)
        case "sharing" | "substance_use_records":
            if command.address is not None or command.purposes:
                raise Rejected("consent_too_wide", "Consent to share records has neither address nor message purposes.")
            return None


def consents_in_force(record: Record) -> Iterator[ConsentGranted]:
    for consent in record.consents.values():
        if not consent.withdrawn:
            yield consent.granted


def covers_same(one: ConsentGranted, other: ConsentGranted) -> bool:
    """Whether both are for one scope and address and share a purpose, or need none."""
    if (one.scope, one.address) != (other.scope, other.address):
        return False
    return not one.purposes or not set(one.purposes).isdisjoint(other.purposes)


def withdraw(record: Record, command: WithdrawConsent) -> list[PatientsFact]:
    known = record.consents.get(command.consent_id)
    if known is None:
        raise Rejected("consent_unknown", "No consent of this patient has this id; look it up and try again.")
    if known.withdrawn:
        return []  # However it is said again: taking a consent back is never refused.
    withdrawn = ConsentWithdrawn(
        consent_id=command.consent_id, scope=known.granted.scope, address=known.granted.address, how=command.how
    )
    return [withdrawn]
