"""PostgreSQL is killed under the workers, and a view is restored from a backup while facts go on coming."""

import asyncio
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.local import Stack
from tests.support.counting import Settings
from tests.support.reading import Reading, reading
from tests.support.servers import Servers
from tests.support.workers import Workers, loaded, reading_everywhere, violations

SEED = 20_261_125


@dataclass(frozen=True)
class Own:
    """A PostgreSQL that nobody else uses, so that it may be killed."""

    stack: Stack
    url: str


@pytest.fixture(scope="module")
def own(servers: Servers) -> Iterator[Own]:
    stack = Stack(Path(tempfile.mkdtemp(prefix="tandem-test-")))
    found = stack.up(parts=["postgres"], with_me=True, discard=True)
    try:
        yield Own(stack, found["DATABASE_URL"])
    finally:
        stack.down()


@pytest.fixture
async def house(servers: Servers, own: Own, own_prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, own_prefix, database_url=own.url) as found:
        yield found


@pytest.fixture
async def workers(servers: Servers, own: Own, house: Reading) -> AsyncIterator[Workers]:
    found = Workers(servers, Settings(servers.kafka, own.url, house.prefix))
    try:
        yield found
    finally:
        await asyncio.to_thread(found.end)


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.soak)])
async def test_postgresql_killed_under_load_with_commits_that_are_lost(
    own: Own, house: Reading, workers: Workers, kills: int
) -> None:
    """Commits of a projection are not waited for on disk: offsets and documents must be lost together."""
    moments = random.Random(SEED)
    for process in ("0", "1"):
        await asyncio.to_thread(workers.start, process)
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        for _ in range(kills):
            await asyncio.sleep(moments.uniform(0.5, 2.5))
            await asyncio.to_thread(own.stack.signal, "postgres", signal.SIGKILL)
            await asyncio.to_thread(own.stack.until_healthy, "postgres")
        await asyncio.sleep(1.5)
    print(f"seed {SEED}: PostgreSQL killed {kills} times under {load.judge()}")
    assert await violations(house) == []


async def restored(house: Reading) -> None:
    """The view and its offsets, as they were before the first fact."""
    async with house.engine.begin() as tx:
        await tx.exec_driver_sql("LOCK TABLE checkpoint IN EXCLUSIVE MODE")  # Between two batches, as a restore is.
        await tx.exec_driver_sql("UPDATE checkpoint SET next_offset = 0")
        await tx.exec_driver_sql("TRUNCATE counting_v1.document, counting_v1.entry")


async def restored_under_load(house: Reading, workers: Workers, restores: int) -> str:
    """Sets offsets back while workers write; what the load was."""
    workers.settings = replace(workers.settings, most_blocked=1_000)  # Gaps would stop a worker: another safety net.
    await asyncio.to_thread(workers.start, "0")
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        for _ in range(restores):
            await asyncio.sleep(1.7)
            await restored(house)
        await asyncio.sleep(1.0)
    return load.judge()


@pytest.mark.parametrize("restores", [2, pytest.param(30, marks=pytest.mark.soak)])
async def test_a_view_restored_under_load_catches_up(house: Reading, workers: Workers, restores: int) -> None:
    print(f"seed {SEED}: restored {restores} times under {await restored_under_load(house, workers, restores)}")
    assert await violations(house) == []


async def test_the_judge_finds_out_a_worker_that_moves_offsets_without_looking(
    house: Reading, workers: Workers
) -> None:
    """The same restore with the compare-and-set taken out: facts are lost, and it is seen."""
    workers.module = "tests.support.blind_counting"
    await restored_under_load(house, workers, 2)
    found = await violations(house)
    assert any(violation.startswith("lost: ") for violation in found)
