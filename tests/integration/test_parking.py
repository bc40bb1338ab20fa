"""What was set aside is applied in order once it can be: by itself, or redriven."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka import TopicPartition

from chassis.receiving import Redriven
from tests.reference.counted import documents, sections_of
from tests.support.reading import Feed, Published, Reading, facts_of, operated, patient, reading
from tests.support.servers import Servers

ANA, BO = patient(1), patient(2)


@pytest.fixture(scope="module")
async def shared(servers: Servers, prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, f"{prefix}parking_", topics_too=False) as found:
        yield found


@pytest.fixture
async def house(shared: Reading) -> Reading:
    return await shared.emptied()


@pytest.fixture
def feed(house: Reading) -> Feed:
    return Feed(house.counting())


async def counts(house: Reading, *expected: Published) -> None:
    wanted = facts_of(expected)
    assert await house.counted() == wanted
    found = {key: sections_of(document) for key, document in (await house.documents()).items()}
    assert found == documents(wanted)


async def sequences(house: Reading) -> list[tuple[int, str, int]]:
    rows = await house.rows("SELECT sequence, reason, attempts FROM parked ORDER BY source, sequence")
    return [(row.sequence, row.reason, row.attempts) for row in rows]


async def test_once_the_fold_is_mended_what_waited_is_applied_in_order(
    house: Reading, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, raising, third = (house.chains.next("/patients", ANA, operated(why)) for why in ("well", "raises", "well"))
    others = [house.chains.next("/therapy", ANA), house.chains.next("/patients", BO)]
    await feed(first, raising, third, *others)
    monkeypatch.setenv("MENDED", "yes")

    assert await feed.work.redrive(ANA) == Redriven(applied=2, left=0)
    await counts(house, first, raising, third, *others)
    assert await house.rows("SELECT * FROM blocked") == []
    [row] = await house.rows("SELECT stale_since FROM counting_v1.document WHERE key = :key", key=ANA)
    assert row.stale_since is None

    fourth = house.chains.next("/patients", ANA)
    await feed(fourth)
    await counts(house, first, raising, third, fourth, *others)


async def test_redriving_what_is_not_mended_changes_nothing_but_the_attempts(house: Reading, feed: Feed) -> None:
    first, raising, third = (house.chains.next("/patients", ANA, operated(why)) for why in ("well", "raises", "well"))
    await feed(first, raising, third)
    assert await feed.work.redrive(ANA) == Redriven(applied=0, left=2)
    await counts(house, first)
    assert await sequences(house) == [(2, "fault", 2), (3, "behind", 1)]


async def test_redriving_stops_each_source_at_its_own_first_failure(
    house: Reading, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising = house.chains.next("/patients", ANA, operated("raises"))
    refused = house.chains.next("/therapy", ANA, operated("nul"))
    behind = house.chains.next("/therapy", ANA)
    await feed(raising, refused, behind)
    monkeypatch.setenv("MENDED", "yes")
    assert await feed.work.redrive(ANA) == Redriven(applied=1, left=2)
    await counts(house, raising)
    assert [row.source for row in await house.rows("SELECT source FROM blocked")] == ["/therapy"]


async def test_a_fact_that_arrives_during_a_redrive_keeps_its_place(
    house: Reading, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = [house.chains.next("/patients", ANA, operated("raises" if n == 0 else "well")) for n in range(30)]
    await feed(*facts[:15])
    monkeypatch.setenv("MENDED", "yes")
    await asyncio.gather(feed.work.redrive(ANA), feed(*facts[15:]))
    await feed.work.redrive(ANA)
    await counts(house, *facts)


async def test_a_record_that_can_never_be_placed_is_left_and_the_patient_goes_on(house: Reading, feed: Feed) -> None:
    junk = replace(house.chains.next("/patients", ANA), headers=())
    house.chains.heads.clear()
    await feed(junk)
    assert await feed.work.redrive(ANA) == Redriven(applied=0, left=1)
    assert await house.rows("SELECT * FROM blocked") == []


async def test_a_history_that_is_read_again_from_the_start_sets_nothing_aside_twice(house: Reading, feed: Feed) -> None:
    first, raising, third = (house.chains.next("/patients", ANA, operated(why)) for why in ("well", "raises", "well"))
    await feed(first, raising, third)
    await house.execute("UPDATE checkpoint SET next_offset = 0")
    partition = TopicPartition("patients.events", 0)
    feed.held[partition] = feed.held[partition]._replace(next_offset=0)
    await feed(first, raising, third)
    await counts(house, first)
    assert await sequences(house) == [(2, "fault", 1), (3, "behind", 1)]
