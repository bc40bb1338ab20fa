"""By scheduling: what is owed to the patient and by when, the visits that are agreed, who spoke with them."""

from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from contracts.event import Event
from contracts.fact import Fact
from contracts.scheduling import (
    AppointmentBooked,
    ContactMade,
    FollowUpFulfilled,
    FollowUpPlanned,
    FollowUpWithdrawn,
)

from .bounded import in_order, latest, without
from .document import FollowUps
from .parts import CLOSED_KEPT, CONTACTS_KEPT, PAST_APPOINTMENTS_KEPT, Appointment, Closed, Contact, Obligation


def follow_ups(now: FollowUps, event: Event[Fact]) -> FollowUps:
    match event.fact:
        case FollowUpPlanned() as fact:
            return replace(now, open={**now.open, fact.obligation_id: planned(fact)})
        case FollowUpFulfilled(obligation_id=obligation_id, by=by):
            return close(now, event, obligation_id, "fulfilled", by)
        case FollowUpWithdrawn(obligation_id=obligation_id, reason=reason, by=by):
            return close(now, event, obligation_id, reason, by)
        case AppointmentBooked() as fact:
            return book(now, event, fact)
        case ContactMade() as fact:
            return replace(now, contacts=latest(now.contacts, made(event, fact), CONTACTS_KEPT))
        case _:  # FollowUpDue and FollowUpOverdue say what the obligation's own dates say at any moment.
            return now


def planned(fact: FollowUpPlanned) -> Obligation:
    return Obligation(
        kind=fact.kind,
        window_from_on=fact.window_from_on,
        due_on=fact.due_on,
        overdue_after_on=fact.overdue_after_on,
        due_at=fact.due_at,
        overdue_at=fact.overdue_at,
        owner_role=fact.owner_role,
        rule_id=fact.rule.rule_id,
        version=fact.rule.version,
        cause=fact.cause,
        unverified=fact.rule.unverified,
        order_id=fact.order_id,
    )


def close(now: FollowUps, event: Event[Fact], obligation_id: UUID, how: str, by: UUID) -> FollowUps:
    if (was := now.open.get(obligation_id)) is None:
        return now
    closed = Closed(
        kind=was.kind,
        due_on=was.due_on,
        overdue_at=was.overdue_at,
        closed_at=event.occurred_at,
        how=how,
        rule_id=was.rule_id,
        by=by,
    )
    return replace(now, open=without(now.open, obligation_id), closed=(*now.closed, closed)[-CLOSED_KEPT:])


def book(now: FollowUps, event: Event[Fact], fact: AppointmentBooked) -> FollowUps:
    booked = Appointment(
        appointment_id=fact.appointment_id,
        kind=fact.kind,
        clinician=fact.clinician.person,
        role=fact.clinician.role,
        starts_at=fact.starts_at,
        wall_time=fact.wall_time,
        time_zone=fact.time_zone,
        minutes=fact.minutes,
        remote=fact.remote,
        place=fact.place,
        serves=fact.serves,
    )
    known = in_order((*now.appointments, booked), starts)
    past = sum(appointment.starts_at <= event.recorded_at for appointment in known)
    return replace(now, appointments=known[max(0, past - PAST_APPOINTMENTS_KEPT) :])


def made(event: Event[Fact], fact: ContactMade) -> Contact:
    return Contact(event.occurred_at, event.actor, fact.channel, fact.reached, fact.risk_asked, fact.minutes)


def starts(appointment: Appointment) -> datetime:
    return appointment.starts_at
