"""Publishes what was appended: the bytes and headers as they are kept, each key's events in their order.

There is no cursor that could pass a row which commits late: a relay reads what is there, oldest first, and deletes
what Kafka has acknowledged. One relay of a house works at a time, by a lease. After a failure or a takeover events
may go out twice (5 6 7 5 6 7), never out of order: readers drop what they have seen.

An event that Kafka refuses for good stops its own stream, loudly, and nobody else's.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.topics import TOPICS

from .database import DATABASE_ERRORS, is_transient
from .kafka import MAX_BATCH_BYTES, MAX_REQUEST_BYTES, create_producer, topic_name
from .metrics import PUBLISHED

log = structlog.get_logger()

LEASE = text("""
    INSERT INTO relay_lease (house, token, expires)
    VALUES (:house, :token, now() + CAST(:lease_s AS float8) * interval '1 s')
    ON CONFLICT (house) DO UPDATE SET token = excluded.token, expires = excluded.expires
    WHERE relay_lease.token = excluded.token OR relay_lease.expires < now() RETURNING house""")
GIVE_BACK = text("DELETE FROM relay_lease WHERE house = :house AND token = :token")
# Without refused streams: a thousand rows of one would hide everybody else's. LIMIT 1 keeps the planner from reading
# the whole event table whatever it believes of the outbox's size. The first row always comes, however large.
NEXT = text("""
    SELECT position, stream, topic, headers, value
    FROM (SELECT o.position, o.stream, o.topic, e.headers, e.value,
                 sum(octet_length(e.value)) OVER (ORDER BY o.position) - octet_length(e.value) AS bytes_before
          FROM (SELECT position, stream, sequence, topic FROM outbox AS waiting
                WHERE NOT EXISTS (SELECT FROM refused WHERE refused.stream = waiting.stream)
                ORDER BY position LIMIT :rows) AS o
          CROSS JOIN LATERAL (SELECT headers, value FROM event
                              WHERE event.stream = o.stream AND event.sequence = o.sequence LIMIT 1) AS e) AS page
    WHERE bytes_before < :bytes ORDER BY position""")
# Acknowledged: safe without the lease.
DONE = text("DELETE FROM outbox WHERE position = ANY(CAST(:sent AS bigint[]))")
REFUSE = text("""
    INSERT INTO refused (stream, position, reason) VALUES (:stream, :position, 'too large') ON CONFLICT DO NOTHING""")
HEALTH = text("""
    SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM refused),
           coalesce((SELECT extract(epoch FROM clock_timestamp() - queued_at)
                     FROM outbox ORDER BY position LIMIT 1), 0)""")

PAGE_ROWS = 1_000
PAGE_BYTES = 16 * 1024 * 1024  # What a relay holds in memory, whatever the size of the facts.
POLL_MIN_S, POLL_MAX_S = 0.005, 0.05  # For what other processes append; this one's appends wake it.
BACK_OFF_MIN_S, BACK_OFF_MAX_S = 0.1, 5.0
STOP_S = 5.0  # A producer's stop() waits for Kafka, for ever if need be.


class Unsettled(Exception):
    """Some rows were neither acknowledged nor refused: go on with a new producer, from the first row that is left."""

    def __init__(self, alone: bool) -> None:
        super().__init__(alone)
        self.alone = alone  # A batch was refused whole: send one by one, to find out whose fault it is.


class TopicTooNarrow(Exception):
    """A topic takes less than a producer may send: whole batches would be refused. `args[0]` says which."""


@dataclass(frozen=True)
class OutboxHealth:
    """How much is not published yet. `refused` streams wait for an operator."""

    rows: int
    refused: int
    oldest_age_s: float


class Relay:
    """Publishes one house's events. Several may run; one works."""

    def __init__(
        self, engine: AsyncEngine, bootstrap_servers: str, house: str, *, prefix: str = "", lease_s: float = 10.0
    ) -> None:
        """`lease_s` is how long the others wait for a relay that was killed, and how long one round may take."""
        self.single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.bootstrap_servers = bootstrap_servers
        self.house = house
        self.prefix = prefix
        self.lease_s = lease_s
        self.token = str(uuid4())
        self.renew_at_s = float("-inf")  # Of the monotonic clock.
        self.appended = asyncio.Event()

    def wake(self) -> None:
        """Something was appended in this process."""
        self.appended.set()

    async def run(self) -> NoReturn:
        """Publish until cancelled. Raises TopicTooNarrow rather than crawl."""
        alone = checked = False
        back_off_s = BACK_OFF_MIN_S
        try:
            while True:
                began_s = time.monotonic()
                try:
                    if not checked:
                        await self.check_topics()
                        checked = True
                    async with self.producing() as producer:
                        await self.publish(producer, alone)
                except Unsettled as unsettled:
                    alone = alone or unsettled.alone
                except KafkaError as error:
                    log.warning("relay_lost_kafka", house=self.house, error=type(error).__name__)
                except DATABASE_ERRORS as error:
                    if not is_transient(error):
                        raise
                    log.warning("relay_lost_database", house=self.house, error=type(error).__name__)
                lasted = time.monotonic() - began_s > BACK_OFF_MAX_S
                back_off_s = BACK_OFF_MIN_S if lasted else min(2 * back_off_s, BACK_OFF_MAX_S)
                await asyncio.sleep(back_off_s)
        finally:
            await self.give_back()

    async def publish(self, producer: AIOKafkaProducer, alone: bool) -> NoReturn:
        """Round after round, for as long as nothing goes wrong. `alone` is for one round that found something."""
        pause_s = POLL_MIN_S
        while True:
            if not await self.leased():
                await asyncio.sleep(self.lease_s / 4)
                continue
            self.appended.clear()  # Before reading: what is appended from here on wakes us.
            async with self.single.connect() as session:
                rows = (await session.execute(NEXT, {"rows": PAGE_ROWS, "bytes": PAGE_BYTES})).all()
            if rows:
                await self.settle(rows, Sending(producer, self.prefix, alone, self.lease_s))
                alone = False
                pause_s = POLL_MIN_S
                continue
            try:
                async with asyncio.timeout(pause_s):
                    await self.appended.wait()
            except TimeoutError:
                pause_s = min(1.5 * pause_s, POLL_MAX_S)

    async def settle(self, rows: Sequence[Row[Any]], sending: "Sending") -> None:
        """Send, and keep what became of each row before anything is raised."""
        await sending.send(rows)
        sent, refused = sending.outcome()
        async with self.single.connect() as session:
            if sent:
                await session.execute(DONE, {"sent": sent})
            for row in refused:
                await session.execute(REFUSE, {"stream": row.stream, "position": row.position})
                log.error("stream_refused_by_kafka", house=self.house, stream=row.stream, position=row.position)
        PUBLISHED.labels(self.house).inc(len(sent))
        if sending.failure:
            log.warning("relay_unsettled", house=self.house, error=type(sending.failure).__name__)
            raise Unsettled(alone=sending.batch_too_large) from sending.failure

    async def leased(self) -> bool:
        """Whether this relay is the one that works, for at least half a lease from now."""
        now_s = time.monotonic()
        if now_s < self.renew_at_s:
            return True
        async with self.single.connect() as session:
            values = {"house": self.house, "token": self.token, "lease_s": self.lease_s}
            mine = (await session.execute(LEASE, values)).first() is not None
        self.renew_at_s = now_s + self.lease_s / 2 if mine else float("-inf")
        return mine

    async def give_back(self) -> None:
        """Let another relay begin at once."""
        try:
            async with asyncio.timeout(STOP_S), self.single.connect() as session:
                await session.execute(GIVE_BACK, {"house": self.house, "token": self.token})
        except DATABASE_ERRORS:
            pass  # It runs out by itself.

    @asynccontextmanager
    async def producing(self) -> AsyncIterator[AIOKafkaProducer]:
        """A producer of its own for each stretch without failures: a failed batch breaks its numbering."""
        producer = create_producer(self.bootstrap_servers)
        try:
            await producer.start()
            yield producer
        finally:
            try:
                async with asyncio.timeout(STOP_S):
                    await producer.stop()
            except TimeoutError:
                await abandon(producer)

    async def check_topics(self) -> None:
        """See that each topic of this house takes whatever a producer may send."""
        sources = {f"/{self.house}", f"/{self.house}/access"}
        names = [topic_name(self.prefix, topic) for topic in TOPICS if sources & set(topic.writers)]
        needed = max(MAX_BATCH_BYTES, MAX_REQUEST_BYTES)
        for name, taken in (await message_bytes(self.bootstrap_servers, names)).items():
            if taken < needed:
                raise TopicTooNarrow(f"{name}: set max.message.bytes, now {taken}, to {needed} or more")


