"""From an ask to an answer: state, decision, append; again when somebody else was faster.

Rules: a state is remembered after a known commit only. An answer that appends nothing (a refusal, *already so*) is
given only after the table's tail was read. A command under a key is safe to ask again whatever became of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.event import Event
from contracts.fact import Fact

from .answers import Answer, KeyReused, answered, replayed
from .batches import Batch
from .clock import Clock
from .database import DATABASE_ERRORS, VIOLATIONS, Busy, constraint_of, is_transient
from .decider import Ask, C_co, Decider, Rejected
from .metrics import APPENDED, COLLISIONS
from .statements import CLAIM
from .store import EVENT_KEY, CommandKey, EventStore, Outcome, Rows, Statement, Written
from .streams import Known, Memory, Turns, evolved, nothing_known

__all__ = ["Answer", "Batch", "Busy", "CommandHandler", "CommandKey", "KeyReused", "purge_commands"]

S = TypeVar("S")
C = TypeVar("C")
F = TypeVar("F", bound=Fact)

Within = Callable[[AsyncConnection], Awaitable[None]]

RACES = 4  # So many may one command run, and lose, before it claims its stream.
TURN_S = 5.0  # A client that has waited this long for one patient is better told to ask again.
PAUSES_S = (0.05, 0.2, 0.5, 1.0)  # After errors that pass. A failover takes longer, and is the client's to wait for.
ANSWER_S = 20.0  # Over all: whoever asked has given up by then.
PURGE = text("""
    DELETE FROM command WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM command WHERE accepted_at < now() - CAST(:kept AS interval) LIMIT :limit)) RETURNING 1""")
KEPT_DAYS = 30  # How long a key's reply is kept; after that the decider's own idempotence holds.
PURGED_AT_ONCE = 1_000  # Rows a statement deletes: short locks, and little for a standby to replay at a time.
PURGE_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Asked(Generic[C_co]):
    """An ask with what belongs to its append; see `handle`."""

    stream: str
    ask: Ask[C_co]
    key: CommandKey | None
    within: Within | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Draft(Generic[S, F]):
    """What is about to be appended, and what will be known and answered once it is."""

    before: Known[S]
    after: Known[S]
    written: Sequence[Written[F]]
    statements: Sequence[Statement]
    answer: Answer


class CommandHandler(Generic[S, C, F]):
    """Everything that is asked of one kind of stream."""

    def __init__(
        self,
        decider: Decider[S, C, F],
        store: EventStore,
        clock: Clock,
        *,
        rows: Rows[F] | None = None,
        refusals: Mapping[str, Rejected] | None = None,
        remembered: int = 10_000,
    ) -> None:
        """`rows(events)` are statements for the append's transaction; `refusals` names what a violated constraint of
        theirs means. `remembered` is how many streams' states are kept in memory."""
        self.decider = decider
        self.store = store
        self.clock = clock
        self.rows = rows
        self.refusals = refusals or {}
        self.memory: Memory[S] = Memory(remembered)
        self.turns = Turns()

    async def handle(
        self,
        ask: Ask[C],
        key: CommandKey | None = None,
        *,
        within: Within | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """Decide and append. Raises Rejected, KeyReused, or Busy: then it may have been done, and is to be asked again.

        `within` runs in the append's transaction, after its rows, and undoes all by raising; it is not called when
        nothing is appended.
        """
        asked = Asked(self.store.stream(ask.key), ask, key, within, traceparent)
        try:
            async with asyncio.timeout(ANSWER_S):
                for pause_s in PAUSES_S if key else ():
                    try:
                        return await self.in_turn(asked)
                    except DATABASE_ERRORS as error:
                        if not is_transient(error):
                            raise
                    await asyncio.sleep(pause_s)
                # Without a key nobody could tell whether a first try was done: who asked finds out by asking again.
                return await self.in_turn(asked)
        except DATABASE_ERRORS as error:
            if not is_transient(error):
                raise
            raise Busy("the database did not answer") from error

    async def state(self, key: str) -> tuple[S, int]:
        """The stream's state as the table has it now, and the sequence of its last event."""
        stream = self.store.stream(key)
        known = await self.caught_up(stream, self.memory.look(stream))
        self.memory.put(stream, known)
        return known.state, known.head.sequence

    def batch(self) -> Batch[S, C, F]:
        """Decisions of a reaction, in a transaction of the caller's."""
        return Batch(self)

    async def in_turn(self, asked: Asked[C]) -> Answer:
        """Decide on what is remembered, then on what the table holds, then with the stream claimed."""
        async with self.turns.of(asked.stream, TURN_S):
            known = self.memory.take(asked.stream)
            for attempt in range(RACES):
                read = attempt > 0 or known is None
                known = await self.caught_up(asked.stream, known) if read else known
                assert known is not None
                facts = self.decided(known, asked.ask)
                if isinstance(facts, Rejected) or not facts:
                    if not read:
                        continue
                    return await self.nothing_to_append(asked, known, facts)
                if answer := await self.race(asked, known, facts):
                    return answer
                COLLISIONS.labels(self.store.source).inc()
            return await self.claimed(asked, known or nothing_known(self.decider))

    def decided(self, known: Known[S], ask: Ask[C]) -> Sequence[F] | Rejected:
        try:
            return self.decider.decide(known.state, ask)
        except Rejected as refusal:
            return refusal

    async def race(self, asked: Asked[C], known: Known[S], facts: Sequence[F]) -> Answer | None:
        """Append, if nobody has since; None when somebody was faster."""
        draft = self.draft(asked, known, facts, await self.clock.now())
        try:
            if asked.key and not draft.statements and not asked.within:
                outcome = await self.store.append_alone(
                    asked.stream, known.head, draft.written, asked.key, draft.answer.reply
                )
            else:
                async with self.store.engine.begin() as tx:
                    outcome = await self.append(tx, asked, draft)
        except VIOLATIONS as error:
            if constraint_of(error) == EVENT_KEY:
                return None
            raise self.refusal(error) from None
        return self.settled(asked, draft, outcome)

    async def claimed(self, asked: Asked[C], known: Known[S]) -> Answer:
        """Read, decide and append while nobody else can append to the stream."""
        now = await self.clock.now()
        try:
            async with self.store.engine.begin() as tx:
                await tx.execute(CLAIM, {"stream": asked.stream})
                known = (await self.all_caught_up(tx, {asked.stream: known}))[asked.stream]
                facts = self.decided(known, asked.ask)
                if facts and not isinstance(facts, Rejected):
                    draft = self.draft(asked, known, facts, now)
                    outcome = await self.append(tx, asked, draft)
        except VIOLATIONS as error:
            raise self.refusal(error) from None
        if isinstance(facts, Rejected) or not facts:
            return await self.nothing_to_append(asked, known, facts)
        if answer := self.settled(asked, draft, outcome):
            return answer
        raise Busy("the same key is being answered elsewhere")

    def draft(self, asked: Asked[C], known: Known[S], facts: Sequence[F], now: datetime) -> Draft[S, F]:
        written = self.store.write(known.head, asked.ask, facts, now, asked.traceparent)
        events = [one.event for one in written]
        after = evolved(self.decider, known, events)
        statements = self.rows(events) if self.rows else ()
        return Draft(known, after, written, statements, answered(self.store, after, events))

    async def append(self, tx: AsyncConnection, asked: Asked[C], draft: Draft[S, F]) -> Outcome:
        head = draft.before.head
        if asked.key:
            outcome = await self.store.append(tx, asked.stream, head, draft.written, asked.key, draft.answer.reply)
        else:
            moved = await self.store.append_all(tx, {asked.stream: (head, draft.written)})
            outcome = Outcome("behind" if moved else "appended", None)
        if outcome.name == "appended":
            for statement, values in draft.statements:
                await tx.execute(statement, values)
            if asked.within:
                await asked.within(tx)
        return outcome

    def settled(self, asked: Asked[C], draft: Draft[S, F], outcome: Outcome) -> Answer | None:
        """What an append whose outcome is known means; None when the stream is to be read again."""
        match outcome.name:
            case "appended":
                self.memory.put(asked.stream, draft.after)
                self.committed(len(draft.written))
                return draft.answer
            case "replayed" | "key_reused":
                return replayed(outcome)
            case "behind" | "ahead" | "raced":
                return None

    async def nothing_to_append(self, asked: Asked[C], known: Known[S], facts: Sequence[F] | Rejected) -> Answer:
        """The answer to a command that changes nothing, `known` having been read from the table just now."""
        self.memory.put(asked.stream, known)
        answer = answered(self.store, known, ())
        if asked.key:
            async with self.store.single.connect() as session:
                earlier = await self.store.earlier_reply(session, asked.key)
                if earlier is None and not isinstance(facts, Rejected):
                    if await self.store.keep_reply(session, asked.key, answer.reply):
                        return answer
                    earlier = await self.store.earlier_reply(session, asked.key)
            if earlier:
                return replayed(earlier)
        if isinstance(facts, Rejected):
            raise facts
        return answer

    async def caught_up(self, stream: str, known: Known[S] | None) -> Known[S]:
        """What the table holds now, read from what is known on."""
        start = known or nothing_known(self.decider)
        async with self.store.single.connect() as session:
            return (await self.all_caught_up(session, {stream: start}))[stream]

    async def all_caught_up(self, session: AsyncConnection, known: Mapping[str, Known[S]]) -> dict[str, Known[S]]:
        """What the table holds now of each stream. One that went another way than was known is read from its start."""
        found: dict[str, Known[S]] = {}
        tails = await self.store.tails(session, {stream: one.head for stream, one in known.items()})
        for stream, tail in tails.items():
            if tail is not None:
                found[stream] = evolved(self.decider, known[stream], cast(Sequence[Event[F]], tail))
        if others := {stream: nothing_known(self.decider) for stream in known.keys() - found.keys()}:
            found.update(await self.all_caught_up(session, others))
        return found

    def committed(self, facts: int) -> None:
        """Facts were appended, and it is known that they were."""
        APPENDED.labels(self.store.source).inc(facts)
        self.store.appended()

    def refusal(self, error: Exception) -> Exception:
        """What a violated constraint means: the house's own words, or the error when it has none for it."""
        named = self.refusals.get(constraint_of(error) or "")
        if named is None:
            return error
        return Rejected(named.reason, named.sentence, **named.details)  # Anew: an exception gathers its tracebacks.


async def purge_commands(engine: AsyncEngine) -> None:
    """Forget replies that are older than they are kept. Runs until it is cancelled."""
    single = engine.execution_options(isolation_level="AUTOCOMMIT")
    while True:
        more = False
        try:
            more = await purged(single) == PURGED_AT_ONCE
        except DATABASE_ERRORS as error:
            if not is_transient(error):
                raise
        await asyncio.sleep(0 if more else PURGE_EVERY_S)


async def purged(single: AsyncEngine) -> int:
    async with single.connect() as session:
        found = await session.execute(PURGE, {"kept": timedelta(days=KEPT_DAYS), "limit": PURGED_AT_ONCE})
        return len(found.all())
