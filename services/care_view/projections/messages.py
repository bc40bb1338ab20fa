"""By notifications: the last messages to the patient and what became of each; never their text."""

from itertools import islice
from uuid import UUID

from msgspec.structs import replace

from contracts.event import Event
from contracts.fact import Fact
from contracts.notifications import MessageFailed, MessageQueued, MessageSent, MessageSuppressed

from .document import Messages
from .parts import MESSAGES_KEPT, Message


def messages(now: Messages, event: Event[Fact]) -> Messages:
    at = event.occurred_at
    match event.fact:
        case MessageQueued() as fact:
            kept = dict(islice(now.last.items(), max(0, len(now.last) - MESSAGES_KEPT + 1), None))
            queued = Message(fact.purpose, fact.channel, fact.about, "queued", at, fact.not_before)
            return replace(now, last={**kept, fact.message_id: queued})
        case MessageSent(message_id=message_id) if was := now.last.get(message_id):
            return became(now, message_id, replace(was, state="sent", at=at, reason=None, will_retry=False))
        case MessageFailed(message_id=message_id, reason=reason) as fact if was := now.last.get(message_id):
            failed = replace(was, state="failed", at=at, reason=reason, will_retry=fact.will_retry)
            return became(now, message_id, failed)
        case MessageSuppressed(message_id=message_id, reason=reason) if was := now.last.get(message_id):
            return became(now, message_id, replace(was, state="suppressed", at=at, reason=reason, will_retry=False))
        case _:
            return now


def became(now: Messages, message_id: UUID, message: Message) -> Messages:
    return replace(now, last={**now.last, message_id: message})