class Sending:
    """One round: some rows on their way to Kafka, and what became of each."""

    def __init__(self, producer: AIOKafkaProducer, prefix: str, alone: bool, bound_s: float) -> None:
        self.producer = producer
        self.prefix = prefix
        self.alone = alone
        self.bound_s = bound_s
        self.under_way: list[tuple[Row[Any], asyncio.Future[Any]]] = []
        self.held: dict[str, int] = {}  # Each stream's first row that did not go out.
        self.refused: list[Row[Any]] = []
        self.failure: BaseException | None = None
        self.batch_too_large = False

    async def send(self, rows: Sequence[Row[Any]]) -> None:
        """Send all rows, and wait until each is settled or time is up."""
        try:
            async with asyncio.timeout(self.bound_s):  # An idempotent batch never expires by itself.
                for row in rows:
                    if row.stream in self.held:
                        continue
                    try:
                        future = await self.producer.send(
                            self.prefix + row.topic,
                            row.value,
                            key=row.headers["ce_partitionkey"].encode(),
                            headers=[(name, value.encode()) for name, value in row.headers.items()],
                        )
                    except MessageSizeTooLargeError:  # Of this row alone: the others are still to be settled.
                        self.held[row.stream] = row.position
                        self.refused.append(row)
                        continue
                    self.under_way.append((row, future))
                    if self.alone and (await asyncio.wait([future])) and future.exception():
                        break
                if self.under_way:
                    await asyncio.wait([future for _, future in self.under_way])
        except (TimeoutError, KafkaError) as error:
            self.failure = error

    def outcome(self) -> tuple[list[int], list[Row[Any]]]:
        """The positions that were acknowledged, up to each stream's first failure; and the rows refused for good."""
        sent: list[int] = []
        for row, future in self.under_way:
            error = future.exception() if future.done() and not future.cancelled() else TimeoutError()
            if isinstance(error, MessageSizeTooLargeError):
                self.batch_too_large = True
                if self.alone:
                    self.refused.append(row)
            if error:
                self.held[row.stream] = min(row.position, self.held.get(row.stream, row.position))
                self.failure = error
            elif row.stream not in self.held or row.position < self.held[row.stream]:
                sent.append(row.position)
        return sent, self.refused


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer that cannot deliver what it holds. Its sender would go on trying, behind the next one's back."""
    sender = producer._sender
    if sender is not None and sender.sender_task is not None:
        sender.sender_task.cancel()
    await producer.client.close()


async def message_bytes(bootstrap_servers: str, names: Sequence[str]) -> Mapping[str, int]:
    """What each topic takes at most; a batch of records is one message. Raises KafkaError, also for a missing topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        asked = [ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": None}) for name in names]
        resources = [one for answer in await admin.describe_configs(asked) for one in answer.resources]
    finally:
        await admin.close()
    found = {name: int(entry[1]) for _, _, _, name, entries in resources for entry in entries}
    if missing := set(names) - found.keys():
        raise UnknownTopicOrPartitionError(*missing)
    return found


async def outbox_health(engine: AsyncEngine) -> OutboxHealth:
    """What waits in the outbox now."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as session:
        rows, refused, age_s = (await session.execute(HEALTH)).one()
    return OutboxHealth(rows, refused, float(age_s))
