"""What scheduling's facts mean for notifications: whom to write to, about what, from when until when."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID, uuid5

from chassis.decider import Reaction
from contracts.event import Event
from contracts.fact import Fact
from contracts.notifications import MessagePurpose
from contracts.scheduling import AppointmentBooked, FollowUpDue, FollowUpFulfilled, FollowUpWithdrawn

from .domain.commands import NotificationsCommand, QueueMessage, RecallMessages
from .domain.hours import by_day, zone_or_none

REACTS_TO = frozenset(fact.TYPE for fact in (AppointmentBooked, FollowUpDue, FollowUpFulfilled, FollowUpWithdrawn))

MESSAGES = UUID("1f0e8a52-6b7d-5c0e-a6f4-0d7b1d2a9c33")  # The namespace of messages' ids.
AHEAD = timedelta(hours=24)
INVITED_FOR = timedelta(days=3)  # Later than that, staff has the overdue follow-up in hand.


def react(event: Event[Fact]) -> Iterable[Reaction[NotificationsCommand]]:
    """The commands that an event calls for, at most two."""
    return [Reaction(command, event.key) for command in called_for(event)]


def called_for(event: Event[Fact]) -> Iterable[NotificationsCommand]:
    match event.fact:
        case AppointmentBooked() as fact:
            if fact.serves:
                yield RecallMessages(about=fact.serves, reason="superseded")  # No need to invite any more.
            yield when_appointment_booked(event.id, fact)
        case FollowUpDue(booked=False) as fact:
            yield QueueMessage(
                message_id=message_id("follow_up", event.id, "due"),
                purpose="follow_up",
                channel="email",
                about=fact.obligation_id,
                not_before=event.occurred_at,  # The start of the day; quiet hours are judged when it is to leave.
                not_after=event.occurred_at + INVITED_FOR,
            )
        case FollowUpFulfilled(obligation_id=about) | FollowUpWithdrawn(obligation_id=about):
            yield RecallMessages(about=(about,), reason="superseded")
        case _:
            return


def when_appointment_booked(cause: UUID, fact: AppointmentBooked) -> QueueMessage:
    """A reminder a day ahead, by day; once the visit has begun it is of no use."""
    zone = zone_or_none(fact.time_zone)
    a_day_ahead = fact.starts_at - AHEAD
    return QueueMessage(
        message_id=message_id("appointment_reminder", cause, "24h"),
        purpose="appointment_reminder",
        channel="email",
        about=fact.appointment_id,
        not_before=by_day(a_day_ahead, zone) if zone else a_day_ahead,
        not_after=fact.starts_at,
        wall_time=fact.wall_time,
        time_zone=fact.time_zone,
    )


def message_id(purpose: MessagePurpose, cause: UUID, window: str) -> UUID:
    """One cause, one purpose, one window: one message, whoever asks for it and however often."""
    return uuid5(MESSAGES, f"{purpose}|{cause}|{window}")
