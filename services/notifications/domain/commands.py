"""What notifications is asked to do: by other houses' facts, and by its own sender. Nobody asks it over HTTP."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from contracts.notifications import MessagePurpose
from contracts.patients import Channel

Reason = Literal[
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


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueueMessage(Command):
    """Write to the patient. The id is made of purpose, cause and window, so that one cause is one message, for ever."""

    message_id: UUID
    purpose: MessagePurpose
    channel: Channel
    about: UUID
    not_before: datetime
    not_after: datetime
    wall_time: str | None = None
    time_zone: str | None = None


class RecallMessages(Command):
    """What a message would speak of has changed: those about it that still wait are not to leave."""

    about: tuple[UUID, ...]
    reason: Literal["superseded", "cancelled"]


class RecordSent(Command):
    """The provider took it."""

    message_id: UUID
    provider_id: str = Field(min_length=1, max_length=100)
    lexicon_version: str


class RecordFailure(Command):
    """It did not go out, for the `nth` time."""

    message_id: UUID
    reason: str = Field(min_length=1, max_length=100)
    will_retry: bool
    nth: int = Field(ge=1)


class SuppressMessage(Command):
    """It may not leave, or no longer."""

    message_id: UUID
    reason: Reason


NotificationsCommand = QueueMessage | RecallMessages | RecordSent | RecordFailure | SuppressMessage
