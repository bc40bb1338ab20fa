"""Relay processes are killed and stopped while sixteen clients write to one patient and to many.

Compared are whole lists: what was accepted, what the table holds, what Kafka holds once repeats are dropped.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from chassis.kafka import create_topics
from chassis.relay import outbox_health
from contracts.event import Event
from tests.support.published import published, without_repeats
from tests.support.servers import Servers
from tests.support.writing import HOUSE, Handler, Take, Writing, command_key, tables_verify, writing
from tests.support.writing_processes import LEASE_S, Process, processes

SEED = 20_261_123
CLIENTS = 16
LEAST_FACTS, LEAST_RATE = 1_000, 100.0
DRAINED_S = 60.0


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Writing]:
    await create_topics(servers.kafka, own_prefix, 4)
    async with writing(servers, own_prefix) as found:
        yield found


class Load:
    """Sixteen clients of two handlers, half of whose commands go to one busy patient."""

    def __init__(self, house: Writing, seed: int) -> None:
        self.house = house
        self.seed = seed
        self.accepted: list[Event[Any]] = []
        self.enough = False

    async def client(self, number: int, handler: Handler) -> None:
        random = Random(self.seed + number)
        nth = 0
        while not self.enough:
            nth += 1
            stream = "busy" if random.random() < 0.5 else f"s{random.randrange(40)}"
            things = tuple(f"{number} {nth} {n}" for n in range(random.randint(1, 2)))
            ask = await self.house.ask(Take(things), stream)
            self.accepted.extend((await handler.handle(ask, command_key(f"{number} {nth}"))).events)
            await asyncio.sleep(random.uniform(0, 0.03))

    async def run(self) -> None:
        handlers = [self.house.handler(), self.house.handler()]
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(self.client(number, handlers[number % 2]))


async def test_ten_kills_and_stops_of_relays_under_load(house: Writing, servers: Servers, own_prefix: str) -> None:
    await hurt_under_load(house, servers, own_prefix, times=10)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_a_hundred_kills_and_stops_of_relays_under_load(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    await hurt_under_load(house, servers, own_prefix, times=100)


async def hurt_under_load(house: Writing, servers: Servers, prefix: str, times: int) -> None:
    load = Load(house, SEED)
    with processes(*(("relay", f"relay {n}", house.url, servers.kafka, prefix) for n in (1, 2))) as relays:
        pouring = asyncio.create_task(load.run())
        began = time.monotonic()
        try:
            await hurt(house, relays, Random(SEED), times)
        finally:
            load.enough = True
            taken_s = time.monotonic() - began
            await pouring
        rate = len(load.accepted) / taken_s
        async with asyncio.timeout(DRAINED_S):
            while (await outbox_health(house.engine)).rows:  # noqa: ASYNC110  It is another process's state.
                await asyncio.sleep(0.05)

    rows = await tables_verify(house.engine, at_least=LEAST_FACTS)
    records, repeats, wrong = without_repeats(await published(servers.kafka, f"{prefix}prescribing.events"))
    print(
        f"\n{times} kills and stops of the relay at work in {taken_s:.0f} s under {rate:.0f} facts/s, seed {SEED}: ",
        end="",
    )
    print(f"{len(rows)} facts, {repeats} published again")
    assert wrong == []
    kept = [(row.stream, row.sequence, row.hash) for row in rows]
    assert sorted((event.key, event.sequence, event.hash) for event in load.accepted) == kept
    assert sorted((r.key.decode(), r.sequence, bytes.fromhex(r.named["ce_hash"])) for r in records) == kept
    assert {(r.key.decode(), r.sequence): r.value for r in records} == {(r.stream, r.sequence): r.value for r in rows}
    assert rate >= LEAST_RATE


async def hurt(house: Writing, relays: list[Process], random: Random, times: int) -> None:
    """Kill, or stop for longer than its lease, the relay that is at work; the other one shows little when hurt."""
    for nth in range(times):
        await asyncio.sleep(random.uniform(0.2, 1.0))
        victim = await at_work(house, relays)
        if nth % 2:
            victim.signal(signal.SIGSTOP)
            await asyncio.sleep(LEASE_S * random.uniform(0.5, 2.0))
            victim.signal(signal.SIGCONT)
        else:
            victim.kill(f"relay again {nth}", *victim.arguments[1:])


async def at_work(house: Writing, relays: list[Process]) -> Process:
    """The relay that holds the lease, once one does."""
    holder = text("SELECT token FROM relay_lease WHERE house = :house AND expires > now()")
    async with asyncio.timeout(DRAINED_S), house.store.single.connect() as session:
        while True:
            token = await session.scalar(holder, {"house": HOUSE})
            for relay in relays:
                if relay.arguments[0] == token:
                    return relay
            await asyncio.sleep(0.02)
