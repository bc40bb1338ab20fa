"""What the patients service is asked to do. Each command is the body of a request as it stands.

An id that is left out is made for the command; an id that is given makes the command repeatable. Text is stripped
of the space around it.
"""

import re
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from contracts.clinical import AdministrativeSex
from contracts.patients import Channel, ConsentScope
from contracts.roles import Role

# NUL is carried by neither JSON nor PostgreSQL unharmed; another control character in a line could become a header
# of a message that quotes it.
Line = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[^\x00]+$")]
# Plausible, not registered: BCP 47 has thousands of subtags, and a typing error mostly breaks the form.
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$", examples=["en-US"])]
RxCUI = Annotated[str, Field(pattern=r"^[0-9]{1,8}$")]  # A number, kept as text.
ICD10CM = Annotated[str, Field(pattern=r"^[A-Z][0-9][0-9AB](\.[0-9A-Z]{1,4})?$", examples=["F33.1"])]
How = Literal["in_person", "paper", "online", "telephone"]
Purpose = Literal["appointment_reminder", "follow_up", "education", "survey"]


def as_written(given: object) -> object:
    """A day as text of that one form: a bare number would be taken for seconds since 1970, 20000504 for August 1970."""
    if not isinstance(given, date) and not (isinstance(given, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", given, re.A)):
        raise PydanticCustomError("date_form", "Input should be a day in the form YYYY-MM-DD")
    return given


Day = Annotated[date, Field(strict=False), BeforeValidator(as_written)]


class Command(BaseModel):
    """Frozen, and strict: a field with a typing error would be lost in silence, a number taken for a truth value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, str_strip_whitespace=True)


class EnrolPatient(Command):
    """Make a person a patient of the network."""

    patient_id: UUID | None = None
    family_name: Line
    given_name: Line
    birth_date: Day
    sex: AdministrativeSex
    language: Language
    interpreter_needed: bool = False
    time_zone: Line = Field(examples=["America/New_York"])
    clinic: Line
    record_number: Line


class RecordAllergy(Command):
    """Put an allergy or intolerance on record."""

    allergy_id: UUID | None = None
    kind: Literal["allergy", "intolerance"]
    substance: Line
    rxcui: RxCUI | None = None
    reaction: Text
    severity: Literal["mild", "moderate", "severe"]


class RefuteAllergy(Command):
    """Say that an allergy on record turned out not to be one."""

    allergy_id: UUID
    reason: Text


class RecordCondition(Command):
    """Put a diagnosis on record; without `diagnosed_by` it is the diagnosis of whoever records it."""

    condition_id: UUID | None = None
    icd10cm: ICD10CM
    label: Text
    onset_on: Day | None = None
    diagnosed_by: Line | None = None


class ResolveCondition(Command):
    """Say that a condition no longer holds."""

    condition_id: UUID
    resolved_on: Day


class SetContactPoint(Command):
    """Say how the patient may be reached; under an id that is in use, it replaces what was there."""

    contact_point_id: UUID | None = None
    channel: Channel
    address: Line
    preferred: bool = False
    confidential: bool = False
    privacy_level: Literal["low_detail", "standard"] = "low_detail"


class RemoveContactPoint(Command):
    """Say that the patient may no longer be reached there."""

    contact_point_id: UUID


class AssignCareTeamMember(Command):
    """Put a member of staff on the care team, from today and at the patient's clinic unless said otherwise."""

    person: Line
    name: Line
    role: Role
    clinic: Line | None = None
    from_on: Day | None = None
    until_on: Day | None = None


class ReleaseCareTeamMember(Command):
    """Take a member of staff off the patient's care team."""

    person: Line
    role: Role
    reason: Text


class GrantConsent(Command):
    """Put on record what the patient agreed to: for a channel, at which address and for which purposes."""

    consent_id: UUID | None = None
    scope: ConsentScope
    address: Line | None = None
    purposes: tuple[Purpose, ...] = Field(default=(), max_length=10)
    wording_version: Line
    how: How


class WithdrawConsent(Command):
    """Put on record that the patient took a consent back."""

    consent_id: UUID
    how: How | Literal["reply"]


class ChooseTreatmentApproach(Command):
    """Put on record how patient and clinician chose to treat, and why."""

    approach: Literal["medication", "psychotherapy", "combined", "active_monitoring", "declined"]
    reason: Text
    alternatives: tuple[Text, ...] = Field(default=(), max_length=10)
    preference: Text | None = None
    decided_together: bool
    target_measure: Line | None = None


PatientsCommand = (
    EnrolPatient
    | RecordAllergy
    | RefuteAllergy
    | RecordCondition
    | ResolveCondition
    | SetContactPoint
    | RemoveContactPoint
    | AssignCareTeamMember
    | ReleaseCareTeamMember
    | GrantConsent
    | WithdrawConsent
    | ChooseTreatmentApproach
)
