"""The counting worker with a mistake planted: offsets are moved without looking. Whoever judges must find it out.

`python -m tests.support.blind_counting`
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiokafka import TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.assignment import Work
from chassis.checkpoints import Checkpoints, Move
from chassis.logs import configure
from chassis.projecting import Folded
from chassis.receiving import Receiving
from tests.support.counting import Count, Settings, work

OVERWRITE = text("""
    UPDATE checkpoint SET next_offset = :after
    WHERE work = :work AND version = :version AND topic = :topic AND part = :part""")


@dataclass(frozen=True)
class Blind(Checkpoints):
    """Asks neither for the offset nor for the epoch that it expects."""

    async def advance(self, tx: AsyncConnection, moves: Mapping[TopicPartition, Move]) -> None:
        for partition, move in sorted(moves.items()):
            named = {"topic": partition.topic, "part": partition.partition, "after": move.after}
            await tx.execute(OVERWRITE, {"work": self.work, "version": self.version, **named})


def blind(counted: Receiving[Folded[Count]]) -> Work:
    checkpoints = Blind(counted.engine, counted.name, counted.version)
    return replace(counted, checkpoints=checkpoints)


if __name__ == "__main__":
    configure("counting")
    asyncio.run(work(Settings.told(), blind))
