"""What tests of the reading side share: facts chained by hand and published as a relay would, and what came of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID, uuid5

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.assignment import Work
from chassis.checkpoints import Held
from chassis.consuming import Consumers
from chassis.database import create_engine, ensure_database, house_url
from chassis.documents import Documents
from chassis.kafka import create_producer, create_topics, topic_name
from chassis.migrations import migrate
from chassis.progress import Progress
from chassis.projecting import Folded, projecting
from chassis.receiving import Receiving
from contracts import topics
from contracts.access import OperatorActed
from contracts.event import CONTENT_TYPE, NO_HASH, attributes, chained
from contracts.fact import Fact
from contracts.topics import Topic
from tests.reference.counted import Fact as Counted
from tests.support.counting import HOUSE, Count, counting
from tests.support.servers import Servers

NAMES = UUID("5eed0000-0000-4000-8000-000000000001")
ACTOR = "c1000000-0000-4000-8000-000000000001"
AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TOPIC_OF: Mapping[str, Topic] = {
    "/patients": topics.PATIENTS,
    "/prescribing": topics.PRESCRIBING,
    "/therapy": topics.THERAPY,
}
PARTITIONS = 4


def patient(n: int) -> str:
    """The n-th patient's id."""
    return str(uuid5(NAMES, f"patient {n}"))


def operated(why: str = "well") -> OperatorActed:
    return OperatorActed(command="count", why=why)


@dataclass(frozen=True)
class Published:
    """One record as it goes to Kafka."""

    topic: Topic
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None
    timestamp_ms: int = int(AT.timestamp() * 1_000)

    @property
    def named(self) -> dict[str, str]:
        return {name: (value or b"").decode() for name, value in self.headers}

    @property
    def counted(self) -> Counted:
        named = self.named
        return named["ce_source"], named["ce_partitionkey"], int(named["ce_sequence"]), named["ce_hash"]

    def but(self, **headers: bytes | None) -> "Published":
        """The same with other headers; None leaves one out. Its hash is what it was."""
        kept = [(name, headers.get(name, value)) for name, value in self.headers]
        return replace(self, headers=tuple((name, value) for name, value in kept if value is not None))


@dataclass
class Chains:
    """Numbers and chains facts as the houses would."""

    heads: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)

    def next(self, source: str, key: str, fact: Fact | None = None) -> Published:
        """The next fact of a source for a patient."""
        sequence, previous = self.heads.get((source, key), (0, NO_HASH))
        record = made(source, key, sequence + 1, previous, fact or operated())
        self.heads[source, key] = sequence + 1, bytes.fromhex(record.named["ce_hash"])
        return record


def made(source: str, key: str, sequence: int, previous: bytes, fact: Fact, *, type: str | None = None) -> Published:
    """One fact at one place. `type` is another wire name than the fact's own."""
    value = fact.model_dump_json().encode()
    found = attributes(
        fact,
        id=uuid5(NAMES, f"{source} {key} {sequence} {value.hex()} {type}"),
        source=source,
        key=key,
        sequence=sequence,
        occurred_at=AT,
        recorded_at=AT,
        actor=ACTOR,
        actor_role="operator",
        reason="SYSADMIN",
        correlation_id=uuid5(NAMES, key),
        causation_id=None,
        on_behalf_of=None,
    )
    if type:
        found["ce_type"] = type
    found["ce_hash"] = chained(previous, found, value).hex()
    found["content-type"] = CONTENT_TYPE
    return Published(
        TOPIC_OF[source], key.encode(), tuple((name, text.encode()) for name, text in found.items()), value
    )


class Stopped(Exception):
    """Raised in place of ending the test's own process."""


def stop(reason: str) -> NoReturn:
    raise Stopped(reason)


