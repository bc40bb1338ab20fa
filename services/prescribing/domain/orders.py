"""What prescribing knows of one patient: every order from its prescription on, reviews, and what others told it.

Folded from the patient's own stream; `evolve` takes every fact as it is, however old.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import assert_never
from uuid import UUID

from contracts.clinical import (
    AllergyNoted,
    BirthDateNoted,
    ConditionNoted,
    Dose,
    Medication,
    Noted,
    RiskFlagNoted,
    Schedule,
    TimeZoneNoted,
)
from contracts.event import Event
from contracts.prescribing import (
    DoseAdjusted,
    DosePrescribed,
    MedicationDiscontinued,
    MedicationReviewCompleted,
    PatientNoted,
    PrescribingFact,
    WarningOverridden,
)


@dataclass(frozen=True)
class Active:
    """In force: what was prescribed first, and the dose since the last change (`changed_at`)."""

    prescribed: DosePrescribed
    started_at: datetime
    dose: Dose
    schedule: Schedule
    changed_at: datetime

    @property
    def medication(self) -> Medication:
        return self.prescribed.medication


@dataclass(frozen=True)
class Discontinued:
    """Ended. What was prescribed is kept, so that a request that comes again is known."""

    prescribed: DosePrescribed
    started_at: datetime
    ended: MedicationDiscontinued


Order = Active | Discontinued


@dataclass(frozen=True)
class Patient:
    """What patients and therapy recorded of the patient, as far as a decision here stands on it."""

    birth: BirthDateNoted | None = None
    allergies: Mapping[UUID, AllergyNoted] = field(default_factory=dict)
    conditions: Mapping[UUID, ConditionNoted] = field(default_factory=dict)
    risk_flags: Mapping[UUID, RiskFlagNoted] = field(default_factory=dict)


@dataclass(frozen=True)
class Orders:
    """All that prescribing knows of one patient."""

    by_id: Mapping[UUID, Order] = field(default_factory=dict)
    reviews: Mapping[UUID, MedicationReviewCompleted] = field(default_factory=dict)
    patient: Patient = field(default_factory=Patient)

    def in_force(self) -> Mapping[UUID, Active]:
        return {id: order for id, order in self.by_id.items() if isinstance(order, Active)}

    def known(self, noted: Noted) -> Noted | None:
        """What was noted before about the same thing."""
        match noted:
            case BirthDateNoted():
                return self.patient.birth
            case AllergyNoted():
                return self.patient.allergies.get(noted.allergy_id)
            case ConditionNoted():
                return self.patient.conditions.get(noted.condition_id)
            case RiskFlagNoted():
                return self.patient.risk_flags.get(noted.flag_id)
            case TimeZoneNoted():
                return noted  # As good as known: no decision here stands on it.
            case _:
                assert_never(noted)


def evolve(orders: Orders, event: Event[PrescribingFact]) -> Orders:
    match event.fact:
        case DosePrescribed() as fact:
            order = Active(fact, event.occurred_at, fact.dose, fact.schedule, event.occurred_at)
            return with_order(orders, fact.order_id, order)
        case DoseAdjusted() as fact:
            dose, schedule, at = fact.to_dose, fact.to_schedule, event.occurred_at
            return where_active(
                orders, fact.order_id, lambda order: replace(order, dose=dose, schedule=schedule, changed_at=at)
            )
        case MedicationDiscontinued() as end:
            return where_active(
                orders, end.order_id, lambda order: Discontinued(order.prescribed, order.started_at, end)
            )
        case MedicationReviewCompleted() as fact:
            return replace(orders, reviews={**orders.reviews, fact.review_id: fact})
        case PatientNoted(noted=noted):
            return replace(orders, patient=noting(orders.patient, noted))
        case WarningOverridden():
            return orders  # Kept with the order's checks; told apart for those who read only overrides.
        case _:
            assert_never(event.fact)


def with_order(orders: Orders, id: UUID, order: Order) -> Orders:
    return replace(orders, by_id={**orders.by_id, id: order})


def where_active(orders: Orders, id: UUID, change: Callable[[Active], Order]) -> Orders:
    order = orders.by_id.get(id)
    return with_order(orders, id, change(order)) if isinstance(order, Active) else orders


def noting(patient: Patient, noted: Noted) -> Patient:
    match noted:
        case BirthDateNoted():
            return replace(patient, birth=noted)
        case AllergyNoted():
            return replace(patient, allergies={**patient.allergies, noted.allergy_id: noted})
        case ConditionNoted():
            return replace(patient, conditions={**patient.conditions, noted.condition_id: noted})
        case RiskFlagNoted():
            return replace(patient, risk_flags={**patient.risk_flags, noted.flag_id: noted})
        case TimeZoneNoted():
            return patient
        case _:
            assert_never(noted)


def ended(noted: Noted) -> Noted:
    """The same, no longer holding. A birth date has no end."""
    match noted:
        case BirthDateNoted() | TimeZoneNoted():
            return noted
        case AllergyNoted() | ConditionNoted():
            return noted.model_copy(update={"active": False})
        case RiskFlagNoted():
            return noted.model_copy(update={"open": False})
        case _:
            assert_never(noted)


def age(birth_date: date, on: date) -> int:
    """Completed years. Who was born on 29 February completes a year on 1 March where there is no 29th."""
    return on.year - birth_date.year - ((on.month, on.day) < (birth_date.month, birth_date.day))
