"""How far works are behind, judged from outside: the topics' ends against the stored offsets.

So it is the same in every process, also in one that consumes nothing, and it notices a worker that is gone.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from aiokafka import TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from . import metrics
from .consuming import Work
from .kafka import Ends, partitions_of, topic_name
from .logs import failure

LOOK_EVERY_S = 0.5
LOOK_S = 10.0
STALLED_S = 30.0
REMEMBERED_LOOKS = 120  # A minute of them. When more is waited for, new looks are left out, never the oldest.

OFFSETS = text("SELECT work, version, topic, part, next_offset, applied_at FROM checkpoint")
BLOCKED = text("SELECT work, version, count(DISTINCT key) AS keys FROM blocked GROUP BY work, version")

log = structlog.get_logger()


@dataclass(frozen=True)
class Stored:
    """One checkpoint; `applied_at` is the time of the last record before it."""

    next_offset: int
    applied_at: datetime | None


@dataclass
class Behind:
    """One work, by its partitions' own names."""

    work: Work
    stored: Mapping[TopicPartition, Stored] = field(default_factory=dict)
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)
    looks: deque[tuple[float, Mapping[TopicPartition, int]]] = field(default_factory=deque)  # Ends not reached yet.
    fresh_at: float = -math.inf
    moved_at: float = field(default_factory=time.monotonic)

    def look(self, at: float, ends: Mapping[TopicPartition, int], stored: Mapping[TopicPartition, Stored]) -> None:
        """Ends asked for at `at`, and offsets read after that."""
        if stored != self.stored or not self.lag_of(ends, stored):
            self.moved_at = time.monotonic()
        self.ends, self.stored = ends, stored
        if len(self.looks) < REMEMBERED_LOOKS:
            self.looks.append((at, ends))
        while self.looks and not self.lag_of(self.looks[0][1], stored):
            self.fresh_at, _ = self.looks.popleft()

    @staticmethod
    def lag_of(ends: Mapping[TopicPartition, int], stored: Mapping[TopicPartition, Stored]) -> int:
        """Records before these ends that are not applied; of a partition that nobody ever claimed, all."""
        return sum(
            max(0, end - (stored[partition].next_offset if partition in stored else 0))
            for partition, end in ends.items()
        )

    def lag_s(self) -> float:
        """At most so old is the oldest fact that is not applied: 0 when there is none, infinite when nobody knows.

        It is younger than the last one applied before it, and than the last look that found nothing waiting.
        """
        waiting = [partition for partition, end in self.ends.items() if self.lag_of({partition: end}, self.stored)]
        if not waiting:
            return 0.0
        applied = [self.stored[partition].applied_at for partition in waiting if partition in self.stored]
        since_applied = max(
            (time.time() - at.timestamp() if at else math.inf for at in applied),
            default=math.inf,
        )
        return max(0.0, min(since_applied, time.monotonic() - self.fresh_at))


class Progress:
    """Looks at all works of a house twice a second, and at once when asked."""

    def __init__(self, engine: AsyncEngine, bootstrap: str, works: Sequence[Work], *, prefix: str = "") -> None:
        self.single = engine.execution_options(isolation_level="AUTOCOMMIT")  # One statement at a time.
        self.bootstrap, self.prefix = bootstrap, prefix
        self.works = {work.name: Behind(work) for work in works}
        self.ends = Ends(bootstrap)
        self.partitions: Sequence[TopicPartition] = ()  # As Kafka names them.
        self.looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Topics and tables are there. Raises LookupError when a topic is not."""
        names = {topic_name(self.prefix, topic) for behind in self.works.values() for topic in behind.work.topics}
        self.partitions = await partitions_of(self.bootstrap, names) if names else ()
        await self.ends.start()
        self.looking = asyncio.create_task(self.keep_looking())

    async def stop(self) -> None:
        """Disconnect."""
        if self.looking:
            self.looking.cancel()
        await self.ends.stop()

    async def lag(self) -> int:
        """Records that are in Kafka now and that some work has not applied yet: exact, one question to each server."""
        ends, stored = await self.asked()
        return sum(
            behind.lag_of(ends_of(behind.work, ends), stored_of(behind.work, stored)) for behind in self.works.values()
        )

    def age_s(self, work: str) -> float:
        """Everything published until so long ago has been applied, whoever holds the partitions. Infinite at first."""
        return time.monotonic() - self.works[work].fresh_at

    async def keep_looking(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self.look()
            except Exception as error:  # A server is away: ages grow until it is back.
                log.info("progress_unknown", **failure(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look, told to Prometheus."""
        at = time.monotonic()
        ends, stored = await self.asked()
        async with self.single.connect() as connection:
            blocked = {(row.work, row.version): row.keys for row in await connection.execute(BLOCKED)}
        for name, behind in self.works.items():
            behind.look(at, ends_of(behind.work, ends), stored_of(behind.work, stored))
            metrics.LAG_EVENTS.labels(name).set(behind.lag_of(behind.ends, behind.stored))
            metrics.LAG_SECONDS.labels(name).set(behind.lag_s())
            metrics.STALLED.labels(name).set(time.monotonic() - behind.moved_at > STALLED_S)
            metrics.BLOCKED.labels(name).set(blocked.get((name, behind.work.version), 0))

    async def asked(self) -> tuple[Mapping[TopicPartition, int], Mapping[tuple[str, int, str, int], Stored]]:
        """The ends by the topics' own names, and after them the checkpoints by (work, version, topic, partition)."""
        if not self.partitions:
            return {}, {}
        ends = await self.ends.ends(self.partitions)
        async with self.single.connect() as connection:
            rows = (await connection.execute(OFFSETS)).all()
        cut = len(self.prefix)
        return (
            {TopicPartition(partition.topic[cut:], partition.partition): end for partition, end in ends.items()},
            {(row.work, row.version, row.topic, row.part): Stored(row.next_offset, row.applied_at) for row in rows},
        )


def ends_of(work: Work, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """The ends of the topics that this work reads."""
    topics = {topic.name for topic in work.topics}
    return {partition: end for partition, end in ends.items() if partition.topic in topics}


def stored_of(work: Work, stored: Mapping[tuple[str, int, str, int], Stored]) -> dict[TopicPartition, Stored]:
    """This work's checkpoints."""
    return {
        TopicPartition(topic, part): at
        for (name, version, topic, part), at in stored.items()
        if (name, version) == (work.name, work.version)
    }
