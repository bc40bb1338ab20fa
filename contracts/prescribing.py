"""Facts published by the prescribing service."""

from datetime import date
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from .clinical import Check, Code, Dose, Medication, Noted, RuleRef, Schedule, Text
from .fact import Fact, Value

SOURCE = "/prescribing"


class PatientNoted(Fact):
    """Prescribing took note of what patients or therapy recorded, so that its own checks can stand on it."""

    TYPE: ClassVar[str] = "prescribing.patient-noted.v1"
    noted: Noted


class DosePrescribed(Fact):
    """A prescriber put a medication order in force; the patient is to take this dose."""

    TYPE: ClassVar[str] = "prescribing.dose-prescribed.v1"
    ABOUT: ClassVar[str] = "medication-order/{order_id}"
    order_id: UUID
    medication: Medication
    dose: Dose
    schedule: Schedule
    route: Literal["oral", "sublingual", "nasal", "transdermal", "intramuscular", "subcutaneous"]
    indication: Text
    days_supply: int = Field(ge=1, le=365)
    refills: int = Field(ge=0, le=12)
    replaces: UUID | None = None
    formulary_version: Code
    checks: tuple[Check, ...] = ()


class WarningOverridden(Fact):
    """A prescriber went on against a warning and said why; everyone downstream is shown it."""

    TYPE: ClassVar[str] = "prescribing.warning-overridden.v1"
    ABOUT: ClassVar[str] = "medication-order/{order_id}"
    order_id: UUID
    rule: RuleRef
    severity: Code
    reason_code: Code
    text: Text


class DoseAdjusted(Fact):
    """A prescriber changed the dose of an order that is in force."""

    TYPE: ClassVar[str] = "prescribing.dose-adjusted.v1"
    ABOUT: ClassVar[str] = "medication-order/{order_id}"
    order_id: UUID
    medication: Medication
    from_dose: Dose
    from_schedule: Schedule
    to_dose: Dose
    to_schedule: Schedule
    direction: Literal["raised", "lowered", "rescheduled"]
    reason: Literal["response", "tolerability", "level", "titration", "taper"]
    checks: tuple[Check, ...] = ()


class MedicationDiscontinued(Fact):
    """A prescriber ended an order; the last dose may lie in the past."""

    TYPE: ClassVar[str] = "prescribing.medication-discontinued.v1"
    ABOUT: ClassVar[str] = "medication-order/{order_id}"
    order_id: UUID
    medication: Medication
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


class ReviewedOrder(Value):
    """What a review decided about one order."""

    order_id: UUID
    decision: Literal["continue", "raise", "lower", "switch", "stop"]


class MedicationReviewCompleted(Fact):
    """A prescriber or their delegate reviewed the medicines with the patient: effect, side effects, risk, decisions."""

    TYPE: ClassVar[str] = "prescribing.medication-review-completed.v1"
    ABOUT: ClassVar[str] = "medication-review/{review_id}"
    review_id: UUID
    contact: Literal["in_person", "video", "telephone"]
    orders: tuple[ReviewedOrder, ...]
    effectiveness: Literal["none", "minimal", "partial", "good"]
    tolerability: Literal["good", "tolerable", "poor"]
    risk_asked: bool
    risk_clinically_important: bool | None = None  # None when risk was not asked.
    next_review_on: date | None = None
    em_minutes: int | None = Field(default=None, ge=0, le=240)


PrescribingFact = (
    PatientNoted
    | DosePrescribed
    | WarningOverridden
    | DoseAdjusted
    | MedicationDiscontinued
    | MedicationReviewCompleted
)
