"""What a prescriber may ask. Each command is also the body of its request, as it stands.

An id left out is given by the service; sent along, it makes the request repeatable for ever.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from contracts.clinical import Code, Dose, Noted, Schedule, Text
from contracts.fact import Value
from contracts.prescribing import ReviewedOrder

from .formulary import Route

MOST_OVERRIDES = 20  # More than there are rules; a longer list is a mistake.
MOST_ORDERS = 50  # In one review; nobody takes more drugs than that.


class Command(BaseModel):
    """What is asked: complete, and nothing besides. Space around a text is no part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def nothing_besides(value_of: type[Value]) -> BeforeValidator:
    """Refuses unknown fields in a value of the contracts, which as a reader's model would overlook them."""

    def check(found: Any) -> Any:
        if isinstance(found, Mapping) and not set(found) <= set(value_of.model_fields):
            known = ", ".join(value_of.model_fields)
            raise PydanticCustomError("model_fields_unknown", "Only these fields stand here: {known}", {"known": known})
        return found

    return BeforeValidator(check)


AskedDose = Annotated[Dose, nothing_besides(Dose)]
AskedSchedule = Annotated[Schedule, nothing_besides(Schedule)]
AskedOrder = Annotated[ReviewedOrder, nothing_besides(ReviewedOrder)]

OverrideReason = Literal[
    "benefit_outweighs_risk",
    "tolerated_before",
    "specialist_advice",
    "no_alternative",
    "monitored_closely",
    "not_an_allergy",
    "other",
]


class Override(Command):
    """A prescriber's answer to one warning, named by the rule that gave it: a code for counting, words for people."""

    rule_id: Code
    reason_code: OverrideReason
    text: Text


class Overriding(Command):
    """A command that may answer warnings."""

    overrides: tuple[Override, ...] = Field(default=(), max_length=MOST_OVERRIDES)

    @field_validator("overrides")
    @classmethod
    def one_answer_each(cls, overrides: tuple[Override, ...]) -> tuple[Override, ...]:
        if len({each.rule_id for each in overrides}) < len(overrides):
            raise PydanticCustomError("tuple_repeats", "Answer each rule once")
        return overrides


class PrescribeDose(Overriding):
    """Put a new medication order in force."""

    order_id: UUID | None = None
    medication: Code  # A generic name of the formulary.
    dose: AskedDose
    schedule: AskedSchedule
    route: Route
    indication: Text
    days_supply: int = Field(ge=1, le=365)
    refills: int = Field(ge=0, le=12)


class AdjustDose(Overriding):
    """Change the dose or the schedule of an order in force."""

    order_id: UUID
    dose: AskedDose
    schedule: AskedSchedule
    reason: Literal["response", "tolerability", "level", "titration", "taper"]


class DiscontinueMedication(Command):
    """End an order, from now or from a day in the past."""

    order_id: UUID
    last_dose_on: date
    reason: Literal[
        "remission",
        "no_response",
        "side_effect",
        "interaction",
        "pregnancy",
        "patient_choice",
        "error",
        "other",
    ]


class CompleteMedicationReview(Command):
    """Record a review of medicines held with the patient."""

    review_id: UUID | None = None
    contact: Literal["in_person", "video", "telephone"]
    orders: tuple[AskedOrder, ...] = Field(min_length=1, max_length=MOST_ORDERS)
    effectiveness: Literal["none", "minimal", "partial", "good"]
    tolerability: Literal["good", "tolerable", "poor"]
    risk_asked: bool
    risk_clinically_important: bool | None = None
    next_review_on: date | None = None
    em_minutes: int | None = Field(default=None, ge=0, le=240)

    @field_validator("orders")
    @classmethod
    def one_decision_each(cls, orders: tuple[ReviewedOrder, ...]) -> tuple[ReviewedOrder, ...]:
        if len({each.order_id for each in orders}) < len(orders):
            raise PydanticCustomError("tuple_repeats", "Decide on each order once")
        return orders


class NotePatient(Command):
    """Take note of what patients or therapy recorded. Asked by a reaction, never by a person."""

    noted: Noted


class NoteEnded(Command):
    """Take note that something noted holds no longer: refuted, resolved, closed. Asked by a reaction."""

    what: Literal["allergy", "condition", "risk_flag"]
    id: UUID


PrescribingCommand = (
    PrescribeDose | AdjustDose | DiscontinueMedication | CompleteMedicationReview | NotePatient | NoteEnded
)