@dataclass
class Reading:
    """A reading house: a database, topics, and a producer to feed them."""

    servers: Servers
    prefix: str
    url: str
    engine: AsyncEngine
    producer: AIOKafkaProducer
    chains: Chains = field(default_factory=Chains)
    published: list[Published] = field(default_factory=list)

    async def publish(self, *records: Published) -> None:
        """In this order; acknowledged when it returns. They are expected to be applied."""
        await self.producer_sends(*records)
        self.published.extend(records)

    async def producer_sends(self, *records: Published) -> None:
        """In this order; nothing is expected of them."""
        sent = [
            await self.producer.send(
                topic_name(self.prefix, record.topic), record.value, key=record.key, headers=list(record.headers)
            )
            for record in records
        ]
        await asyncio.gather(*sent)

    async def tell(self, source: str, key: str, *facts: Fact) -> Sequence[Published]:
        """The next facts of a source for a patient, published."""
        records = [self.chains.next(source, key, fact) for fact in facts or (operated(),)]
        await self.publish(*records)
        return records

    def counting(self, **options: Any) -> Receiving[Folded[Count]]:
        projection = counting()
        return projecting(self.engine, projection, documents=Documents(self.engine, projection), **options)

    @asynccontextmanager
    async def consuming(self, *works: Work, slot: str = "0") -> AsyncIterator[Consumers]:
        """These works at work in this process."""
        for work in works:
            await work.prepare()
        consumers = Consumers(self.servers.kafka, HOUSE, works, prefix=self.prefix, slot=slot, stop=stop)
        await consumers.start()
        try:
            yield consumers
        finally:
            await consumers.stop()

    async def applied(self, *works: Work, within_s: float = 60.0) -> None:
        """Wait until nothing that is in Kafka now waits any more."""
        progress = Progress(self.engine, self.servers.kafka, works, prefix=self.prefix)
        await progress.start()
        try:
            await soon(lambda: caught_up(progress), within_s)
        finally:
            await progress.stop()

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.engine.connect() as connection:
            return list(await connection.execute(text(statement), values))

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.engine.begin() as tx:
            await tx.execute(text(statement), values)

    async def emptied(self) -> "Reading":
        """The same house as if nothing had ever been read, for the next test."""
        tables = await self.rows("""
            SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
            WHERE schemaname LIKE 'counting_v%'
               OR tablename IN ('checkpoint', 'seen', 'blocked', 'parked', 'projection', 'skipped_type',
                                'refused_reaction', 'event', 'command', 'outbox')""")
        await self.execute(f"TRUNCATE {', '.join(row.name for row in tables)}")
        self.chains = Chains()
        self.published.clear()
        return self

    async def counted(self) -> list[Counted]:
        """Every application of every fact."""
        rows = await self.rows("SELECT source, key, sequence, line FROM counting_v1.entry")
        return sorted((row.source, row.key, row.sequence, row.line) for row in rows)

    async def documents(self) -> dict[str, bytes]:
        rows = await self.rows("SELECT key, document FROM counting_v1.document WHERE document IS NOT NULL")
        return {row.key: row.document for row in rows}


@asynccontextmanager
async def reading(
    servers: Servers, prefix: str, *, database_url: str | None = None, topics_too: bool = True
) -> AsyncIterator[Reading]:
    """An empty house under a prefix of its own. Without topics, it can only be fed."""
    url = house_url(database_url or servers.database_url, prefix, HOUSE)
    await ensure_database(url)
    if topics_too:
        await create_topics(servers.kafka, prefix, PARTITIONS)
    engine = create_engine(url, application="test reading")
    producer = create_producer(servers.kafka)
    await producer.start()
    try:
        await migrate(engine, HOUSE, None, simulated=False)
        yield Reading(servers, prefix, url, engine, producer)
    finally:
        await producer.stop()
        await engine.dispose()


async def caught_up(progress: Progress) -> bool:
    return await progress.lag() == 0


async def soon(check: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    """Ask until the answer is yes. Raises AssertionError when it never is."""
    until = time.monotonic() + within_s
    while not await check():
        assert time.monotonic() < until, f"not within {within_s:.0f} s"
        await asyncio.sleep(0.02)


class Feed:
    """Hands records to a work as the loop would, all in partition 0, without a Kafka in between."""

    def __init__(self, work: Receiving[Any]) -> None:
        self.work = work
        self.held: dict[TopicPartition, Held] = {}

    async def claim(self) -> None:
        partitions = [TopicPartition(topic.name, 0) for topic in self.work.topics]
        await self.work.prepare()
        self.held = dict(await self.work.claim(partitions, "cluster"))

    async def __call__(self, *records: Published) -> None:
        """One batch, in this order in each topic."""
        if not self.held:
            await self.claim()
        batch: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = {}
        for record in records:
            partition = TopicPartition(record.topic.name, 0)
            fetched = batch.setdefault(partition, [])
            fetched.append(as_fetched(record, self.held[partition].next_offset + len(fetched)))
        await self.work.apply(batch, self.held)
        for partition, fetched in batch.items():
            self.held[partition] = Held(fetched[-1].offset + 1, self.held[partition].epoch)


def as_fetched(record: Published, offset: int) -> "ConsumerRecord[Any, Any]":
    return ConsumerRecord(
        topic=record.topic.name,
        partition=0,
        offset=offset,
        timestamp=record.timestamp_ms,
        timestamp_type=0,
        key=record.key,
        value=record.value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=record.headers,
    )


def facts_of(records: Iterable[Published]) -> list[Counted]:
    """Each fact that was published, once."""
    return sorted({record.counted for record in records})
