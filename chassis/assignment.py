"""What one work holds in this process, and how it goes on after whatever happens to it.

Rules: offsets live in PostgreSQL alone. After any failure memory knows nothing; the database says where to go on, or
that somebody newer owns a partition, and then this process ends: idle it would look healthy and stand still for ever.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from contracts.topics import Topic

from .checkpoints import Held
from .kafka import Ends, topic_name
from .logs import failure
from .parking import TooManyBlocked

BACK_OFF_S, MOST_BACK_OFF_S = 0.2, 5.0
WATCH_S = 1.0
LOOK_S = 10.0  # For one look at everything; the next one tells what this one could not.
CLAIM_S = 9.0  # Longer than a lock is waited for, shorter than the group's session.
STALLED_S = 20.0  # Records wait and nothing has moved: the longest stall that was seen to end was 6 s.
STOP_STALLED_S = 30.0
REJOIN_S = 20.0  # Twice a session: by then the group has shared out anew, with us or without.
EX_SOFTWARE = 70

StopProcess = Callable[[str], NoReturn]
Batch = dict[TopicPartition, list[ConsumerRecord]]

log = structlog.get_logger()


class Work(Protocol):
    """What is done with the facts of some topics: receiving.Receiving. Partitions bear the topics' own names."""

    @property
    def name(self) -> str:
        """In tables, metrics, logs and the group's name."""

    @property
    def version(self) -> int:
        """Another version is another group, with offsets of its own."""

    @property
    def topics(self) -> Sequence[Topic]:
        """All that it reads, in one subscription: two lists of topics in one group kill its coordinator."""

    @property
    def batch_size(self) -> int:
        """How many records may come at once."""

    async def prepare(self) -> None:
        """Make the tables that it needs."""

    async def claim(self, partitions: Sequence[TopicPartition], cluster: str) -> Mapping[TopicPartition, Held]:
        """Own these partitions, every one of them."""

    async def stored(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Held]:
        """What the database holds of them."""

    async def apply(
        self, batch: Mapping[TopicPartition, Sequence[ConsumerRecord]], held: Mapping[TopicPartition, Held]
    ) -> None:
        """Apply the batch and move the offsets; committed when it returns."""


@dataclass(frozen=True)
class Health:
    """How a work fares in this process. `moved_s`: since it moved, or was seen to have nothing to do."""

    work: str
    claimed: bool
    partitions: int
    moved_s: float
    stalled: bool


class OutsideTopic(Exception):
    """A checkpoint is not within its partition: records are gone, or the topic is another one of the same name."""


