"""Timers by the deployment's clock, fired once by however many workers, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import text

from chassis import timers as chassis_timers
from chassis.decider import Decider
from chassis.store import START, Statement
from chassis.timers import Timer, Timers, due_count, set_timer, withdraw_timer
from contracts.access import OperatorActed
from contracts.event import Event
from tests.support.servers import Servers
from tests.support.writing import Handler, Shelf, Take, Writing, tables_verify, writing

ACTOR = "prescribing"
DAY = timedelta(days=1)


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Writing]:
    async with writing(servers, own_prefix, simulated=True) as found:
        yield found


async def at(house: Writing, days: float) -> datetime:
    """So many days after the house was created; the clock stands there until somebody moves it."""
    async with house.engine.connect() as session:
        began: datetime = (await session.execute(text("SELECT created_at FROM deployment"))).scalar_one()
    return began + days * DAY


async def setting(house: Writing, stream: str, *due: tuple[str, float]) -> None:
    """Facts of this stream, each setting a timer of its name for so many days after the beginning."""
    times = {name: await at(house, days) for name, days in due}

    def rows(events: Sequence[Event[OperatorActed]]) -> list[Statement]:
        return [set_timer(uuid5(e.id, "due"), e, e.fact.arguments[0], times[e.fact.arguments[0]]) for e in events]

    await house.handler(rows).handle(await house.ask(Take(tuple(times)), stream))


def take_it(timer: Timer) -> Take:
    return Take((f"{timer.kind} fell due",), by="timer")


def timers(house: Writing, fire: Any = take_it, handler: Handler | None = None) -> Timers[Take]:
    return Timers(house.engine, house.clock, fire, handler or house.handler(), actor=ACTOR)


@asynccontextmanager
async def running(*several: Timers[Take]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in several]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def settled(house: Writing) -> None:
    async with asyncio.timeout(30):
        while await due_count(house.engine):  # noqa: ASYNC110  It is the workers' state.
            await asyncio.sleep(0.02)


async def fired(house: Writing) -> list[tuple[str, str]]:
    rows = await tables_verify(house.engine)
    things = [(row.stream, OperatorActed.model_validate_json(row.value).arguments[0]) for row in rows]
    return [(stream, thing) for stream, thing in things if thing.endswith("due")]


async def test_a_timer_fires_at_its_own_instant_and_not_before(house: Writing) -> None:
    await setting(house, "p", ("review", 7))
    async with running(timers(house)):
        await house.clock.move(await at(house, 7) - timedelta(microseconds=1))
        assert await due_count(house.engine) == 0
        assert await fired(house) == []

        await house.clock.move(await at(house, 7))
        await settled(house)
    assert await fired(house) == [("p", "review fell due")]


async def test_what_a_timer_says_carries_its_cause_and_the_instant_it_fell_due(house: Writing) -> None:
    await setting(house, "p", ("review", 7))
    await house.clock.move(await at(house, 9))
    await timers(house).sweep()

    cause, event = [row.headers for row in await tables_verify(house.engine, at_least=2)]

    timer_id = uuid5(UUID(cause["ce_id"]), "due")
    assert event["ce_id"] == str(uuid5(uuid5(timer_id, "fired"), "fact 1"))
    assert event["ce_causationid"] == cause["ce_id"]
    assert event["ce_correlationid"] == cause["ce_correlationid"]
    assert (event["ce_actor"], event["ce_actorrole"]) == (ACTOR, "service")
    assert datetime.fromisoformat(event["ce_time"]) == await at(house, 7)
    assert datetime.fromisoformat(event["ce_recordedtime"]) == await at(house, 9)


async def test_timers_fire_in_the_order_in_which_they_fell_due(house: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis_timers, "PAGE", 2)
    await setting(house, "p", ("third", 3), ("first", 1), ("fourth", 4), ("second", 2), ("later", 9))
    await house.clock.move(await at(house, 5))

    assert await timers(house).sweep()

    expected = [("p", f"{name} fell due") for name in ("first", "second", "third", "fourth")]
    assert await fired(house) == expected


EAGER: Decider[Shelf, Take, OperatorActed] = Decider(
    initial=Shelf(),
    # Says it each time it is asked: what keeps a timer from firing twice may not be the decider alone.
    decide=lambda _, ask: [OperatorActed(command="take", arguments=(t, "x"), why="due") for t in ask.command.things],
    evolve=lambda shelf, _: shelf,
)


async def test_three_workers_at_once_never_fire_one_twice(house: Writing) -> None:
    for nth in range(20):
        await setting(house, f"p{nth}", *((f"{nth} {n}", 1 + n / 10) for n in range(5)))
    workers = []
    for _ in range(3):
        handler = house.handler()
        handler.decider = EAGER
        workers.append(timers(house, handler=handler))
    await house.clock.move(await at(house, 2))

    await asyncio.gather(*(worker.sweep() for worker in workers))
    await asyncio.gather(*(worker.sweep() for worker in workers))

    found = await fired(house)
    assert len(found) == len(set(found)) == 100
    assert await due_count(house.engine) == 0


async def test_a_worker_that_is_cancelled_at_any_point_neither_loses_nor_repeats(house: Writing) -> None:
    for nth in range(10):
        await setting(house, f"p{nth}", *((f"{nth} {n}", 1) for n in range(5)))
    await house.clock.move(await at(house, 2))
    handler = house.handler()
    handler.decider = EAGER
    worker = timers(house, handler=handler)
    for nth in range(40):
        sweeping = asyncio.create_task(worker.sweep())
        await asyncio.sleep(0.0005 * nth)
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
    await worker.sweep()

    found = await fired(house)
    assert len(found) == len(set(found)) == 50


async def test_a_timer_that_was_withdrawn_or_moved_since_it_was_read_does_not_fire(house: Writing) -> None:
    await setting(house, "p", ("withdrawn", 1), ("moved", 2), ("kept", 3))
    events = await events_of(house, "p")
    await house.clock.move(await at(house, 5))
    worker = timers(house)
    page = await worker.due(chassis_timers.FIRST)
    async with house.engine.begin() as tx:
        await tx.execute(*withdraw_timer(page[0].id))
        await tx.execute(*set_timer(page[1].id, events[1], "moved", await at(house, 8)))

    for timer in page:
        assert await worker.tried(timer)

    assert await fired(house) == [("p", "kept fell due")]
    await house.clock.move(await at(house, 8))
    await worker.sweep()
    assert await fired(house) == [("p", "kept fell due"), ("p", "moved fell due")]


async def events_of(house: Writing, stream: str) -> list[Event[Any]]:
    async with house.store.single.connect() as session:
        return (await house.store.tails(session, {stream: START}))[stream] or []


async def test_a_timer_that_comes_to_nothing_is_done_with(house: Writing) -> None:
    await setting(house, "p", ("nothing", 1), ("so already", 2), ("refused", 3))
    await house.handler().handle(await house.ask(Take(("so already fell due",), by="timer"), "p"))
    await house.handler().handle(await house.ask(Take(("refused fell due",), by="somebody"), "p"))
    before = await fired(house)
    await house.clock.move(await at(house, 5))

    assert await timers(house, lambda timer: None if timer.kind == "nothing" else take_it(timer)).sweep()

    assert await fired(house) == before
    assert await due_count(house.engine) == 0


async def test_a_timer_that_fails_holds_up_nobody_else_and_is_tried_again(house: Writing) -> None:
    await setting(house, "p", ("broken", 1), ("sound", 2))
    await house.clock.move(await at(house, 5))
    broken = True

    def fire(timer: Timer) -> Take:
        if broken and timer.kind == "broken":
            raise KeyError(timer.kind)
        return take_it(timer)

    worker = timers(house, fire)
    assert not await worker.sweep()
    assert (await fired(house), await due_count(house.engine)) == ([("p", "sound fell due")], 1)

    broken = False
    assert await worker.sweep()
    assert await due_count(house.engine) == 0


async def test_a_fired_timer_is_not_set_again_by_its_fact(house: Writing) -> None:
    await setting(house, "p", ("review", 1))
    (event,) = await events_of(house, "p")
    await house.clock.move(await at(house, 2))
    await timers(house).sweep()

    async with house.engine.begin() as tx:
        await tx.execute(*set_timer(uuid5(event.id, "due"), event, "review", await at(house, 1)))

    assert await due_count(house.engine) == 0
