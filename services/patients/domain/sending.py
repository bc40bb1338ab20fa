"""May a message be sent to this patient? Asked before each one leaves; without a yes, nothing does."""

from dataclasses import dataclass
from typing import Literal

from contracts.patients import PatientEnrolled

from .agreements import consents_in_force, contact_points
from .commands import Purpose
from .record import Record

MessageChannel = Literal["email", "sms", "voice"]  # A letter needs no consent of its own and is not asked about.
Refusal = Literal["patient_not_enrolled", "no_preferred_contact_point", "no_consent", "no_consent_for_this_purpose"]


@dataclass(frozen=True)
class Allowed:
    """Yes, to this address; and all that a neutral message and its hour need."""

    address: str
    privacy_level: str
    patient: PatientEnrolled


def may_send(record: Record, channel: MessageChannel, purpose: Purpose) -> Allowed | Refusal:
    """The preferred address of the channel, if a consent in force names that very address and the purpose."""
    if record.enrolment is None:
        return "patient_not_enrolled"
    point = next((point for point in contact_points(record, channel) if point.preferred), None)
    if point is None:
        return "no_preferred_contact_point"
    given = [c for c in consents_in_force(record) if (c.scope, c.address) == (channel, point.address)]
    if not given:
        return "no_consent"
    if not any(purpose in consent.purposes for consent in given):
        return "no_consent_for_this_purpose"
    return Allowed(point.address, point.privacy_level, record.enrolment)
