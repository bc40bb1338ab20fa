"""How far a work has read each partition, kept in PostgreSQL beside what it made of it.

An offset moves by compare-and-set, with the epoch of whoever claimed the partition last; a worker that was replaced
without knowing cannot write any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

CLAIM = text("""
    INSERT INTO checkpoint (work, version, topic, part, next_offset, epoch, cluster)
    SELECT :work, :version, n.topic, n.part, 0, 1, :cluster
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[])) AS n(topic, part) ORDER BY n.topic, n.part
    ON CONFLICT ON CONSTRAINT checkpoint_pkey
    DO UPDATE SET epoch = checkpoint.epoch + 1 WHERE checkpoint.cluster = excluded.cluster
    RETURNING topic, part, next_offset, epoch""")

STORED = text("""
    SELECT c.topic, c.part, c.next_offset, c.epoch
    FROM checkpoint AS c
    JOIN unnest(CAST(:topics AS text[]), CAST(:parts AS int[])) AS n(topic, part) USING (topic, part)
    WHERE c.work = :work AND c.version = :version""")

ADVANCE = text("""
    UPDATE checkpoint AS c
    SET next_offset = n.after, applied_at = to_timestamp(n.applied_ms / 1000.0), updated_at = now()
    FROM unnest(CAST(:topics AS text[]), CAST(:parts AS int[]), CAST(:expected AS bigint[]), CAST(:after AS bigint[]),
                CAST(:epochs AS bigint[]), CAST(:applied_ms AS bigint[]))
         AS n(topic, part, expected, after, epoch, applied_ms)
    WHERE c.work = :work AND c.version = :version AND c.topic = n.topic AND c.part = n.part
      AND c.next_offset = n.expected AND c.epoch = n.epoch""")


class Held(NamedTuple):
    """What a worker believes of a partition that it claimed."""

    next_offset: int
    epoch: int


class Move(NamedTuple):
    """From what a worker holds to the offset after the batch; `applied_ms` is the last record's own time."""

    held: Held
    after: int
    applied_ms: int


class ClaimRefused(Exception):
    """Not every partition could be claimed: some checkpoint belongs to another Kafka cluster."""


class Fenced(Exception):
    """A checkpoint is not where this worker left it: somebody newer owns it, or our own memory is behind."""


@dataclass(frozen=True)
class Checkpoints:
    """Those of one work. Partitions bear the topic's own name, without a deployment's prefix."""

    engine: AsyncEngine
    work: str
    version: int

    async def claim(self, partitions: Sequence[TopicPartition], cluster: str) -> Mapping[TopicPartition, Held]:
        """Own these partitions from now on: every epoch + 1, in one short statement. Raises ClaimRefused."""
        if not partitions:
            return {}
        async with self.engine.begin() as tx:
            held = by_partition(await tx.execute(CLAIM, {**self.named(partitions), "cluster": cluster}))
            if len(held) < len(partitions):
                raise ClaimRefused("a checkpoint belongs to another Kafka cluster; set it back to go on in this one")
        return held

    async def stored(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Held]:
        """What the database holds of these partitions."""
        async with self.engine.connect() as connection:
            return by_partition(await connection.execute(STORED, self.named(partitions)))

    async def advance(self, tx: AsyncConnection, moves: Mapping[TopicPartition, Move]) -> None:
        """The first statement of every transaction that applies facts. Raises Fenced unless all moves are ours.

        A worker that was replaced waits here, for whoever replaced it, and then finds no row.
        """
        partitions = sorted(moves)
        done = await tx.execute(
            ADVANCE,
            {
                **self.named(partitions),
                "expected": [moves[partition].held.next_offset for partition in partitions],
                "epochs": [moves[partition].held.epoch for partition in partitions],
                "after": [moves[partition].after for partition in partitions],
                "applied_ms": [moves[partition].applied_ms for partition in partitions],
            },
        )
        if done.rowcount != len(moves):
            raise Fenced

    def named(self, partitions: Sequence[TopicPartition]) -> dict[str, Any]:
        """The parameters that name rows of these partitions."""
        return {
            "work": self.work,
            "version": self.version,
            "topics": [partition.topic for partition in partitions],
            "parts": [partition.partition for partition in partitions],
        }


def by_partition(rows: Any) -> dict[TopicPartition, Held]:
    """Rows of (topic, part, next_offset, epoch) as a mapping."""
    return {TopicPartition(row.topic, row.part): Held(row.next_offset, row.epoch) for row in rows}
