"""Facts published by the scheduling service: what is owed to a patient, by when, and what answered it."""

from datetime import date, datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from .clinical import Code, Noted, RuleRef, Text
from .fact import Fact, Value

SOURCE = "/scheduling"

Kind = Literal[
    "medication_review",
    "lab",
    "measure",
    "contact",
    "post_discharge",
    "risk",
    "case_review",
    "reconciliation",
    "education",
    "answer",
    "session",
    "message",
]


class OrderNoted(Value):
    """A medication order was put in force, changed or ended; `classes` are its drug's, as prescribing gave them."""

    what: Literal["order"] = "order"
    order_id: UUID
    classes: tuple[Code, ...]
    change: Literal["started", "raised", "lowered", "rescheduled", "ended"]


class ReviewNoted(Value):
    """The medicines were reviewed with the patient: which orders, in which form, and whether risk was asked."""

    what: Literal["review"] = "review"
    review_id: UUID
    contact: Literal["in_person", "video", "telephone"]
    orders: tuple[UUID, ...]
    risk_asked: bool
    risk_clinically_important: bool | None = None  # None when risk was not asked.


class PatientNoted(Fact):
    """Scheduling took note of what another house recorded, so that its rules can stand on it.

    It is caused by that house's fact, and happened when that happened.
    """

    TYPE: ClassVar[str] = "scheduling.patient-noted.v1"
    noted: Annotated[Noted | OrderNoted | ReviewNoted, Field(discriminator="what")]


class FollowUpPlanned(Fact):
    """A rule demands a follow-up: something is owed to the patient by a day."""

    TYPE: ClassVar[str] = "scheduling.follow-up-planned.v1"
    ABOUT: ClassVar[str] = "follow-up/{obligation_id}"
    obligation_id: UUID
    kind: Kind
    cause: UUID  # The event that opened it.
    order_id: UUID | None = None
    rule: RuleRef
    window_from_on: date  # The first day on which an answer counts.
    due_on: date
    overdue_after_on: date
    due_at: datetime  # The instant at which it becomes due: the start of `due_on` in the patient's time zone.
    overdue_at: datetime
    owner_role: Code
    time_zone: Code


class FollowUpDue(Fact):
    """The day of a planned follow-up has come and nothing has answered it."""

    TYPE: ClassVar[str] = "scheduling.follow-up-due.v1"
    ABOUT: ClassVar[str] = "follow-up/{obligation_id}"
    obligation_id: UUID
    kind: Kind
    due_on: date
    rule: RuleRef
    booked: bool  # Whether a visit that serves it is booked already.


class FollowUpOverdue(Fact):
    """The last day of a follow-up has passed without an answer."""

    TYPE: ClassVar[str] = "scheduling.follow-up-overdue.v1"
    ABOUT: ClassVar[str] = "follow-up/{obligation_id}"
    obligation_id: UUID
    kind: Kind
    due_on: date
    overdue_after_on: date
    rule: RuleRef


class FollowUpFulfilled(Fact):
    """A fact that the rule admits answered the follow-up."""

    TYPE: ClassVar[str] = "scheduling.follow-up-fulfilled.v1"
    ABOUT: ClassVar[str] = "follow-up/{obligation_id}"
    obligation_id: UUID
    by: UUID  # The event that answered.
    rule: RuleRef


class FollowUpWithdrawn(Fact):
    """A follow-up is no longer owed: its cause ended, or a newer one took its place."""

    TYPE: ClassVar[str] = "scheduling.follow-up-withdrawn.v1"
    ABOUT: ClassVar[str] = "follow-up/{obligation_id}"
    obligation_id: UUID
    reason: Literal["superseded", "cause_ended", "cause_corrected"]
    by: UUID  # The event that ended it.


class ContactMade(Fact):
    """Somebody of the team spoke with the patient, or tried to."""

    TYPE: ClassVar[str] = "scheduling.contact-made.v1"
    ABOUT: ClassVar[str] = "contact/{contact_id}"
    contact_id: UUID
    channel: Literal["in_person", "video", "telephone", "message"]
    reached: bool
    risk_asked: bool
    minutes: int | None = Field(default=None, ge=0, le=480)


class Staff(Value):
    """A member of staff by id, with the role in which they act."""

    person: Code
    role: Code


class AppointmentBooked(Fact):
    """A visit is agreed: who, when (also as the wall time the patient was told), where."""

    TYPE: ClassVar[str] = "scheduling.appointment-booked.v1"
    ABOUT: ClassVar[str] = "appointment/{appointment_id}"
    appointment_id: UUID
    kind: Literal["medication_review", "therapy_session", "evaluation", "lab", "other"]
    clinician: Staff
    starts_at: datetime
    wall_time: Code  # ISO 8601 without offset, as the patient was told it.
    time_zone: Code
    minutes: int = Field(ge=5, le=480)
    place: Text | None = None
    remote: bool
    serves: tuple[UUID, ...] = ()  # Obligations.


SchedulingFact = (
    PatientNoted
    | FollowUpPlanned
    | FollowUpDue
    | FollowUpOverdue
    | FollowUpFulfilled
    | FollowUpWithdrawn
    | ContactMade
    | AppointmentBooked
)
