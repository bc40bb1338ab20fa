"""Commands that somebody else's facts call for, decided and appended in the transaction that moves the offsets.

So a fact is reacted to once, and the facts that follow have ids made from its own: run again, they are the same. A
command that is refused is recorded and alarmed; it blocks nobody, for nobody waits for the answer.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import uuid5

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.catalogue import FACTS, NAMES, without_version
from contracts.event import Event, Undecodable
from contracts.fact import Fact
from contracts.topics import Topic

from . import metrics
from .arrivals import Arrivals
from .batches import Batch
from .checkpoints import Checkpoints
from .clock import Clock
from .codec import PLAIN, Codec, UnknownType, UnknownVersion, event_from
from .commanding import CommandHandler
from .decider import Ask, Reaction, Rejected
from .ordering import Page
from .receiving import MOST_BLOCKED, Receiving
from .records import Received
from .seen import Seen

C = TypeVar("C")
React = Callable[[Event[Fact]], Iterable[Reaction[C]]]
BATCH_SIZE = 100  # Facts whose consequences share a transaction: a collision decides again what collided.

REFUSED = text("""
    INSERT INTO refused_reaction (ask_id, work, key, cause, reason) VALUES (:ask_id, :work, :key, :cause, :reason)
    ON CONFLICT ON CONSTRAINT refused_reaction_pkey DO NOTHING RETURNING ask_id""")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Called(Generic[C]):
    """A command, the event that called for it, and its number among those that the event called for."""

    cause: Event[Fact]
    nth: int
    reaction: Reaction[C]

    def ask(self, work: str, now: datetime) -> Ask[C]:
        """The command with its attributes: who and why are the cause's, so that audit can follow the thread."""
        cause = self.cause
        return Ask(
            command=self.reaction.command,
            key=self.reaction.key,
            id=uuid5(cause.id, f"{work}/{self.nth}"),
            now=now,
            occurred_at=self.reaction.occurred_at or cause.occurred_at,
            actor=cause.actor,
            actor_role=cause.actor_role,
            reason=cause.reason,
            correlation_id=cause.correlation_id,
            causation_id=cause.id,
            on_behalf_of=cause.on_behalf_of,
        )


Calls = tuple[Called[C], ...]


@dataclass(frozen=True)
class Reacting(Generic[C]):
    """What a reaction does with facts whose turn it is."""

    seen: Seen
    react: React[C]
    types: frozenset[str]
    handler: CommandHandler[Any, C, Any]
    clock: Clock
    codec: Codec
    arrivals: Arrivals
    lazily: bool = False  # Facts are written: they are not lost together with the offsets but go out to Kafka.

    async def prepare(self) -> None:
        """Its tables are the chassis' own."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator["ReactingSession[C]"]:
        async with self.handler.batch() as batch:
            yield ReactingSession(self, batch)

    def concerned(self, fact: Received) -> bool:
        """Whether to react. Raises UnknownVersion or UnknownType for what is not known well enough to go past it."""
        if fact.type in FACTS:
            return fact.type in self.types
        if not fact.type:
            raise Undecodable("attribute 'ce_type' is missing")
        metrics.UNKNOWN_TYPES.labels(self.seen.work).inc()
        name = without_version(fact.type)
        if name in {without_version(known) for known in self.types}:
            raise UnknownVersion(fact.type)
        if name not in NAMES:  # A reaction is never run again: what it went past now, it would miss for ever.
            raise UnknownType(fact.type)
        return False  # Another version of what is ignored on purpose.


@dataclass(frozen=True)
class ReactingSession(Generic[C]):
    """One transaction of a reaction."""

    reacting: Reacting[C]
    batch: Batch[Any, C, Any]

    async def open(self, tx: AsyncConnection, keys: Sequence[str]) -> dict[str, Page[Calls[C]]]:
        return await self.reacting.seen.open(tx, keys, ())

    def take(self, state: Calls[C], fact: Received) -> Calls[C]:
        if not self.reacting.concerned(fact):
            return state
        cause = event_from(fact.headers, fact.value, self.reacting.codec)
        return (*state, *(Called(cause, nth, reaction) for nth, reaction in enumerate(self.reacting.react(cause))))

    async def write(self, tx: AsyncConnection, pages: Sequence[Page[Calls[C]]]) -> None:
        work = self.reacting.seen.work
        await self.reacting.seen.write(tx, pages)
        calls = [called for page in pages for called in page.state]
        if not calls:
            return
        now = await self.reacting.clock.now()
        asks = [called.ask(work, now) for called in calls]
        for ask, answer in zip(asks, await self.batch.decide(tx, asks), strict=True):
            if isinstance(answer, Rejected):
                await refused(tx, work, ask, answer)

    def committed(self) -> None:
        self.batch.committed()


async def refused(tx: AsyncConnection, work: str, ask: Ask[Any], refusal: Rejected) -> None:
    """Keep a refusal, and raise the alarm the first time."""
    row = {"ask_id": ask.id, "work": work, "key": ask.key, "cause": ask.causation_id, "reason": refusal.reason}
    if (await tx.execute(REFUSED, row)).first() is None:
        return
    metrics.REFUSED_REACTIONS.labels(work, refusal.reason).inc()
    log.error("reaction_refused", work=work, stream=ask.key, cause=str(ask.causation_id), reason=refusal.reason)


def reacting(
    engine: AsyncEngine,
    name: str,
    topics: Sequence[Topic],
    react: React[C],
    handler: CommandHandler[Any, C, Any],
    clock: Clock,
    *,
    types: frozenset[str],
    version: int = 1,
    codec: Codec = PLAIN,
    batch_size: int = BATCH_SIZE,
    most_blocked: int = MOST_BLOCKED,
) -> Receiving[Calls[C]]:
    """The work that asks `handler` for what `react` says of each event whose type is in `types`.

    All other facts of contracts/catalogue.py are ignored on purpose; what is not in it is parked, unless it is another
    version of what is ignored.
    """
    if unknown := types - FACTS.keys():
        raise ValueError(f"no such fact: {min(unknown)}")
    seen = Seen(engine, name, version)
    reaction = Reacting(seen, react, types, handler, clock, codec, Arrivals(seen.look))
    return Receiving(engine, Checkpoints(engine, name, version), reaction, topics, batch_size, most_blocked)
