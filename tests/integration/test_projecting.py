"""A projection as its readers see it: documents, timelines, waiting, versions, and how far behind it is."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from chassis.documents import Documents, NotLive
from chassis.kafka import create_topics
from chassis.position import Position
from chassis.progress import Progress
from chassis.projecting import Projection, projecting
from tests.reference.counted import documents
from tests.support.counting import Count, counting
from tests.support.reading import PARTITIONS, Feed, Reading, facts_of, operated, patient, reading, soon
from tests.support.servers import Servers

ANA, BO = patient(1), patient(2)


@pytest.fixture(scope="module")
async def shared(servers: Servers, prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, f"{prefix}projecting_", topics_too=False) as found:
        yield found


@pytest.fixture
async def house(shared: Reading) -> Reading:
    return await shared.emptied()


@pytest.fixture
def shown(house: Reading) -> Documents[Count]:
    return Documents(house.engine, counting())


@pytest.fixture
def feed(house: Reading, shown: Documents[Count]) -> Feed:
    return Feed(projecting(house.engine, counting(), documents=shown))


async def test_a_document_tells_what_it_has_seen(house: Reading, shown: Documents[Count], feed: Feed) -> None:
    facts = [house.chains.next(source, ANA) for source in ("/patients", "/therapy", "/patients")]
    await feed(*facts)
    found = await shown.get(ANA)
    assert found is not None
    assert found.seen == {"/patients": 2, "/therapy": 1}
    assert found.stale_since is None
    assert {source: section.facts for source, section in found.document.sections.items()} == found.seen
    assert await shown.get(BO) is None


async def test_a_patient_of_whom_nothing_could_be_applied_is_shown_as_stale(
    house: Reading, shown: Documents[Count], feed: Feed
) -> None:
    await feed(house.chains.next("/patients", ANA, operated("raises")))
    found = await shown.get(ANA)
    assert found is not None
    assert found.document == Count()
    assert found.stale_since is not None


async def test_the_timeline_is_paged_from_the_newest_on(house: Reading, shown: Documents[Count], feed: Feed) -> None:
    facts = [house.chains.next(source, ANA) for _ in range(5) for source in ("/patients", "/therapy")]
    await feed(*facts, house.chains.next("/patients", BO))
    seen: list[tuple[str, int]] = []
    before = None
    while True:
        page = await shown.entries(ANA, before=before, limit=3)
        seen += [(entry.source, entry.sequence) for entry in page.entries]
        if (before := page.before) is None:
            break
    assert seen == sorted({(fact.counted[0], fact.counted[2]) for fact in facts}, reverse=True)
    assert (await shown.entries(ANA, kind="counted")).before is None
    assert (await shown.entries(ANA, kind="other")).entries == []


@pytest.mark.parametrize("cursor", ["", "x", "e30=", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwieCIsMSwxXQ=="])
async def test_a_cursor_that_is_none_is_refused(shown: Documents[Count], feed: Feed, cursor: str) -> None:
    await feed.claim()
    with pytest.raises(ValueError, match="not a cursor"):
        await shown.entries(ANA, before=cursor)


async def test_who_waits_is_woken_by_the_commit(house: Reading, shown: Documents[Count], feed: Feed) -> None:
    await feed.claim()
    after = [Position("patients", 1), Position("therapy", 1)]
    waiting = asyncio.create_task(shown.wait(ANA, after, 20.0))
    await feed(house.chains.next("/patients", ANA))
    assert not waiting.done()
    await feed(house.chains.next("/therapy", ANA))
    assert await waiting
    assert await shown.wait(ANA, after, 0.0)
    assert await shown.wait(ANA, [], 0.0)
    assert not await shown.wait(ANA, [Position("patients", 2)], 0.05)
    assert shown.arrivals.waiting == {}


async def test_who_waits_in_another_process_sees_it_too(house: Reading, feed: Feed) -> None:
    await feed.claim()
    elsewhere = Documents(house.engine, counting())
    waiting = [asyncio.create_task(elsewhere.wait(key, [Position("patients", 1)], 20.0)) for key in (ANA, BO)]
    await asyncio.sleep(0.05)
    await feed(house.chains.next("/patients", ANA), house.chains.next("/patients", BO))
    assert await asyncio.gather(*waiting) == [True, True]


async def test_who_waits_for_a_blocked_patient_is_answered_at_once(
    house: Reading, shown: Documents[Count], feed: Feed
) -> None:
    await feed.claim()
    waiting = asyncio.create_task(shown.wait(ANA, [Position("patients", 2)], 3_600.0))
    await asyncio.sleep(0)
    await feed(house.chains.next("/patients", ANA, operated("raises")))
    assert not await waiting


async def test_two_versions_are_kept_beside_each_other_and_readers_use_the_live_one(
    house: Reading, shown: Documents[Count], feed: Feed
) -> None:
    facts = [house.chains.next("/patients", ANA) for _ in range(4)]
    await feed(*facts[:2])
    second: Projection[Count] = replace(counting(), version=2)
    beside = Feed(projecting(house.engine, second))
    await beside(*facts)
    await feed(*facts[2:])
    [one] = await house.rows("SELECT document FROM counting_v1.document")
    [two] = await house.rows("SELECT document FROM counting_v2.document")
    assert one == two
    assert (await shown.get(ANA)) is not None
    with pytest.raises(NotLive):
        await Documents(house.engine, second).get(ANA)


async def test_several_processes_may_prepare_at_once(servers: Servers, own_prefix: str) -> None:
    async with reading(servers, own_prefix, topics_too=False) as house:
        await asyncio.gather(
            *(house.counting().prepare() for _ in range(8)),
            *(create_topics(servers.kafka, own_prefix, PARTITIONS) for _ in range(3)),
        )


def test_a_projection_that_names_no_fact_is_refused() -> None:
    with pytest.raises(ValueError, match="no such fact"):
        replace(counting(), types=frozenset({"patients.moon-seen.v1"}))
    with pytest.raises(ValueError, match="cannot name a schema"):
        replace(counting(), name="x; DROP TABLE event")


async def test_lag_is_exact_and_age_tells_how_old_what_is_shown_may_be(servers: Servers, own_prefix: str) -> None:
    async with reading(servers, own_prefix) as house:
        await behind_and_fresh(house)


async def behind_and_fresh(house: Reading) -> None:
    work = house.counting()
    progress = Progress(house.engine, house.servers.kafka, [work], prefix=house.prefix)
    await progress.start()
    try:
        assert await progress.lag() == 0
        for n in range(7):
            await house.tell("/patients", patient(n))
        assert await progress.lag() == 7  # Nobody has claimed anything yet.
        async with house.consuming(work):
            await house.applied(work)
            assert await progress.lag() == 0

            async def fresh() -> bool:
                return progress.age_s("counting") < 5.0

            await soon(fresh)
        await house.tell("/patients", patient(1))
        await house.tell("/patients", patient(1))
        assert await progress.lag() == 2
        fresh_at = progress.works["counting"].fresh_at

        async def grows() -> bool:
            return progress.age_s("counting") > 3.0

        await soon(grows)
        assert progress.works["counting"].fresh_at - fresh_at < 1.0  # At most by a look that was under way.
    finally:
        await progress.stop()


async def test_whatever_way_topics_interleave_the_documents_are_the_same(
    servers: Servers, own_prefix: str, house: Reading, feed: Feed
) -> None:
    facts = [house.chains.next(source, ANA) for _ in range(6) for source in ("/patients", "/therapy", "/prescribing")]
    await feed(*facts)
    by_source: dict[str, list[Any]] = {}
    for fact in facts:
        by_source.setdefault(fact.counted[0], []).append(fact)
    async with reading(servers, f"{own_prefix}other_", topics_too=False) as other:
        elsewhere = Feed(other.counting())
        for _, told in sorted(by_source.items(), reverse=True):
            await elsewhere(*told)
        assert await other.documents() == await house.documents()
        assert await other.counted() == await house.counted() == facts_of(facts)
        assert set(documents(facts_of(facts))) == {ANA}
