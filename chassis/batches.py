"""Decisions of a reaction: many asks in one transaction, which is the caller's and holds its checkpoint too.

Rules: each decision stands on the state after the ones before it. A stream that others moved meanwhile is decided
again, the rest is not. Nothing is remembered before the caller says that the transaction was committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.event import Event
from contracts.fact import Fact

from .answers import Answer, answered
from .database import VIOLATIONS, Busy, constraint_of
from .decider import Ask, Rejected
from .metrics import COLLISIONS
from .statements import CLAIM_ALL
from .store import EVENT_KEY, Head, Written
from .streams import Known, evolved, nothing_known

if TYPE_CHECKING:
    from .commanding import CommandHandler

S = TypeVar("S")
C = TypeVar("C")
F = TypeVar("F", bound=Fact)

RACES = 3  # So many may a batch lose before it claims its streams.
TURNS_S = 1.0  # For all streams together: a session that waits is idle in its transaction, which is bounded by 5 s.


@dataclass
class Draft(Generic[S, F]):
    """What the asks of one stream come to, not yet appended. `answers` are by the asks' places in the batch."""

    start: Known[S]
    end: Known[S]
    written: list[Written[F]] = field(default_factory=list)
    answers: dict[int, Answer | Rejected] = field(default_factory=dict)


class Batch(Generic[S, C, F]):
    """See CommandHandler.batch. Left without `committed`, every state that it touched is forgotten."""

    def __init__(self, handler: CommandHandler[S, C, F]) -> None:
        self.handler = handler
        self.known: dict[str, Known[S]] = {}
        self.appended = 0
        self.turns = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.now = await self.handler.clock.now()  # Here: in the caller's transaction it might take a second session.
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.turns.aclose()

    async def decide(self, tx: AsyncConnection, asks: Sequence[Ask[C]]) -> list[Answer | Rejected]:
        """Decide and append within `tx`; the answers are in the order of the asks.

        Raises Busy, and whatever the database says: then `tx` is to be rolled back.
        """
        streams = [self.handler.store.stream(ask.key) for ask in asks]
        await self.take(tx, sorted(set(streams) - self.known.keys()))
        # Sorted by stream: every transaction locks event rows in that order. Sorting keeps a stream's asks in theirs.
        places = sorted(range(len(asks)), key=lambda place: streams[place])
        answers: dict[int, Answer | Rejected] = {}
        await self.decide_some(tx, [(place, streams[place], asks[place]) for place in places], answers)
        return [answers[place] for place in range(len(asks))]

    def committed(self) -> None:
        """The transaction was committed, and it is known that it was."""
        for stream, known in self.known.items():
            self.handler.memory.put(stream, known)
        if self.appended:
            self.handler.committed(self.appended)

    async def take(self, tx: AsyncConnection, streams: Sequence[str]) -> None:
        """Read these streams to their ends, each in its turn if that comes soon."""
        try:
            for stream in streams:
                await self.turns.enter_async_context(self.handler.turns.of(stream, TURNS_S / len(streams)))
        except Busy:
            pass  # A turn only saves collisions.
        start = nothing_known(self.handler.decider)
        remembered = {stream: self.handler.memory.take(stream) or start for stream in streams}
        self.known.update(await self.handler.all_caught_up(tx, remembered))

    async def decide_some(
        self, tx: AsyncConnection, asks: Sequence[tuple[int, str, Ask[C]]], answers: dict[int, Answer | Rejected]
    ) -> None:
        """All these asks; or each half of them, when a constraint of the house refuses one, down to that one alone."""
        try:
            drafts = await self.append(tx, asks)
        except Rejected as refusal:
            if len(asks) == 1:
                answers[asks[0][0]] = refusal
                return
            middle = len(asks) // 2
            await self.decide_some(tx, asks[:middle], answers)
            await self.decide_some(tx, asks[middle:], answers)
            return
        for stream, draft in drafts.items():
            self.known[stream] = draft.end
            self.appended += len(draft.written)
            answers.update(draft.answers)

    async def append(self, tx: AsyncConnection, asks: Sequence[tuple[int, str, Ask[C]]]) -> Mapping[str, Draft[S, F]]:
        """Decide and append; streams that others moved are decided again. Raises Rejected for a refused row."""
        drafts: dict[str, Draft[S, F]] = {}
        for race in range(1, RACES + 2):
            self.draft(asks, drafts)
            written = {stream: draft for stream, draft in drafts.items() if draft.written}
            moved = await self.appended_all(tx, written) if written else set()
            if not moved:
                return drafts
            COLLISIONS.labels(self.handler.store.source).inc()
            if race == RACES:  # All at once: one after the other, two batches would wait for each other.
                moved = set(written)
                await tx.execute(CLAIM_ALL, {"streams": list(moved)})
            now = await self.handler.all_caught_up(tx, {stream: self.known[stream] for stream in moved})
            for stream, known in now.items():
                if known.head != self.known[stream].head:
                    self.known[stream] = known
                    del drafts[stream]
        raise Busy("others were faster too often")

    def draft(self, asks: Sequence[tuple[int, str, Ask[C]]], drafts: dict[str, Draft[S, F]]) -> None:
        """Decide the asks of every stream that has no draft."""
        handler = self.handler
        fresh = {stream for _, stream, _ in asks} - drafts.keys()
        for place, stream, ask in asks:
            if stream not in fresh:
                continue
            known = self.known[stream]
            draft = drafts.setdefault(stream, Draft(known, known))
            try:
                facts = handler.decider.decide(draft.end.state, ask)
                written = handler.store.write(draft.end.head, ask, facts, self.now)
            except Rejected as refusal:
                draft.answers[place] = refusal
                continue
            events: list[Event[F]] = [one.event for one in written]
            draft.end = evolved(handler.decider, draft.end, events)
            draft.written += written
            draft.answers[place] = answered(handler.store, draft.end, events)

    async def appended_all(self, tx: AsyncConnection, drafts: Mapping[str, Draft[S, F]]) -> set[str]:
        """Append the drafts with the house's rows: the streams that may have moved, then nothing was appended."""
        handler = self.handler
        appends: dict[str, tuple[Head, Sequence[Written[F]]]] = {
            stream: (draft.start.head, draft.written) for stream, draft in drafts.items()
        }
        try:
            async with tx.begin_nested() as savepoint:
                moved = await handler.store.append_all(tx, appends)
                if moved:  # Give back the shared locks: two batches that hold them could not both claim.
                    await savepoint.rollback()
                elif handler.rows:
                    events = [one.event for draft in drafts.values() for one in draft.written]
                    for statement, values in handler.rows(events):
                        await tx.execute(statement, values)
        except VIOLATIONS as error:
            if constraint_of(error) == EVENT_KEY:
                return set(drafts)  # It does not say which: their tails will.
            raise handler.refusal(error) from None
        return moved
