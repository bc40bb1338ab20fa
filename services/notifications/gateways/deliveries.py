"""The list of what is to leave. Each step of a message is one statement, committed before the next one begins.

A message is claimed, then marked as being attempted, then handed over. Until the second mark nothing has left: whoever
holds a claim for too long loses it. After it only the one who made the mark can tell; when they die nobody can, and
the message is never repeated.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, assert_never
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.store import Statement
from contracts.event import Event
from contracts.notifications import (
    MessageFailed,
    MessagePurpose,
    MessageQueued,
    MessageSent,
    MessageSuppressed,
    NotificationsFact,
)
from contracts.patients import Channel

Within = Callable[[AsyncConnection], Awaitable[None]]
State = Literal["pending", "failed", "unknown"]  # What a failure may leave a message in.

OUTCOME_UNKNOWN = "outcome_unknown"

# A claim is given up after this: connecting, a token and a look at consent may take 13 s at the worst.
CLAIM_S = 15
# A server is given less time than this to answer; who is later has died, or was stopped, with the message in hand.
ATTEMPT_S = 90
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1, 600

QUEUE = text("""
    INSERT INTO delivery (id, key, purpose, channel, template, template_version, wall_time, not_after, due_at,
                          reason, correlation_id, causation_id)
    VALUES (:id, :key, :purpose, :channel, :template, :template_version, :wall_time, :not_after, :due_at,
            :reason, :correlation_id, :causation_id)""")
END = text("UPDATE delivery SET state = :state, attempt = NULL WHERE id = :id")
# Only by who holds it: a sender that was stopped for long must not give free what another one is handing over.
FAIL = text(f"""
    UPDATE delivery SET state = :state, attempt = NULL, failures = failures + 1,
                        retry_at = now() + least({FIRST_PAUSE_S} * 2 ^ least(failures, 20), {LONGEST_PAUSE_S})
                                   * interval '1 second'
    WHERE id = :id AND attempt = :attempt RETURNING id""")  # noqa: S608  Our own numbers.

CLAIM = text("""
    UPDATE delivery SET state = 'claimed', attempt = :attempt, claimed_at = now()
    WHERE id = (SELECT id FROM delivery
                WHERE state = 'pending' AND due_at <= tandem_now() AND retry_at <= now()
                ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING id, key, purpose, channel, template, template_version, wall_time, not_after, reason, correlation_id,
              causation_id, attempt, failures""")
HOLD_UNTIL = text("""
    UPDATE delivery SET state = 'pending', attempt = NULL, due_at = :until
    WHERE id = :id AND attempt = :attempt AND state = 'claimed'""")
PUT_BACK = text(f"""
    UPDATE delivery SET state = 'pending', attempt = NULL, holds = holds + 1,
                        retry_at = now() + least({FIRST_PAUSE_S} * 2 ^ least(holds, 20), {LONGEST_PAUSE_S})
                                   * interval '1 second'
    WHERE id = :id AND attempt = :attempt""")  # noqa: S608  Our own numbers.
ATTEMPT = text("""
    UPDATE delivery SET state = 'attempting', claimed_at = now()
    WHERE id = :id AND attempt = :attempt AND state = 'claimed' RETURNING id""")
UNCLAIM = text(f"""
    UPDATE delivery SET state = 'pending', attempt = NULL
    WHERE state = 'claimed' AND claimed_at < now() - interval '{CLAIM_S} seconds'""")  # noqa: S608  Our own number.
CUT_OFF = text(f"""
    SELECT id, key, purpose, channel, template, template_version, wall_time, not_after, reason, correlation_id,
           causation_id, attempt, failures
    FROM delivery WHERE state = 'attempting' AND claimed_at < now() - interval '{ATTEMPT_S} seconds'
    ORDER BY claimed_at LIMIT 100""")  # noqa: S608  Our own number.
DUE = text("""
    SELECT count(*) FROM delivery WHERE state IN ('pending', 'claimed', 'attempting') AND due_at <= tandem_now()""")
NEXT = text("SELECT min(due_at) FROM delivery WHERE state = 'pending' AND due_at > tandem_now()")
UNKNOWN = text(
    "SELECT id, key, purpose, claimed_at FROM delivery WHERE state = 'unknown' ORDER BY claimed_at LIMIT 1000"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that this sender has claimed. `wall_time` is of the visit it speaks of, ISO 8601 without offset."""

    id: UUID
    key: str
    purpose: MessagePurpose
    channel: Channel
    template: str
    template_version: str
    wall_time: str | None
    not_after: datetime
    reason: str
    correlation_id: UUID
    causation_id: UUID
    attempt: UUID
    failures: int


@dataclass(frozen=True, slots=True)
class CutOff:
    """A message of which nobody can tell whether it left."""

    message_id: UUID
    patient_id: UUID
    purpose: str
    since: datetime


class NotOurs(Exception):
    """Somebody else holds the message by now: what was about to be recorded of it is undone."""


def rows(events: Sequence[Event[NotificationsFact]]) -> Sequence[Statement]:
    """What is written to the list in the append's transaction. A failure is written by `failing`."""
    return [statement for event in events for statement in row(event)]


def row(event: Event[NotificationsFact]) -> Sequence[Statement]:
    match event.fact:
        case MessageQueued() as fact:
            queued = {
                "id": fact.message_id,
                "key": event.key,
                "purpose": fact.purpose,
                "channel": fact.channel,
                "template": fact.template,
                "template_version": fact.template_version,
                "wall_time": fact.wall_time,
                "not_after": fact.not_after,
                "due_at": fact.not_before,
                "reason": event.reason,
                "correlation_id": event.correlation_id,
                "causation_id": event.id,
            }
            return [(QUEUE, queued)]
        case MessageSent(message_id=message_id):
            return [(END, {"id": message_id, "state": "sent"})]
        case MessageSuppressed(message_id=message_id):
            return [(END, {"id": message_id, "state": "suppressed"})]
        case MessageFailed():
            return []
        case _:
            assert_never(event.fact)


def failing(delivery: Delivery, state: State) -> Within:
    """What writes a failure to the list within its append. Raises NotOurs, which undoes the append."""

    async def fail(tx: AsyncConnection) -> None:
        values = {"id": delivery.id, "attempt": delivery.attempt, "state": state}
        if (await tx.execute(FAIL, values)).first() is None:
            raise NotOurs

    return fail


class Deliveries:
    """The list, one short statement at a time: no lock outlives one, and no transaction waits for a provider."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.single = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def claim(self, attempt: UUID) -> Delivery | None:
        """One that is due, for this attempt alone; None when there is none that nobody else looks at."""
        found = await self.asked(CLAIM, {"attempt": attempt})
        return Delivery(*found[0]) if found else None

    async def hold(self, delivery: Delivery, until: datetime) -> None:
        """Not now: it is due again at `until`, by the deployment's clock."""
        await self.asked(HOLD_UNTIL, {"id": delivery.id, "attempt": delivery.attempt, "until": until})

    async def put_back(self, delivery: Delivery) -> None:
        """It has not left, and nothing was decided. It is looked at again after a pause that grows."""
        await self.asked(PUT_BACK, {"id": delivery.id, "attempt": delivery.attempt})

    async def attempt(self, delivery: Delivery) -> bool:
        """Whether it is still ours. From here on we alone can tell whether it left."""
        return bool(await self.asked(ATTEMPT, {"id": delivery.id, "attempt": delivery.attempt}))

    async def free(self) -> Sequence[Delivery]:
        """Frees what dead senders had claimed; returns what they had in hand, of which nobody can tell."""
        await self.asked(UNCLAIM)
        return [Delivery(*found) for found in await self.asked(CUT_OFF)]

    async def due(self) -> int:
        """How many are due and not at rest yet."""
        found: int = (await self.asked(DUE))[0][0]
        return found

    async def next_due_at(self) -> datetime | None:
        """When the next one falls due that is not due yet."""
        found: datetime | None = (await self.asked(NEXT))[0][0]
        return found

    async def cut_off(self) -> Sequence[CutOff]:
        """The oldest of those that a person must decide about, at most a thousand."""
        return [
            CutOff(message, UUID(key), purpose, since) for message, key, purpose, since in await self.asked(UNKNOWN)
        ]

    async def asked(self, statement: Any, values: dict[str, Any] | None = None) -> Sequence[Any]:
        async with self.single.connect() as session:
            result = await session.execute(statement, values or {})
            return result.all() if result.returns_rows else ()
