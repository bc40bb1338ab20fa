"""The relay between a real PostgreSQL and a real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from sqlalchemy import text

from chassis import relay as chassis_relay
from chassis.kafka import create_topics
from chassis.relay import Relay, TopicTooNarrow, message_bytes, outbox_health
from chassis.store import START, head_after
from contracts.access import OperatorActed
from contracts.event import Event, chained
from contracts.fact import Fact
from tests.support.published import Published, published, without_repeats
from tests.support.servers import Servers
from tests.support.writing import HOUSE, Take, Writing, command_key, rows_of, tables_verify, writing

TOPIC = "prescribing.events"


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Writing]:
    await create_topics(servers.kafka, own_prefix, 4)
    async with writing(servers, own_prefix) as found:
        yield found


@asynccontextmanager
async def relaying(house: Writing, servers: Servers, prefix: str, lease_s: float = 1.0) -> AsyncIterator[Relay]:
    relay = Relay(house.engine, servers.kafka, HOUSE, prefix=prefix, lease_s=lease_s)
    house.store.on_append(relay.wake)
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(true: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not await true():  # noqa: ASYNC110  It is the servers' state.
            await asyncio.sleep(0.02)


async def drained(house: Writing) -> None:
    async def empty() -> bool:
        return (await outbox_health(house.engine)).rows == 0

    await until(empty)


async def take(house: Writing, stream: str, *things: str) -> None:
    await house.handler().handle(await house.ask(Take(things), stream), command_key(f"{stream} {things}"))


def places(records: list[Published]) -> list[tuple[str, int, str]]:
    return sorted((record.key.decode(), record.sequence, record.named["ce_hash"]) for record in records)


async def test_what_is_published_is_what_is_kept_byte_for_byte(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    for nth in range(30):
        await take(house, f"p{nth % 7}", f"a{nth}", f"b{nth}")
    async with relaying(house, servers, own_prefix):
        await drained(house)

    records, repeats, wrong = without_repeats(await published(servers.kafka, own_prefix + TOPIC))

    assert (repeats, wrong) == (0, [])
    kept = {(row.stream, row.sequence): row for row in await tables_verify(house.engine, at_least=60)}
    assert len(records) == len(kept)
    for record in records:
        row = kept[record.key.decode(), record.sequence]
        assert (record.named, record.value) == (row.headers, row.value)
    ends: dict[bytes, bytes] = {}
    for record in records:  # And the chain holds for who has nothing but the topic.
        ends[record.key] = chained(ends.get(record.key, bytes(32)), record.named, record.value)
        assert record.named["ce_hash"] == ends[record.key].hex()


async def test_an_append_wakes_the_relay_of_its_process(
    house: Writing, servers: Servers, own_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis_relay, "POLL_MAX_S", 600.0)
    monkeypatch.setattr(chassis_relay, "POLL_MIN_S", 600.0)
    async with relaying(house, servers, own_prefix, lease_s=30.0):
        for nth in range(3):
            await take(house, "p", f"thing {nth}")
            await drained(house)


async def test_of_two_relays_one_works_and_the_other_takes_over_at_once_when_it_stops(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    async def holder() -> str | None:
        async with house.engine.connect() as session:
            found: str | None = await session.scalar(text("SELECT token FROM relay_lease WHERE expires > now()"))
            return found

    async with relaying(house, servers, own_prefix, lease_s=8.0) as second_to_stop:
        await take(house, "p", "a")
        await drained(house)
        async with relaying(house, servers, own_prefix, lease_s=8.0):
            assert await holder() == second_to_stop.token
    async with relaying(house, servers, own_prefix, lease_s=600.0) as third:
        await take(house, "p", "b")
        await drained(house)  # The lease was given back: nobody waits for it to run out.
        assert await holder() == third.token

    _, repeats, wrong = without_repeats(await published(servers.kafka, own_prefix + TOPIC))
    assert (repeats, wrong) == (0, [])


async def test_a_lease_of_a_relay_that_vanished_runs_out(house: Writing, servers: Servers, own_prefix: str) -> None:
    async with house.engine.begin() as tx:
        lost = text("INSERT INTO relay_lease VALUES (:house, 'gone', now() + interval '1 s')")
        await tx.execute(lost, {"house": HOUSE})
    await take(house, "p", "a")
    async with relaying(house, servers, own_prefix):
        await drained(house)


async def test_a_row_that_commits_late_with_a_lower_number_is_published_all_the_same(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    ask = await house.ask(Take(("a",)), "early")
    fact = OperatorActed(command="take", arguments=("a", "anybody"), why="needed")
    async with relaying(house, servers, own_prefix), house.engine.connect() as session:
        facts = house.store.write(START, ask, [fact], ask.now)
        await house.store.append(session, "early", START, facts, command_key("early"), b"{}")
        await take(house, "late", "a")  # A higher position, committed and published first.
        await drained(house)
        assert {r.key for r in await published(servers.kafka, own_prefix + TOPIC)} == {b"late"}

        await session.commit()
        await drained(house)
    assert {r.key for r in await published(servers.kafka, own_prefix + TOPIC)} == {b"early", b"late"}


async def enlarge(house: Writing, stream: str, sequence: int, blanks: int) -> None:
    """Make one event larger than any command could: as a row written under other limits might be. 0 undoes it."""
    larger = text("""
        UPDATE event SET value = rtrim(value, ' '::bytea) || convert_to(repeat(' ', :blanks), 'UTF8')
        WHERE stream = :stream AND sequence = :sequence""")
    async with house.engine.begin() as tx:
        await tx.execute(larger, {"blanks": blanks, "stream": stream, "sequence": sequence})


async def test_a_row_too_large_for_kafka_stops_its_own_patient_and_nobody_else(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    for nth in range(20):
        await take(house, f"p{nth % 4}", f"thing {nth}")
    await enlarge(house, "p1", 3, 2_000_000)

    async with relaying(house, servers, own_prefix):
        await until_left(house, 3)  # The large one and its patient's two later ones.
        await take(house, "p2", "later")
        await take(house, "p1", "later")
        await until_left(house, 4)

        health = await outbox_health(house.engine)
        assert (health.refused, health.oldest_age_s > 0) == (1, True)
        records, _, wrong = without_repeats(await published(servers.kafka, own_prefix + TOPIC))
        assert wrong == []
        assert {key: max(r.sequence for r in records if r.key == key) for key in {r.key for r in records}} == {
            b"p0": 5,
            b"p1": 2,
            b"p2": 6,
            b"p3": 5,
        }

        await enlarge(house, "p1", 3, 0)  # An operator mends the cause, and lets the patient go on.
        async with house.engine.begin() as tx:
            await tx.execute(text("DELETE FROM refused"))
        await drained(house)
    _, _, wrong = without_repeats(await published(servers.kafka, own_prefix + TOPIC))
    assert wrong == []


async def until_left(house: Writing, rows: int) -> None:
    async def left() -> bool:
        return (await outbox_health(house.engine)).rows == rows

    await until(left)


async def test_a_batch_that_kafka_refuses_whole_is_sent_one_by_one_to_find_the_row(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    """The topic was narrowed while the relay ran: it no longer takes what the relay checked at its start."""
    async with relaying(house, servers, own_prefix):
        await take(house, "p0", "first")
        await drained(house)
        await narrow(servers, own_prefix + TOPIC, 20_000)
        async with house.engine.begin() as tx:  # All in one round, for the relay to batch.
            for nth in range(40):
                ask = await house.ask(Take(()), f"p{nth}")
                why = "x" * (2_000 if nth != 7 else 1_999)
                facts = [OperatorActed(command="take", arguments=(why,) * (1 if nth != 7 else 15), why="needed")]
                head = START if nth else head_after((await house_tail(house, "p0"))[-1])
                written = house.store.write(head, ask, facts, ask.now)
                await house.store.append_all(tx, {f"p{nth}": (head, written)})
        await until_left(house, 1)
        assert (await outbox_health(house.engine)).refused == 1
    records, _, wrong = without_repeats(await published(servers.kafka, own_prefix + TOPIC))
    assert wrong == []
    assert {r.key.decode() for r in records} == {f"p{nth}" for nth in range(40) if nth != 7}


async def house_tail(house: Writing, stream: str) -> list[Event[Fact]]:
    async with house.store.single.connect() as session:
        return (await house.store.tails(session, {stream: START}))[stream] or []


async def narrow(servers: Servers, topic: str, size: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        changed = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})
        for answer in await admin.alter_configs([changed]):
            assert [resource[0] for resource in answer.resources] == [0]
    finally:
        await admin.close()

    async def known() -> bool:
        return (await message_bytes(servers.kafka, [topic]))[topic] == size

    await until(known)  # It takes the broker a moment.


async def test_a_relay_refuses_topics_that_take_less_than_it_may_send(
    house: Writing, servers: Servers, own_prefix: str
) -> None:
    await narrow(servers, own_prefix + TOPIC, 500_000)
    relay = Relay(house.engine, servers.kafka, HOUSE, prefix=own_prefix)
    async with asyncio.timeout(30):
        with pytest.raises(TopicTooNarrow, match="500000"):
            await relay.run()


async def test_a_round_that_fails_is_repeated_in_order_and_nothing_is_lost(
    house: Writing, servers: Servers, own_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka has everything, but what became of it is not known: the worst a broker's failure can leave."""
    failures = 3
    outcome = chassis_relay.Sending.outcome

    def unknown(sending: chassis_relay.Sending) -> Any:
        nonlocal failures
        if failures and sending.under_way:
            failures -= 1
            sending.failure = TimeoutError()
            return [], []
        return outcome(sending)

    monkeypatch.setattr(chassis_relay.Sending, "outcome", unknown)
    monkeypatch.setattr(chassis_relay, "BACK_OFF_MIN_S", 0.01)
    for nth in range(30):
        await take(house, f"p{nth % 3}", f"thing {nth}")
    async with relaying(house, servers, own_prefix):
        await drained(house)

    records, repeats, wrong = without_repeats(await published(servers.kafka, own_prefix + TOPIC))
    assert (repeats, wrong) == (90, [])
    assert places(records) == [(r.stream, r.sequence, r.hash.hex()) for r in await rows_of(house.engine)]


async def test_a_house_waits_for_topics_that_are_not_there_yet(servers: Servers, own_prefix: str) -> None:
    async with writing(servers, own_prefix) as house:
        await take(house, "p", "a")
        async with relaying(house, servers, own_prefix):
            await asyncio.sleep(0.3)  # It has looked, and found none.
            await create_topics(servers.kafka, own_prefix, 4)
            await drained(house)
