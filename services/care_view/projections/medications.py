"""By prescribing: what the patient is to take, how it came to be that, which warnings were overridden."""

from msgspec.structs import replace

from contracts.clinical import Dose, Schedule
from contracts.event import Event
from contracts.fact import Fact
from contracts.prescribing import (
    DoseAdjusted,
    DosePrescribed,
    MedicationDiscontinued,
    MedicationReviewCompleted,
    WarningOverridden,
)

from .bounded import latest, without
from .document import Medications
from .parts import (
    CHANGES_KEPT,
    ENDED_KEPT,
    OVERRIDES_KEPT,
    REVIEWS_KEPT,
    Change,
    Ended,
    Line,
    Override,
    Regimen,
    Review,
)


def medications(now: Medications, event: Event[Fact]) -> Medications:
    match event.fact:
        case DosePrescribed() as fact:
            return replace(now, active={**now.active, fact.order_id: prescribed(event, fact)})
        case DoseAdjusted() as fact:
            return adjust(now, event, fact)
        case MedicationDiscontinued() as fact:
            return discontinue(now, event, fact)
        case WarningOverridden() as fact:
            return override(now, event, fact)
        case MedicationReviewCompleted() as fact:
            return replace(now, reviews=latest(now.reviews, reviewed(event, fact), REVIEWS_KEPT))
        case _:  # PatientNoted: the section of who recorded it has it.
            return now


def prescribed(event: Event[Fact], fact: DosePrescribed) -> Line:
    return Line(
        medication=fact.medication.name,
        regimen=regimen(fact.dose, fact.schedule),
        route=fact.route,
        indication=fact.indication,
        since=event.occurred_at,
        by=event.actor,
        days_supply=fact.days_supply,
        refills=fact.refills,
    )


def adjust(now: Medications, event: Event[Fact], fact: DoseAdjusted) -> Medications:
    if (line := now.active.get(fact.order_id)) is None:
        return now
    after = regimen(fact.to_dose, fact.to_schedule)
    change = Change(
        at=event.occurred_at,
        before=regimen(fact.from_dose, fact.from_schedule),
        after=after,
        direction=fact.direction,
        reason=fact.reason,
        by=event.actor,
    )
    line = replace(line, regimen=after, changes=(*line.changes, change)[-CHANGES_KEPT:])
    return replace(now, active={**now.active, fact.order_id: line})


def discontinue(now: Medications, event: Event[Fact], fact: MedicationDiscontinued) -> Medications:
    if (line := now.active.get(fact.order_id)) is None:
        return now
    ended = Ended(
        order_id=fact.order_id,
        line=line,
        last_dose_on=fact.last_dose_on,
        ended_at=event.occurred_at,
        reason=fact.reason,
        overrides=now.overrides.get(fact.order_id, ()),
    )
    return replace(
        now,
        active=without(now.active, fact.order_id),
        ended=(*now.ended, ended)[-ENDED_KEPT:],
        overrides=without(now.overrides, fact.order_id),
    )


def override(now: Medications, event: Event[Fact], fact: WarningOverridden) -> Medications:
    overridden = Override(
        at=event.occurred_at,
        rule_id=fact.rule.rule_id,
        version=fact.rule.version,
        severity=fact.severity,
        reason_code=fact.reason_code,
        text=fact.text,
        by=event.actor,
        unverified=fact.rule.unverified,
    )
    kept = (*now.overrides.get(fact.order_id, ()), overridden)[-OVERRIDES_KEPT:]
    return replace(now, overrides={**now.overrides, fact.order_id: kept})


def reviewed(event: Event[Fact], fact: MedicationReviewCompleted) -> Review:
    return Review(
        at=event.occurred_at,
        by=event.actor,
        contact=fact.contact,
        effectiveness=fact.effectiveness,
        tolerability=fact.tolerability,
        risk_asked=fact.risk_asked,
        risk_clinically_important=fact.risk_clinically_important,
        next_review_on=fact.next_review_on,
        decisions={order.order_id: order.decision for order in fact.orders},
    )


def regimen(dose: Dose, schedule: Schedule) -> Regimen:
    return Regimen(dose.amount, dose.unit, schedule.times, schedule.period_days, schedule.as_needed)
