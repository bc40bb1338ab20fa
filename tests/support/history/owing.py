"""What is owed to a patient, visits, and what is written to them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from contracts import notifications, prescribing, scheduling
from contracts.fact import Fact

from .enrolment import noted_by_scheduling
from .telling import (
    FIRST_REVIEW,
    PLACES,
    Telling,
    Told,
)


def plan(telling: Telling, kind: Any, order_id: UUID | None, cause: UUID | None, after_days: int) -> Iterator[Told]:
    """An obligation; an older open one of its kind for the same order is replaced."""
    for obligation_id in [
        id for id, one in telling.owed.items() if one["kind"] == kind and one["order_id"] == order_id
    ]:
        del telling.owed[obligation_id]
        yield telling.tell(
            "/scheduling",
            scheduling.FollowUpWithdrawn(obligation_id=obligation_id, reason="superseded", by=cause or telling.patient),
            role="service",
            actor="scheduling.reactions",
            cause=cause,
        )
    obligation_id = telling.new_id("obligation")
    due_on = telling.now.date() + timedelta(days=after_days)
    due_at = datetime(due_on.year, due_on.month, due_on.day, 5, tzinfo=UTC)
    fields = {
        "kind": kind,
        "order_id": order_id,
        "due_on": due_on,
        "overdue_after_on": due_on + timedelta(days=7),
        "overdue_at": due_at + timedelta(days=8),
        "due_at": due_at,
        "told_due": False,
    }
    telling.owed[obligation_id] = fields
    yield telling.tell(
        "/scheduling",
        scheduling.FollowUpPlanned(
            obligation_id=obligation_id,
            kind=kind,
            cause=cause or telling.patient,
            order_id=order_id,
            rule=FIRST_REVIEW,
            window_from_on=due_on - timedelta(days=7),
            due_on=due_on,
            overdue_after_on=fields["overdue_after_on"],
            due_at=due_at,
            overdue_at=fields["overdue_at"],
            owner_role="prescriber",
            time_zone=telling.zone,
        ),
        role="service",
        actor="scheduling.reactions",
        cause=cause,
    )


def owed(telling: Telling) -> Iterator[Told]:
    """What is owed falls due, is answered, or is not."""
    service: Any = {"role": "service", "actor": "scheduling.timers"}
    for obligation_id, one in list(telling.owed.items()):
        if telling.now >= one["overdue_at"] and not one.get("told_overdue"):
            one["told_overdue"] = True
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpOverdue(
                    obligation_id=obligation_id,
                    kind=one["kind"],
                    due_on=one["due_on"],
                    overdue_after_on=one["overdue_after_on"],
                    rule=FIRST_REVIEW,
                ),
                **service,
            )
        elif telling.now >= one["due_at"] and not one["told_due"]:
            one["told_due"] = True
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpDue(
                    obligation_id=obligation_id,
                    kind=one["kind"],
                    due_on=one["due_on"],
                    rule=FIRST_REVIEW,
                    booked=telling.chance(0.3),
                ),
                **service,
            )
            yield from write(telling, "follow_up", obligation_id)
        if one["told_due"] and telling.chance(0.6) and one["kind"] == "medication_review":
            del telling.owed[obligation_id]
            yield telling.tell(
                "/prescribing",
                prescribing.MedicationReviewCompleted(
                    review_id=telling.new_id("review"),
                    contact=telling.random.choice(["in_person", "video", "telephone"]),
                    orders=tuple(
                        prescribing.ReviewedOrder(order_id=order_id, decision="continue") for order_id in telling.orders
                    ),
                    effectiveness=telling.random.choice(["minimal", "partial", "good"]),
                    tolerability=telling.random.choice(["good", "tolerable"]),
                    risk_asked=telling.chance(0.7),
                    next_review_on=telling.now.date() + timedelta(days=28),
                    em_minutes=25,
                ),
            )
            review = telling.cause
            noted = scheduling.ReviewNoted(
                review_id=telling.new_id("review"), contact="video", orders=tuple(telling.orders), risk_asked=True
            )
            yield noted_by_scheduling(telling, noted)
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpFulfilled(obligation_id=obligation_id, by=review, rule=FIRST_REVIEW),
                role="service",
                actor="scheduling.reactions",
                cause=review,
            )
            if telling.orders:
                yield from plan(telling, "medication_review", one["order_id"], review, 28)


def visit(telling: Telling) -> Iterator[Told]:
    """A visit is booked and a reminder asked for, or somebody calls."""
    random = telling.random
    if telling.chance(0.3):
        yield telling.tell(
            "/scheduling",
            scheduling.ContactMade(
                contact_id=telling.new_id("contact"),
                channel=random.choice(["telephone", "video"]),
                reached=telling.chance(0.8),
                risk_asked=telling.chance(0.5),
                minutes=12,
            ),
            actor=telling.nurse,
            role="nurse",
        )
        return
    appointment_id = telling.new_id("appointment")
    starts_at = (telling.now + timedelta(days=random.randrange(2, 30))).replace(minute=30, second=0, microsecond=0)
    yield telling.tell(
        "/scheduling",
        scheduling.AppointmentBooked(
            appointment_id=appointment_id,
            kind=random.choice(["medication_review", "therapy_session", "lab"]),
            clinician=scheduling.Staff(person=telling.prescriber, role="prescriber"),
            starts_at=starts_at,
            wall_time=starts_at.strftime("%Y-%m-%dT%H:%M"),
            time_zone=telling.zone,
            minutes=30,
            place=random.choice([None, "Riverside, room 2"]),
            remote=telling.chance(0.4),
            serves=tuple(telling.owed)[:1],
        ),
        actor=str(uuid5(PLACES, "clerk")),
        role="clerk",
    )
    yield from write(telling, "appointment_reminder", appointment_id)


def write(telling: Telling, purpose: Any, about: UUID) -> Iterator[Told]:
    """A message is asked for and leaves, fails, or is held back."""
    service: Any = {"role": "service", "actor": "notifications.sender"}
    message_id = telling.new_id("message")
    yield telling.tell(
        "/notifications",
        notifications.MessageQueued(
            message_id=message_id,
            purpose=purpose,
            channel="email",
            template=purpose,
            template_version="1",
            not_before=telling.now + timedelta(hours=1),
            not_after=telling.now + timedelta(days=2),
            lexicon_version="1ex1c0n",
            about=about,
        ),
        **service,
        cause=telling.cause,
    )
    if not telling.consent:
        outcome: Fact = notifications.MessageSuppressed(message_id=message_id, reason="no_consent")
    elif telling.chance(0.1):
        yield telling.tell(
            "/notifications",
            notifications.MessageFailed(message_id=message_id, reason="mailbox_unavailable", will_retry=True),
            **service,
        )
        outcome = notifications.MessageFailed(message_id=message_id, reason="address_refused", will_retry=False)
    else:
        outcome = notifications.MessageSent(
            message_id=message_id, provider_id=f"<{message_id}@tandem.example>", lexicon_version="1ex1c0n"
        )
    yield telling.tell("/notifications", outcome, **service)
