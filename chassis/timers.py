"""What is to happen at a time: rows beside the facts that set them, fired once by the deployment's clock.

A timer is read without a lock and asked as an ordinary command; it is marked as fired in the very transaction that
appends what came of it. So several workers may look at once: one of them marks it, the others' appends are undone.
(To lock the row first, and append then, deadlocks with an append that sets timers.)
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NoReturn, TypeVar
from uuid import UUID, uuid5

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.event import Event
from contracts.fact import Fact

from .clock import Clock
from .commanding import CommandHandler
from .database import DATABASE_ERRORS, is_transient
from .decider import Ask, Rejected
from .metrics import TIMERS_FIRED
from .store import NEVER, Statement

log = structlog.get_logger()

C = TypeVar("C")

SET = text("""
    INSERT INTO timer (id, key, kind, due_at, correlation_id, causation_id)
    VALUES (:id, :key, :kind, :due_at, :correlation_id, :causation_id)
    ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at, correlation_id = excluded.correlation_id,
                                   causation_id = excluded.causation_id WHERE timer.fired_at IS NULL""")
WITHDRAW = text("DELETE FROM timer WHERE id = :id AND fired_at IS NULL")
DUE = text("""
    SELECT id, key, kind, due_at, correlation_id, causation_id FROM timer
    WHERE fired_at IS NULL AND due_at <= tandem_now()
      AND (due_at, id) > (CAST(:after_due AS timestamptz), CAST(:after_id AS uuid))
    ORDER BY due_at, id LIMIT :page""")
# Only as it was read: it may have been fired, moved or withdrawn since.
FIRED = text("""
    UPDATE timer SET fired_at = tandem_now() WHERE id = :id AND due_at = :due_at AND fired_at IS NULL RETURNING id""")
COUNT = text("SELECT count(*) FROM timer WHERE fired_at IS NULL AND due_at <= tandem_now()")
OUTLOOK = text("""
    SELECT count(*) FILTER (WHERE due_at <= n.now), min(due_at) FILTER (WHERE due_at > n.now)
    FROM timer, (SELECT tandem_now() AS now) AS n WHERE fired_at IS NULL""")

PAGE = 100
POLL_S = 0.5  # What is timed here is timed to the day; half a second is for whoever watches.
POLL_SIMULATED_S = 0.02  # A player moves the clock line by line, and waits for us each time.
BACK_OFF_S = 2.0  # After a sweep that could not fire everything.
FIRST = (NEVER, UUID(int=0))


@dataclass(frozen=True, slots=True)
class Timer:
    """Something due. `key` is the stream's, `kind` the house's own word; the ids are those of the fact that set it."""

    id: UUID
    key: str
    kind: str
    due_at: datetime
    correlation_id: UUID
    causation_id: UUID


class NoLongerDue(Exception):
    """It was fired, moved or withdrawn since it was read: what was about to be appended is undone."""


def set_timer(id: UUID, event: Event[Fact], kind: str, due_at: datetime) -> Statement:
    """For a house's rows: due at that time, for the event's key. The same id again moves it, unless it has fired."""
    values = {
        "id": id,
        "key": event.key,
        "kind": kind,
        "due_at": due_at,
        "correlation_id": event.correlation_id,
        "causation_id": event.id,
    }
    return SET, values


def withdraw_timer(id: UUID) -> Statement:
    """For a house's rows: not due any more."""
    return WITHDRAW, {"id": id}


class Timers(Generic[C]):
    """Fires one house's timers. `fire` turns one into a command for its stream, or None when nothing is to be done."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        fire: Callable[[Timer], C | None],
        handler: CommandHandler[Any, C, Any],
        *,
        actor: str,
        reason: str = "TREAT",
    ) -> None:
        self.single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.clock = clock
        self.fire = fire
        self.handler = handler
        self.actor = actor
        self.reason = reason
        self.woken = asyncio.Event()

    def wake(self) -> None:
        """Look now: a timer was set, or the clock moved."""
        self.woken.set()

    async def run(self) -> NoReturn:
        """Fire what is due, in the order in which it fell due, until cancelled."""
        while True:
            self.woken.clear()
            try:
                all_fired = await self.sweep()
            except DATABASE_ERRORS as error:
                if not is_transient(error):
                    raise
                log.warning("timers_lost_database", error=type(error).__name__)
                all_fired = False
            if not all_fired:
                await asyncio.sleep(BACK_OFF_S * random.uniform(0.5, 1))  # noqa: S311  No secret.
                continue
            try:
                async with asyncio.timeout(POLL_SIMULATED_S if self.clock.simulated else POLL_S):
                    await self.woken.wait()
            except TimeoutError:
                pass

    async def sweep(self) -> bool:
        """Try everything that is due now, once. False when some could not be fired: the others were."""
        after, all_fired = FIRST, True
        while page := await self.due(after):
            for timer in page:
                all_fired &= await self.tried(timer)
            after = (page[-1].due_at, page[-1].id)
        return all_fired

    async def due(self, after: tuple[datetime, UUID]) -> Sequence[Timer]:
        values: Mapping[str, Any] = {"after_due": after[0], "after_id": after[1], "page": PAGE}
        async with self.single.connect() as session:
            return [Timer(*row) for row in await session.execute(DUE, values)]

    async def tried(self, timer: Timer) -> bool:
        """Fire one. What goes wrong with it is logged and tried again later: it holds up nobody else's."""
        try:
            await self.fired(timer)
        except NoLongerDue:
            pass
        except Exception as error:
            if not is_transient(error):
                log.error("timer_failed", timer=str(timer.id), stream=timer.key, error=type(error).__name__)
            return False
        return True

    async def fired(self, timer: Timer) -> None:
        command = self.fire(timer)
        if command is not None:
            try:
                answer = await self.handler.handle(await self.asked(timer, command), within=marking(timer))
            except Rejected as refusal:  # Nobody is there to be told.
                log.warning("timer_refused", timer=str(timer.id), stream=timer.key, reason=refusal.reason)
            else:
                if answer.events:
                    TIMERS_FIRED.labels(self.handler.store.house).inc()
                    return
        async with self.single.connect() as session:  # It came to nothing, and never will come to more.
            await session.execute(FIRED, {"id": timer.id, "due_at": timer.due_at})

    async def asked(self, timer: Timer, command: C) -> Ask[C]:
        return Ask(
            command=command,
            key=timer.key,
            id=uuid5(timer.id, "fired"),  # Whoever fires it, and however often: the same ids come of it.
            now=await self.clock.now(),
            occurred_at=timer.due_at,
            actor=self.actor,
            actor_role="service",
            reason=self.reason,
            correlation_id=timer.correlation_id,
            causation_id=timer.causation_id,
        )


def marking(timer: Timer) -> Callable[[AsyncConnection], Any]:
    """What marks a timer within an append. Raises NoLongerDue, which undoes the append."""

    async def mark(tx: AsyncConnection) -> None:
        if (await tx.execute(FIRED, {"id": timer.id, "due_at": timer.due_at})).first() is None:
            raise NoLongerDue

    return mark


async def due_count(engine: AsyncEngine) -> int:
    """How many timers are due and not yet fired."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as session:
        found: int = (await session.execute(COUNT)).scalar_one()
    return found


async def outlook(engine: AsyncEngine) -> tuple[int, datetime | None]:
    """How many timers are due and not yet fired, and when the next one falls due; None when there is none."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as session:
        due, next_due_at = (await session.execute(OUTLOOK)).one()
    return due, next_due_at
