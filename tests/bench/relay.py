"""How fast a relay publishes what waits in the outbox, from the first row read to the last row deleted."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

from sqlalchemy import text

from chassis.decider import Ask
from chassis.kafka import create_topics
from chassis.relay import Relay, outbox_health
from chassis.store import START
from contracts.access import OperatorActed
from tests.support.servers import Servers, drop, new_prefix
from tests.support.writing import HOUSE, Writing, writing

NAME = "relay"
PUBLISHED = "published by one relay"
BARS: Mapping[str, tuple[str, float]] = {PUBLISHED: (">=", 10_000.0)}
STREAMS, FACTS_EACH = 1_000, 20


async def measure(servers: Servers, quick: bool) -> list[tuple[str, float, str]]:
    """The relay has the outbox to itself; it reads, sends, waits for Kafka and deletes."""
    prefix = new_prefix()
    each = FACTS_EACH if quick else 3 * FACTS_EACH
    await create_topics(servers.kafka, prefix, 4)
    try:
        async with writing(servers, prefix) as house:
            await waiting(house, each)
            relay = Relay(house.engine, servers.kafka, HOUSE, prefix=prefix)
            began = time.monotonic()
            running = asyncio.create_task(relay.run())
            try:
                while (await outbox_health(house.engine)).rows:  # noqa: ASYNC110  It is the relay's state.
                    await asyncio.sleep(0.05)
                taken_s = time.monotonic() - began
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
    finally:
        await drop(servers, prefix)
    return [(PUBLISHED, STREAMS * each / taken_s, "facts/s")]


async def waiting(house: Writing, each: int) -> None:
    """Real, chained facts of many streams, all of them in the outbox."""
    fact = OperatorActed(command="take", arguments=("one", "another"), why="needed")
    now = await house.clock.now()
    names = [f"{uuid4()}" for _ in range(STREAMS)]
    for first in range(0, STREAMS, 50):
        appends = {}
        for stream in names[first : first + 50]:
            ask: Ask[None] = Ask(None, stream, uuid4(), now, now, "person", "operator", "SYSADMIN", uuid4())
            appends[stream] = (START, house.store.write(START, ask, [fact] * each, now))
        async with house.store.single.connect() as session:
            assert not await house.store.append_all(session, appends)
    async with house.store.single.connect() as session:
        await session.execute(text("ANALYZE outbox"))