def stop_process(reason: str) -> NoReturn:
    """End at once, for the supervisor to start anew. FastStream swallows SystemExit in a handler and idles on."""
    log.critical("worker_stopped", reason=reason)
    sys.stdout.flush()
    os._exit(EX_SOFTWARE)


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types.
    """What one work may write in this process, with the stored offset and epoch of each partition."""

    def __init__(
        self,
        work: Work,
        prefix: str,
        cluster: str,
        ends: Ends,
        consumer: Callable[[], AIOKafkaConsumer],
        stop: StopProcess = stop_process,
    ) -> None:
        self.work, self.cluster, self.ends, self.consumer, self.stop = work, cluster, ends, consumer, stop
        self.names = {topic_name(prefix, topic): topic.name for topic in work.topics}
        self.busy = asyncio.Lock()  # Whoever changes what is held, or acts upon it.
        self.held: dict[TopicPartition, Held] = {}
        self.holes: dict[TopicPartition, int] = {}
        self.ahead: dict[TopicPartition, tuple[int, int]] = {}
        self.claimed = False
        self.failures = 0
        self.moved_at = time.monotonic()
        self.gave_up: tuple[float, set[TopicPartition]] | None = None  # Since when nothing was given in exchange.

    def health(self) -> Health:
        """As of now, without asking anybody."""
        moved_s = time.monotonic() - self.moved_at
        return Health(self.work.name, self.claimed, len(self.held), moved_s, self.claimed and moved_s > STALLED_S)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """The group is about to share out anew; nobody but this lock waits for the batch in flight."""
        async with self.busy:
            self.held = {}
            if revoked:  # Nothing is given up at the first joining.
                self.gave_up = time.monotonic(), revoked

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Claim what the group gave us, and read on from where the database says."""
        try:
            consumer = self.consumer()
            # Before any await: a partition with a position is not asked for a committed offset, which it has not.
            for partition in assigned:
                consumer.seek(partition, 0)
            consumer.pause(*assigned)
            async with asyncio.timeout(CLAIM_S):
                held = self.under_kafkas_names(await self.work.claim(self.own_names(assigned), self.cluster))
                await self.check_within(held)
            for partition, at in held.items():
                consumer.seek(partition, at.next_offset)
            consumer.resume(*assigned)
        except Exception as error:  # aiokafka would only log it, and we would idle with nothing held.
            log.critical("claim_failed", work=self.work.name, **failure(error))
            self.stop("claim_failed")
        self.held, self.claimed, self.moved_at, self.gave_up = held, True, time.monotonic(), None
        log.info("partitions_claimed", work=self.work.name, partitions=len(held))

    async def check_within(self, held: Mapping[TopicPartition, Held]) -> None:
        """Raises OutsideTopic unless every offset lies within its partition."""
        beginnings, ends = await self.ends.beginnings(sorted(held)), await self.ends.ends(sorted(held))
        for partition, at in held.items():
            if not beginnings[partition] <= at.next_offset <= ends[partition]:
                raise OutsideTopic(f"{partition}: {at.next_offset}")

    async def receive(self, records: Sequence[ConsumerRecord]) -> None:
        """One batch as FastStream hands it over. Never raises: the consumer's position has moved on already."""
        async with self.busy:
            try:
                if batch := await self.current(records):
                    await self.work.apply(
                        {self.own_name(partition): due for partition, due in batch.items()},
                        {self.own_name(partition): self.held[partition] for partition in batch},
                    )
                    self.advance(batch)
                self.failures = 0
                return
            except TooManyBlocked:
                self.stop("too_many_blocked")
            except Exception as error:
                log.warning("batch_failed", work=self.work.name, **failure(error))
            await self.recover_at_last()

    async def current(self, records: Sequence[ConsumerRecord]) -> Batch:
        """The records by partition, without those fetched before the last seek or rebalance."""
        found: Batch = {}
        for record in records:
            found.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        batch: Batch = {}
        for partition, fetched in found.items():
            held = self.held.get(partition)
            due = [record for record in fetched if held and record.offset >= held.next_offset]
            if held is None or not due or await self.consumer().position(partition) <= due[-1].offset:
                continue
            first = due[0].offset
            if first > held.next_offset and self.holes.get(partition) != first:
                # Something between broker and handler dropped records: fetch again, believe a hole seen twice.
                self.holes[partition] = first
                self.consumer().seek(partition, held.next_offset)
                continue
            batch[partition] = due
        return batch

    def advance(self, batch: Batch) -> None:
        """Committed: what is held is what the database holds."""
        for partition, records in batch.items():
            self.held[partition] = self.held[partition]._replace(next_offset=records[-1].offset + 1)
            self.holes.pop(partition, None)
        self.moved_at = time.monotonic()

    async def recover_at_last(self) -> None:
        """Recovery may fail too; leaving without it would skip the batch."""
        while True:
            self.failures += 1
            most = min(MOST_BACK_OFF_S, BACK_OFF_S * 2 ** min(self.failures - 1, 10))
            await asyncio.sleep(most * random.uniform(0.5, 1))  # noqa: S311  No secret: so that workers part ways.
            try:
                return await self.recover()
            except Exception as error:
                log.warning("recovery_failed", work=self.work.name, **failure(error))

    async def recover(self) -> None:
        """Only the database knows where we are: a commit of unknown outcome, one that was lost, a reset."""
        stored = await self.stored()
        if any(partition not in stored or stored[partition].epoch != at.epoch for partition, at in self.held.items()):
            self.stop("newer_epoch")  # Somebody newer owns a partition.
        for partition, at in stored.items():
            self.consumer().seek(partition, at.next_offset)
        if any(at.next_offset > self.held[partition].next_offset for partition, at in stored.items()):
            self.failures, self.moved_at = 0, time.monotonic()  # It had been committed after all.
        self.held = stored

    async def watch(self) -> None:
        """What no record would tell us, each second."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self.look()
            except Exception as error:  # The database or Kafka is away: the next look tells.
                log.info("look_failed", work=self.work.name, **failure(error))

    async def look(self) -> None:
        """Whether the database still says what we hold, and whether what was fetched has reached us."""
        consumer = self.consumer()
        async with self.busy:
            if not self.held:
                await self.look_for_the_group()
                self.moved_at = time.monotonic()  # A spare worker.
                return
            if await self.stored() != self.held:  # A commit lost, a checkpoint set back, a newer owner.
                await self.recover()
                self.moved_at = time.monotonic()
            offsets = {partition: at.next_offset for partition, at in self.held.items()}
            positions = {partition: await consumer.position(partition) for partition in offsets}
            for partition, offset in offsets.items():
                place = offset, positions[partition]
                if place[1] > offset and self.ahead.get(partition) == place:
                    consumer.seek(partition, offset)  # Fetched, and twice seen as never handed to us.
                self.ahead[partition] = place
        ends = await self.ends.ends(sorted(offsets))
        if any(ends[partition] < offset for partition, offset in offsets.items()):
            self.stop("outside_topic")  # The topic was cut off or made anew.
        if all(ends[partition] <= offset for partition, offset in offsets.items()):
            self.moved_at = time.monotonic()
        elif time.monotonic() - self.moved_at > STOP_STALLED_S:
            self.stop("stalled")  # Alive, records wait, nothing moves.
        with suppress(KafkaError):  # A courtesy to lag tools, outside the lock: commit() repeats for ever.
            await consumer.commit(offsets)

    async def look_for_the_group(self) -> None:
        """A member that the group has forgotten, and that does not notice, would idle for ever, looking well."""
        if self.gave_up and time.monotonic() - self.gave_up[0] > REJOIN_S:
            await self.ends.ends(sorted(self.gave_up[1]))  # Raises while Kafka is away: then nobody can be asked.
            self.stop("not_in_its_group")

    async def stored(self) -> dict[TopicPartition, Held]:
        """What the database holds of what we hold."""
        return self.under_kafkas_names(await self.work.stored(self.own_names(self.held))) if self.held else {}

    def own_name(self, partition: TopicPartition) -> TopicPartition:
        """The partition under its topic's own name, without the deployment's prefix."""
        return TopicPartition(self.names[partition.topic], partition.partition)

    def own_names(self, partitions: Mapping[TopicPartition, Any] | set[TopicPartition]) -> Sequence[TopicPartition]:
        return sorted(self.own_name(partition) for partition in partitions)

    def under_kafkas_names(self, held: Mapping[TopicPartition, Held]) -> dict[TopicPartition, Held]:
        kafkas = {own: kafkas for kafkas, own in self.names.items()}
        return {TopicPartition(kafkas[one.topic], one.partition): at for one, at in held.items()}
