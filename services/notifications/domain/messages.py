"""One patient's messages: each asked for once, and how it ended.

Pure: no clock, no new ids, no I/O. Whether a message leaves is decided at the moment of sending; what is kept here
makes sure that no replay, however often, asks for it a second time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never
from uuid import UUID

from chassis.decider import Ask, Decider, Rejected
from contracts.event import Event
from contracts.notifications import (
    MessageFailed,
    MessageQueued,
    MessageSent,
    MessageSuppressed,
    NotificationsFact,
)

from .commands import NotificationsCommand, QueueMessage, RecallMessages, RecordFailure, RecordSent, SuppressMessage
from .wording import TEMPLATE_FOR, Wording

Facts = Sequence[NotificationsFact]


@dataclass(frozen=True)
class Message:
    """A message and what became of it: `waiting` also after a failure that is tried again."""

    queued: MessageQueued
    became: Literal["waiting", "sent", "failed", "suppressed"] = "waiting"
    failures: int = 0


Messages = Mapping[UUID, Message]


def messages(wording: Wording) -> Decider[Messages, NotificationsCommand, NotificationsFact]:
    """The decider; a queued message notes in which words it will be written, and which lexicon they passed."""
    return Decider(initial={}, decide=deciding(wording), evolve=evolve)


def deciding(wording: Wording) -> Callable[[Messages, Ask[NotificationsCommand]], Facts]:
    def decide(state: Messages, ask: Ask[NotificationsCommand]) -> Facts:
        match ask.command:
            case QueueMessage() as command:
                return queue(wording, state, command)
            case RecallMessages() as command:
                return recall(state, command)
            case RecordSent() as command:
                return sent(state, command)
            case RecordFailure() as command:
                return failed(state, command)
            case SuppressMessage() as command:
                return suppressed(state, command)
            case _:
                assert_never(ask.command)

    return decide


def queue(wording: Wording, state: Messages, command: QueueMessage) -> Facts:
    if command.message_id in state:
        return []  # Asked again, and be it years later: it was asked for once.
    template = TEMPLATE_FOR[command.purpose]
    return [
        MessageQueued(
            message_id=command.message_id,
            purpose=command.purpose,
            channel=command.channel,
            template=template,
            template_version=wording.versions[template],
            not_before=command.not_before,
            not_after=command.not_after,
            lexicon_version=wording.lexicon.version,
            about=command.about,
            wall_time=command.wall_time,
            time_zone=command.time_zone,
        )
    ]


def recall(state: Messages, command: RecallMessages) -> Facts:
    waiting = (message.queued for message in state.values() if message.became == "waiting")
    return [
        MessageSuppressed(message_id=queued.message_id, reason=command.reason)
        for queued in waiting
        if queued.about in command.about
    ]


def sent(state: Messages, command: RecordSent) -> Facts:
    """What left has left: it is recorded whatever was decided in the meantime."""
    if known(state, command.message_id).became == "sent":
        return []
    return [
        MessageSent(
            message_id=command.message_id,
            provider_id=command.provider_id,
            lexicon_version=command.lexicon_version,
        )
    ]


def failed(state: Messages, command: RecordFailure) -> Facts:
    message = known(state, command.message_id)
    if message.became != "waiting" or command.nth <= message.failures:
        return []
    if command.nth > message.failures + 1:
        raise Rejected("failure_out_of_turn", "Record the failures before this one first.")
    return [MessageFailed(message_id=command.message_id, reason=command.reason, will_retry=command.will_retry)]


def suppressed(state: Messages, command: SuppressMessage) -> Facts:
    if known(state, command.message_id).became != "waiting":
        return []
    return [MessageSuppressed(message_id=command.message_id, reason=command.reason)]


def known(state: Messages, message_id: UUID) -> Message:
    if message_id not in state:
        raise Rejected("unknown_message", "Queue the message first.")
    return state[message_id]


def evolve(state: Messages, event: Event[NotificationsFact]) -> Messages:
    match event.fact:
        case MessageQueued() as fact:
            return {**state, fact.message_id: Message(fact)}
        case MessageSent(message_id=message_id):
            return became(state, message_id, "sent")
        case MessageSuppressed(message_id=message_id):
            return became(state, message_id, "suppressed")
        case MessageFailed(message_id=message_id, will_retry=again):
            after = became(state, message_id, "waiting" if again else "failed")
            return counted(after, message_id)
        case _:
            assert_never(event.fact)


def became(state: Messages, message_id: UUID, what: Literal["waiting", "sent", "failed", "suppressed"]) -> Messages:
    message = state.get(message_id)
    return {**state, message_id: replace(message, became=what)} if message else state


def counted(state: Messages, message_id: UUID) -> Messages:
    message = state.get(message_id)
    return {**state, message_id: replace(message, failures=message.failures + 1)} if message else state
