"""Workers are killed, stopped, started twice and cut off under load: nothing lost, nothing twice, order kept."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import text

from tests.support.counting import Settings
from tests.support.cutting import Cutting, cutting
from tests.support.reading import Reading, reading, soon
from tests.support.servers import Servers
from tests.support.workers import (
    GO_ON,
    KILL,
    STOP,
    Workers,
    loaded,
    note_moves,
    reading_everywhere,
    violations,
)

SEED = 20_261_124
BEYOND_THE_SESSION_S = 13.0  # The group gives a worker up after 10.


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, own_prefix) as found:
        await note_moves(found)
        yield found


@pytest.fixture
async def workers(servers: Servers, house: Reading) -> AsyncIterator[Workers]:
    found = Workers(servers, Settings(servers.kafka, servers.database_url, house.prefix))
    try:
        yield found
    finally:
        await asyncio.to_thread(found.end)


async def start(workers: Workers, *processes: str) -> None:
    for process in processes:
        await asyncio.to_thread(workers.start, process)


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.soak)])
async def test_workers_killed_under_load(house: Reading, workers: Workers, kills: int) -> None:
    moments = random.Random(SEED)
    await start(workers, "0", "1")
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        for _ in range(kills):
            await asyncio.sleep(moments.uniform(0.3, 2.0))
            await workers.signal(moments.choice("01"), KILL)
    print(f"seed {SEED}: {kills} kills under {load.judge()}")
    assert await violations(house) == []


@pytest.mark.parametrize("stops", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_worker_stopped_beyond_its_session_is_fenced_when_it_goes_on(
    house: Reading, workers: Workers, stops: int
) -> None:
    moments = random.Random(SEED)
    await start(workers, "0", "1")

    def claims() -> int:
        return workers.log("0").count('"partitions_claimed"')

    async def claimed_first() -> bool:
        return claims() > 0

    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        await soon(claimed_first)  # Or it would be stopped with nothing in hand to be fenced from.
        before = claims()
        for _ in range(stops):
            await asyncio.sleep(moments.uniform(0.5, 1.5))
            stopped = await workers.signal("0", STOP)
            await asyncio.sleep(BEYOND_THE_SESSION_S)
            await others_read_on(house)
            stopped.signal(GO_ON)
            await asyncio.sleep(2.0)
    print(f"seed {SEED}: {stops} stops under {load.judge()}")
    assert await violations(house) == []

    async def claimed_anew() -> bool:
        """It ended and was brought back, or the group told it in time."""
        return claims() >= before + stops

    try:
        await soon(claimed_anew)
    finally:
        print(workers.log("0")[-3_000:])


async def has_cut(proxy: Cutting, number: int) -> bool:
    return proxy.cut >= number


async def others_read_on(house: Reading) -> None:
    """Every partition that the stopped worker held is read by somebody else now."""

    async def moved_lately() -> bool:
        [row] = await house.rows("SELECT min(updated_at) > now() - interval '1 second' FROM checkpoint")
        return bool(row[0])

    await soon(moved_lately)


@pytest.mark.parametrize("seconds", [8.0, pytest.param(300.0, marks=pytest.mark.soak)])
async def test_a_slot_started_twice(house: Reading, workers: Workers, seconds: float) -> None:
    await start(workers, "0")
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        await asyncio.to_thread(workers.start, "twin", slot="0")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(workers.hold, "twin")
    print(f"seed {SEED}: {seconds:.0f} s in one slot under {load.judge()}")
    assert await violations(house) == []


@pytest.mark.parametrize("cuts", [10, pytest.param(300, marks=pytest.mark.soak)])
async def test_commits_that_are_made_and_never_answered(
    servers: Servers, house: Reading, workers: Workers, cuts: int
) -> None:
    async with cutting(servers.database_url) as (proxy, url):
        workers.settings = Settings(servers.kafka, url, house.prefix)
        await start(workers, "0")
        async with loaded(house, SEED) as load:
            await reading_everywhere(house)
            for nth in range(cuts):
                proxy.armed = 1
                await soon(partial(has_cut, proxy, nth + 1))
        print(f"seed {SEED}: {proxy.cut} commits without an answer under {load.judge()}")
        assert await violations(house) == []
        await asyncio.to_thread(workers.end)


@pytest.mark.parametrize("cuts", [20, pytest.param(500, marks=pytest.mark.soak)])
async def test_sessions_that_postgresql_ends_at_any_moment(house: Reading, workers: Workers, cuts: int) -> None:
    moments = random.Random(SEED)
    await start(workers, "0", "1")
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        for _ in range(cuts):
            await asyncio.sleep(moments.uniform(0.05, 0.4))
            async with house.engine.connect() as connection:
                await connection.execute(
                    text("""
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name LIKE 'counting%'""")
                )
    print(f"seed {SEED}: sessions ended {cuts} times under {load.judge()}")
    assert await violations(house) == []
