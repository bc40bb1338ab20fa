"""One batch of facts, one transaction: offsets first, then every fact in its turn, then what follows from it.

Rule: no offset moves past a fact that is neither applied nor set aside, unless it is a repeat.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.topics import Topic

from . import metrics, parking
from .checkpoints import Checkpoints, Fenced, Held, Move
from .logs import failure
from .ordering import Page
from .position import Position
from .records import Junk, Received, plausible_ms, received, record_of
from .seen import standings
from .sifting import Facts, Handling, Sifting, passing

S = TypeVar("S")
Batch = Mapping[TopicPartition, Sequence[ConsumerRecord]]
MOST_BLOCKED = 20  # Patients within a minute. One bad fact concerns one patient; many at once are a fault of ours.
REACHED_S = 2.0  # How long a command waits for what its sender knows; an ordinary reaction takes 50 ms.

log = structlog.get_logger()


class Refused(Exception):
    """What follows from some fact of a batch cannot be written, and not in passing."""


@dataclass(frozen=True)
class Redriven:
    """What became of a key's waiting facts."""

    applied: int
    left: int


@dataclass(frozen=True)
class Receiving(Generic[S]):
    """A work as the loop in consuming.py knows it."""

    engine: AsyncEngine
    checkpoints: Checkpoints
    handling: Handling[S]
    topics: Sequence[Topic]
    batch_size: int
    most_blocked: int = MOST_BLOCKED

    @property
    def name(self) -> str:
        """The work's name in tables, metrics and logs."""
        return self.checkpoints.work

    @property
    def version(self) -> int:
        """A work of another version reads from the start, beside this one."""
        return self.checkpoints.version

    @property
    def sifting(self) -> Sifting[S]:
        """What is done within a transaction."""
        return Sifting(self.name, self.version, self.handling, self.most_blocked)

    async def prepare(self) -> None:
        """Make the tables that the work needs; every process that consumes or reads calls it once, at its start."""
        await self.handling.prepare()

    async def reached(self, key: str, position: Position, timeout_s: float = REACHED_S) -> bool:
        """Wait until this work has seen a position; False when time is up, or at once when the key is blocked."""
        return await self.handling.arrivals.wait(key, [position], timeout_s)

    async def claim(self, partitions: Sequence[TopicPartition], cluster: str) -> Mapping[TopicPartition, Held]:
        """See Checkpoints.claim."""
        return await self.checkpoints.claim(partitions, cluster)

    async def stored(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Held]:
        """See Checkpoints.stored."""
        return await self.checkpoints.stored(partitions)

    async def apply(self, batch: Batch, held: Mapping[TopicPartition, Held]) -> None:
        """Apply a batch and move the offsets. After any error only the database knows what was done."""
        moves = {
            partition: Move(held[partition], fetched[-1].offset + 1, plausible_ms(fetched[-1]))
            for partition, fetched in batch.items()
        }
        facts, junk = self.by_key(batch)
        try:
            pages = await self.together(moves, facts, junk)
        except Fenced:
            metrics.FENCED.labels(self.name).inc()
            raise
        except Refused as refused:
            log.warning("batch_refused", work=self.name, **failure(refused))
            pages = await self.carefully(moves, facts, junk)
        self.handling.arrivals.announce(standings(pages))
        parking.tell(self.name, pages, junk)

    def by_key(self, batch: Batch) -> tuple[Facts, Sequence[Junk]]:
        """What came, by key, in the order of each partition; apart from it what concerns nobody who can be named."""
        topics = {topic.name: topic for topic in self.topics}
        facts: dict[str, list[Received | Junk]] = defaultdict(list)
        nowhere: list[Junk] = []
        for partition, fetched in batch.items():
            topic = topics[partition.topic]
            for one in fetched:
                came = received(record_of(one, topic.name), topic)
                if isinstance(came, Received):
                    facts[came.place.key].append(came)
                elif came.key and came.source:
                    facts[came.key].append(came)
                else:
                    nowhere.append(came)
        return facts, nowhere

    async def together(
        self, moves: Mapping[TopicPartition, Move], facts: Facts, junk: Sequence[Junk]
    ) -> Sequence[Page[S]]:
        """All keys at once: the way of nearly every batch. Raises Refused."""
        async with self.handling.session() as session:
            async with self.engine.begin() as tx:
                await self.begin(tx, moves, junk)
                pages = await self.sifting.sifted(tx, session, facts)
                try:
                    await session.write(tx, pages)
                except Exception as error:
                    if passing(error):
                        raise
                    raise Refused from error
                await self.sifting.set_aside(tx, pages)
            session.committed()
        return pages

    async def carefully(
        self, moves: Mapping[TopicPartition, Move], facts: Facts, junk: Sequence[Junk]
    ) -> Sequence[Page[S]]:
        """The same in savepoints, so that one fact which PostgreSQL refuses holds up nobody else."""
        async with self.engine.begin() as tx:
            await self.begin(tx, moves, junk)
            return await self.sifting.halving(tx, facts)

    async def begin(self, tx: AsyncConnection, moves: Mapping[TopicPartition, Move], junk: Sequence[Junk]) -> None:
        """What stands first in the transaction: a worker that was replaced must not get any further."""
        await self.checkpoints.advance(tx, moves)
        if self.handling.lazily:
            await tx.exec_driver_sql("SET LOCAL synchronous_commit = off")
        if junk:
            await parking.keep_junk(tx, self.name, self.version, junk)

    async def redrive(self, key: str) -> Redriven:
        """Try again what waits of a key, each source in order, up to the first that still cannot be applied.

        It needs no partition: the lock of the key's row keeps the worker out. Raises what the database raises.
        """
        pages: list[Page[S]] = []
        async with self.engine.begin() as tx:
            async with self.handling.session() as session:
                page = await self.sifting.opened(tx, session, key)
            for source in sorted(page.blocked):
                pages.extend(await self.sifting.in_turn(tx, key, source))
            left = await parking.count(tx, self.name, self.version, key)
        self.handling.arrivals.announce(standings(pages))
        parking.tell(self.name, pages, ())
        return Redriven(sum(page.applied for page in pages), left)
