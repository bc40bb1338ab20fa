"""Facts published by the patients service: who the patient is, who cares for them, what they agreed to."""

from datetime import date
from typing import ClassVar, Literal
from uuid import UUID

from .clinical import AdministrativeSex, Code, Text
from .fact import Fact, Value
from .roles import Role

SOURCE = "/patients"

Channel = Literal["sms", "email", "voice", "post"]


class PatientEnrolled(Fact):
    """A person became a patient of the network; every other fact of theirs stands on this one."""

    TYPE: ClassVar[str] = "patients.patient-enrolled.v1"
    family_name: Code
    given_name: Code
    birth_date: date
    sex: AdministrativeSex
    language: Code  # BCP 47.
    interpreter_needed: bool = False
    time_zone: Code  # IANA name.
    clinic: Code
    record_number: Code


class Substance(Value):
    """What a patient reacts to: an ingredient by RxNorm's id, or words where there is none."""

    text: Code
    rxcui: Code | None = None


class AllergyRecorded(Fact):
    """The patient does not tolerate a substance; prescribing refuses it unless somebody overrides with a reason."""

    TYPE: ClassVar[str] = "patients.allergy-recorded.v1"
    ABOUT: ClassVar[str] = "allergy/{allergy_id}"
    allergy_id: UUID
    kind: Literal["allergy", "intolerance"]
    substance: Substance
    reaction: Text
    severity: Literal["mild", "moderate", "severe"]


class AllergyRefuted(Fact):
    """An allergy on record turned out not to be one; checks no longer count it."""

    TYPE: ClassVar[str] = "patients.allergy-refuted.v1"
    ABOUT: ClassVar[str] = "allergy/{allergy_id}"
    allergy_id: UUID
    reason: Text


class ConditionRecorded(Fact):
    """A clinician diagnosed a condition."""

    TYPE: ClassVar[str] = "patients.condition-recorded.v1"
    ABOUT: ClassVar[str] = "condition/{condition_id}"
    condition_id: UUID
    icd10cm: Code
    label: Text
    onset_on: date | None = None
    diagnosed_by: Code


class ConditionResolved(Fact):
    """A condition on record no longer holds."""

    TYPE: ClassVar[str] = "patients.condition-resolved.v1"
    ABOUT: ClassVar[str] = "condition/{condition_id}"
    condition_id: UUID
    resolved_on: date


class ContactPointSet(Fact):
    """The patient said how they may be reached; set again under the same id, it replaces what was there."""

    TYPE: ClassVar[str] = "patients.contact-point-set.v1"
    ABOUT: ClassVar[str] = "contact-point/{contact_point_id}"
    contact_point_id: UUID
    channel: Channel
    address: Code
    preferred: bool = False
    confidential: bool = False
    privacy_level: Literal["low_detail", "standard"] = "low_detail"


class ContactPointRemoved(Fact):
    """The patient may no longer be reached there."""

    TYPE: ClassVar[str] = "patients.contact-point-removed.v1"
    ABOUT: ClassVar[str] = "contact-point/{contact_point_id}"
    contact_point_id: UUID


class CareTeamMemberAssigned(Fact):
    """A member of staff joined the patient's care team and may, by their role, see and act for the patient."""

    TYPE: ClassVar[str] = "patients.care-team-member-assigned.v1"
    person: Code
    name: Code
    role: Role
    clinic: Code
    from_on: date
    until_on: date | None = None


class CareTeamMemberReleased(Fact):
    """A member of staff left the patient's care team; they no longer see or act."""

    TYPE: ClassVar[str] = "patients.care-team-member-released.v1"
    person: Code
    role: Role
    reason: Text


ConsentScope = Literal["sharing", "sms", "email", "voice", "substance_use_records"]


class ConsentGranted(Fact):
    """The patient agreed to something: for a channel, to be written to at one address for named purposes."""

    TYPE: ClassVar[str] = "patients.consent-granted.v1"
    ABOUT: ClassVar[str] = "consent/{consent_id}"
    consent_id: UUID
    scope: ConsentScope
    address: Code | None = None
    purposes: tuple[Literal["appointment_reminder", "follow_up", "education", "survey"], ...] = ()
    wording_version: Code
    how: Literal["in_person", "paper", "online", "telephone"]


class ConsentWithdrawn(Fact):
    """The patient took a consent back; it holds before the next message leaves."""

    TYPE: ClassVar[str] = "patients.consent-withdrawn.v1"
    ABOUT: ClassVar[str] = "consent/{consent_id}"
    consent_id: UUID
    scope: ConsentScope
    address: Code | None = None
    how: Literal["in_person", "paper", "online", "telephone", "reply"]


class TreatmentApproachChosen(Fact):
    """Patient and clinician chose how to treat, and why; the reasons are kept with the choice."""

    TYPE: ClassVar[str] = "patients.treatment-approach-chosen.v1"
    approach: Literal["medication", "psychotherapy", "combined", "active_monitoring", "declined"]
    reason: Text
    alternatives: tuple[Text, ...] = ()
    preference: Text | None = None
    decided_together: bool
    target_measure: Code | None = None


PatientsFact = (
    PatientEnrolled
    | AllergyRecorded
    | AllergyRefuted
    | ConditionRecorded
    | ConditionResolved
    | ContactPointSet
    | ContactPointRemoved
    | CareTeamMemberAssigned
    | CareTeamMemberReleased
    | ConsentGranted
    | ConsentWithdrawn
    | TreatmentApproachChosen
)
