"""Facts that cannot be applied arrive under load: they wait with those behind them, and nobody else does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from contracts.event import NO_HASH
from tests.reference.counted import documents, sections_of
from tests.support.counting import Settings
from tests.support.reading import Published, Reading, facts_of, made, operated, patient, reading, soon
from tests.support.servers import Servers
from tests.support.workers import Workers, loaded, reading_everywhere, violations

SEED = 20_261_126
BEHIND = 5
POISONED = 1_000  # Numbers of patients whom the load does not touch.


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, own_prefix) as found:
        yield found


@pytest.fixture
async def workers(servers: Servers, house: Reading) -> AsyncIterator[Workers]:
    found = Workers(servers, Settings(servers.kafka, servers.database_url, house.prefix))
    try:
        await asyncio.to_thread(found.start, "0")
        yield found
    finally:
        await asyncio.to_thread(found.end)


Spoil = Callable[[Published], Published]
KINDS: dict[str, tuple[str, Spoil]] = {
    "bytes that are no JSON": ("well", lambda fact: replace(fact, value=b"\xff\x00{")),
    "no headers": ("well", lambda fact: replace(fact, headers=())),
    "a version that nobody knows": ("well", lambda fact: fact.but(ce_type=b"access.operator-acted.v9")),
    "a field that is not valid": ("well", lambda fact: replace(fact, value=b'{"command": "count", "why": []}')),
    "a fold that raises": ("raises", lambda fact: fact),
}


async def test_five_kinds_of_poison_hold_up_their_own_patients_alone(house: Reading, workers: Workers) -> None:
    spoiled: list[Published] = []
    applied: list[Published] = []
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        for n, (why, spoil) in enumerate(KINDS.values()):
            key = patient(POISONED + n)
            before = house.chains.next("/therapy", key)
            right = house.chains.next("/therapy", key, operated(why))
            behind = [house.chains.next("/therapy", key) for _ in range(BEHIND)]
            other = house.chains.next("/patients", key)
            await house.producer_sends(before, spoil(right), *behind, other)
            spoiled.append(right)
            applied += [before, other]
        await asyncio.sleep(3.0)
    print(f"seed {SEED}: {len(KINDS)} kinds of poison under {load.judge()}")
    house.published.extend(applied)
    found = await violations(house)
    assert [one for one in found if not one.startswith("set aside: ")] == []
    assert len(found) == len(KINDS) * (1 + BEHIND)

    # The owner publishes again what had no headers; nothing else heals by itself.
    kinds = list(KINDS)
    without_headers = kinds.index("no headers")
    await house.publish(spoiled[without_headers])
    key = patient(POISONED + without_headers)

    async def healed() -> bool:
        return not await house.rows("SELECT 1 FROM blocked WHERE key = :key", key=key)

    await soon(healed)
    [row] = await house.rows("SELECT document FROM counting_v1.document WHERE key = :key", key=key)
    assert sections_of(row.document)["/therapy"]["last"] == 2 + BEHIND
    assert len(await house.rows("SELECT 1 FROM blocked")) == len(KINDS) - 1


async def test_lost_facts_that_are_published_later_are_applied_in_their_places(
    house: Reading, workers: Workers
) -> None:
    """A gap for one patient, then the missing ones, long after: everything heals by itself."""
    key = patient(POISONED)
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        facts = [house.chains.next("/therapy", key) for _ in range(10)]
        await house.publish(*facts[:2], *facts[4:6], *facts[7:])
        await asyncio.sleep(1.0)

        async def blocked() -> bool:
            return [row.key for row in await house.rows("SELECT key FROM blocked")] == [key]

        await soon(blocked)
        await house.publish(facts[6], facts[2])
        await asyncio.sleep(0.5)
        await house.publish(facts[3])
        await asyncio.sleep(2.0)
    print(f"seed {SEED}: a gap under {load.judge()}")
    assert await violations(house) == []


async def test_a_fork_is_found_and_nothing_of_it_is_applied(house: Reading, workers: Workers) -> None:
    key = patient(POISONED)
    async with loaded(house, SEED) as load:
        await reading_everywhere(house)
        facts = [house.chains.next("/therapy", key) for _ in range(4)]
        forked = made("/therapy", key, 2, NO_HASH, operated("forked"))
        await house.publish(*facts[:2])
        await house.producer_sends(forked, *facts[2:])
        await asyncio.sleep(3.0)
    print(f"seed {SEED}: a fork under {load.judge()}")
    found = await violations(house)
    assert [one.split()[-2:] for one in found] == [["2", "fork"], ["3", "behind"], ["4", "behind"]]
    assert documents(facts_of(house.published))[key]["/therapy"] is not None


async def test_many_patients_poisoned_at_once_stop_the_worker(house: Reading, workers: Workers) -> None:
    await reading_everywhere(house)
    poisoned = [house.chains.next("/therapy", patient(POISONED + n), operated("raises")) for n in range(400)]
    await house.producer_sends(*poisoned)

    async def stopped() -> bool:
        return "too_many_blocked" in workers.log("0")

    await soon(stopped)
    [row] = await house.rows("SELECT count(*) FROM blocked")
    assert row[0] <= workers.settings.most_blocked
