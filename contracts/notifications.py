"""Facts published by the notifications service: what left the building, and what did not. Never its text."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from .clinical import Code
from .fact import Fact
from .patients import Channel

SOURCE = "/notifications"

MessagePurpose = Literal["appointment_reminder", "follow_up"]


class MessageQueued(Fact):
    """A message to the patient was asked for; whether it leaves is decided at the moment of sending."""

    TYPE: ClassVar[str] = "notifications.message-queued.v1"
    ABOUT: ClassVar[str] = "message/{message_id}"
    message_id: UUID
    purpose: MessagePurpose
    channel: Channel
    template: Code
    template_version: Code
    not_before: datetime
    not_after: datetime  # Later than this it would be of no use.
    lexicon_version: Code  # Of the lint that the wording passed.
    about: UUID  # The appointment or the follow-up.
    wall_time: Code | None = None  # Of the visit it speaks of, as the patient was told it.
    time_zone: Code | None = None  # Where that time holds.


class MessageSent(Fact):
    """The provider accepted the message."""

    TYPE: ClassVar[str] = "notifications.message-sent.v1"
    ABOUT: ClassVar[str] = "message/{message_id}"
    message_id: UUID
    provider_id: Code
    lexicon_version: Code  # Of the lint that the very text passed that went out.


class MessageFailed(Fact):
    """The message did not go out, or nobody can tell (`outcome_unknown`); it is tried again, or a person must look."""

    TYPE: ClassVar[str] = "notifications.message-failed.v1"
    ABOUT: ClassVar[str] = "message/{message_id}"
    message_id: UUID
    reason: Code
    will_retry: bool


class MessageSuppressed(Fact):
    """The message was not sent, on purpose."""

    TYPE: ClassVar[str] = "notifications.message-suppressed.v1"
    ABOUT: ClassVar[str] = "message/{message_id}"
    message_id: UUID
    reason: Literal[
        "no_consent",
        "opted_out",
        "no_address",
        "superseded",
        "cancelled",
        "too_late",
        "daily_or_weekly_limit",
        "care_ended",
        "death",
        "wording_refused",
    ]


NotificationsFact = MessageQueued | MessageSent | MessageFailed | MessageSuppressed
