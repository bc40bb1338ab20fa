"""What the therapy service is asked to do. Each command but `NotePatient` is the body of a request as it stands.

An id that is left out is made for the command; an id that is given makes the command repeatable. Text is stripped
of the space around it; times carry their offset and are kept in UTC.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from contracts.clinical import Noted
from contracts.therapy import Format


def as_written(given: object) -> object:
    """A time as text that begins with its day: a bare number would be taken for seconds since 1970."""
    if not isinstance(given, datetime) and not (
        isinstance(given, str) and re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", given, re.A)
    ):
        raise PydanticCustomError("datetime_form", "Input should be a time such as 2026-03-02T10:00:00-05:00")
    return given


def in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:  # An offset may lead out of the years that there are.
        raise PydanticCustomError("datetime_range", "Input should lie in the years 1 to 9999 in UTC") from None


# NUL is carried by neither JSON nor PostgreSQL unharmed; another control character in a line could become a header
# of a message that quotes it.
Line = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"^[^\x00]+$")]
# Plausible, not registered: BCP 47 has thousands of subtags, and a typing error mostly breaks the form.
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$", examples=["en-US"])]
Instant = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(as_written), AfterValidator(in_utc)]


class Command(BaseModel):
    """Frozen, and strict: a field with a typing error would be lost in silence, a truth value taken for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, str_strip_whitespace=True)


class NotePatient(Command):
    """Take note of what patients recorded. A reaction asks for it, never a person."""

    noted: Noted


class StartTherapy(Command):
    """Begin a course of therapy; without `therapist` it is with whoever asks."""

    episode_id: UUID | None = None
    modality: Line = Field(examples=["CBT"])
    therapist: Line | None = None
    planned_sessions: int = Field(ge=1, le=200)
    sessions_per_month: int = Field(ge=1, le=31)


class CompleteSession(Command):
    """Put on record that a session took place. What was said in it belongs into no field of this."""

    session_id: UUID | None = None
    episode_id: UUID
    kind: Literal["evaluation", "treatment", "crisis", "booster"]
    started_at: Instant
    ended_at: Instant
    format: Format = "individual"
    group_session_id: UUID | None = None
    remote: bool
    interpreter: bool = False
    interventions: tuple[Line, ...] = Field(default=(), max_length=20)
    plan_summary: Text | None = None
    medication_talked_about: tuple[Literal["adherence", "side_effects", "benefit", "wishes"], ...] = Field(
        default=(), max_length=4
    )


class Answer(Command):
    """One answer as it is scored: the item's number from 1, and its value."""

    item: int
    value: int


class RecordMeasure(Command):
    """Put a questionnaire's answers on record. Unanswered items are left out; `total` is checked, never taken over."""

    measure_record_id: UUID | None = None
    measure: Line = Field(examples=["PHQ-9"])
    answers: tuple[Answer, ...] = Field(max_length=100)
    total: Annotated[int, Field(strict=False)] | None = None  # Some systems send it as a string.
    answered_by: Literal["patient", "carer", "clinician"] = "patient"
    mode: Literal["in_person", "remote", "telephone", "paper"]
    language: Language


class CloseRiskFlag(Command):
    """Put on record what was done for the patient's safety, which closes the flag."""

    flag_id: UUID
    safety_action: Literal[
        "safety_plan_agreed",
        "means_restricted",
        "crisis_contact_made",
        "emergency_assessment_arranged",
        "admission_arranged",
    ]
    text: Text


TherapyCommand = NotePatient | StartTherapy | CompleteSession | RecordMeasure | CloseRiskFlag
