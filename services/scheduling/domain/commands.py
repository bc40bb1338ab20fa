"""What scheduling is asked to do. What people ask is the body of a request as it stands; the rest comes from facts.

An id that is left out is made for the command; an id that is given makes the command repeatable.
"""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, field_validator, model_validator

from contracts.clinical import AdministrativeSex
from contracts.roles import Role

# NUL is carried by neither JSON nor PostgreSQL unharmed; another control character in a line could become a header
# of a message that quotes it.
Line = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Place = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]


class Command(BaseModel):
    """Frozen, and strict about what it does not know: a field with a typing error would be lost in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Clinician(Command):
    """With whom, in which role."""

    person: Line
    role: Role


class BookAppointment(Command):
    """Agree on a visit.

    `wall_time` is what the clock on the wall shows in `time_zone`, as the patient is told; `starts_at` is the
    instant. One of them is enough, unless the clock goes back and shows the time twice: then `starts_at` decides.
    """

    appointment_id: UUID | None = None
    kind: Literal["medication_review", "therapy_session", "evaluation", "lab", "other"]
    clinician: Clinician
    time_zone: Line = Field(examples=["America/New_York"])
    starts_at: AwareDatetime | None = None
    wall_time: NaiveDatetime | None = Field(default=None, examples=["2026-03-09T09:30"])
    minutes: int = Field(ge=5, le=480)
    place: Place | None = None
    remote: bool = False
    serves: tuple[UUID, ...] = Field(default=(), max_length=20)

    @field_validator("starts_at", "wall_time")
    @classmethod
    def to_the_minute(cls, given: datetime | None) -> datetime | None:
        if given is not None and (given.second or given.microsecond):
            raise ValueError("a visit starts on a full minute")
        return given

    @model_validator(mode="after")
    def a_time_is_given(self) -> "BookAppointment":
        if self.starts_at is None and self.wall_time is None:
            raise ValueError("say when: starts_at, or wall_time")
        return self


class RecordContact(Command):
    """Record that somebody of the team spoke with the patient, or tried to."""

    contact_id: UUID | None = None
    channel: Literal["in_person", "video", "telephone", "message"]
    reached: bool
    risk_asked: bool = False
    minutes: int | None = Field(default=None, ge=0, le=480)


class NoteEnrolment(Command):
    """Patients enrolled somebody."""

    birth_date: date
    sex: AdministrativeSex
    time_zone: str
    clinic: str


class NoteOrder(Command):
    """Prescribing put an order in force, changed it or ended it."""

    order_id: UUID
    classes: tuple[str, ...]
    change: Literal["started", "raised", "lowered", "rescheduled", "ended"]


class NoteReview(Command):
    """The medicines were reviewed with the patient."""

    review_id: UUID
    contact: Literal["in_person", "video", "telephone"]
    orders: tuple[UUID, ...]
    risk_asked: bool
    risk_clinically_important: bool | None


class NoteSession(Command):
    """A therapy session took place."""

    session_id: UUID
    remote: bool


class NoteRiskFlag(Command):
    """Therapy raised a risk flag; without a tier: a flag on record was closed."""

    flag_id: UUID
    tier: Literal["imminent", "moderate", "low"] | None


class CallDue(Command):
    """The day of a follow-up has come."""

    obligation_id: UUID


class CallOverdue(Command):
    """The last day of a follow-up has passed."""

    obligation_id: UUID


SchedulingCommand = (
    BookAppointment
    | RecordContact
    | NoteEnrolment
    | NoteOrder
    | NoteReview
    | NoteSession
    | NoteRiskFlag
    | CallDue
    | CallOverdue
)
