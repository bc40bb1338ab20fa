"""Processes that append are killed at any point, and backends under them; each asks again for what it got no reply to.

Every command is then in the table once, under the sequence that its reply named, in a chain without a gap.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from tests.support.servers import Servers
from tests.support.writing import Writing, tables_verify, writing
from tests.support.writing_processes import processes

SEED = 20_261_123
CLIENTS, STREAMS = 4, 5
LEAST_FACTS, LEAST_RATE = 1_000, 100.0
TERMINATE = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'test client' ORDER BY random() LIMIT 1""")


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Writing]:
    async with writing(servers, own_prefix) as found:
        yield found


async def test_ten_kills_of_appending_processes(house: Writing, tmp_path: Path) -> None:
    await killed_while_appending(house, tmp_path, kills=10)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_a_hundred_kills_of_appending_processes(house: Writing, tmp_path: Path) -> None:
    await killed_while_appending(house, tmp_path, kills=100)


async def killed_while_appending(house: Writing, folder: Path, kills: int) -> None:
    random = Random(SEED)
    told = Path(folder)
    several = [("client", f"c{number}", house.url, str(STREAMS), str(folder)) for number in range(CLIENTS)]
    with processes(*several) as clients:
        await until_told(told, CLIENTS)
        began = time.monotonic()
        for _ in range(kills):
            await asyncio.sleep(random.uniform(0.1, 0.6))
            random.choice(clients).kill()
            async with house.store.single.connect() as session:
                await session.execute(TERMINATE)
        taken_s = time.monotonic() - began
        rate = len(replies(told)) / taken_s  # Of commands whose replies arrived.
        await until_told(told, LEAST_FACTS)

    rows = await tables_verify(house.engine, at_least=LEAST_FACTS)
    print(f"\n{kills} kills in {taken_s:.0f} s under {rate:.0f} commands/s, seed {SEED}: {len(rows)} facts")
    things = [(row.stream, json.loads(row.value)["arguments"][0]) for row in rows]
    assert len(things) == len(set(things))
    ids = {(row.stream, row.sequence): str(row.id) for row in rows}
    answered = replies(told)
    for stream, reply in answered:
        assert [ids[stream, fact["sequence"]] for fact in reply["facts"]] == [fact["id"] for fact in reply["facts"]]
    # The last command of a client may have been appended when its process ended, before the reply was written down.
    assert 0 <= len(rows) - len(answered) <= CLIENTS
    assert rate >= LEAST_RATE


async def until_told(folder: Path, least: int) -> None:
    async with asyncio.timeout(120):
        while len(replies(folder)) < least:  # noqa: ASYNC110  They are other processes' files.
            await asyncio.sleep(0.1)


def replies(folder: Path) -> list[tuple[str, dict[str, list[dict[str, str]]]]]:
    """Every reply that a client wrote down: the stream, and the JSON it was answered with."""
    lines = [line for file in folder.iterdir() for line in file.read_text("utf-8").splitlines(keepends=True)]
    whole = [line.split(" ", 1) for line in lines if line.endswith("\n")]
    return [(stream, json.loads(reply)) for stream, reply in whole]
