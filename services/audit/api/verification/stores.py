"""The stores as a verification reads them: page by page in order of key and sequence, or one place.

Nothing is held open between pages: a walk takes as long as it takes, and a house must be able to vacuum.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.event import NO_HASH

from ...domain.chains import Row
from ..archive import NAME, VERSION

PAGE = 1_000
ACCESS_STREAM = "access/"  # Goes before the person's id in a stream of access facts; see chassis/store.py.

TABLE_PAGE = text("""
    SELECT stream, sequence, id::text AS id, headers, value, hash FROM event
    WHERE (stream, sequence) > (:stream, :sequence) AND starts_with(stream, 'access/') = :access
    ORDER BY stream, sequence LIMIT :page""")
TABLE_PLACE = text("""
    SELECT stream, sequence, id::text AS id, headers, value, hash FROM event
    WHERE stream = :stream AND sequence = :sequence""")
ARCHIVE_PAGE = text("""
    SELECT key, sequence, hash, headers, value FROM archive
    WHERE source = :source AND (key, sequence, hash) > (:key, :sequence, :hash)
    ORDER BY key, sequence, hash LIMIT :page""")
ARCHIVE_PLACE = text("""
    SELECT key, sequence, hash, headers, value FROM archive
    WHERE source = :source AND key = :key AND sequence = :sequence""")
ARCHIVE_SOURCES = text("""
    WITH RECURSIVE found(source) AS (
        SELECT min(source) FROM archive
        UNION ALL SELECT (SELECT min(source) FROM archive AS a WHERE a.source > found.source) FROM found
        WHERE found.source IS NOT NULL)
    SELECT source FROM found WHERE source IS NOT NULL""")

# What the archiving work says it has kept, against what there is: one statement, so one moment.
ARCHIVE_TAILS = text("""
    SELECT * FROM (
        SELECT s.key, e.key AS source, CAST(e.value ->> 0 AS bigint) AS received,
               decode(e.value ->> 1, 'hex') AS hash,
               coalesce((SELECT max(sequence) FROM archive AS a WHERE a.source = e.key AND a.key = s.key), 0) AS kept
        FROM seen AS s CROSS JOIN LATERAL jsonb_each(s.seen) AS e
        WHERE s.work = :work AND s.version = :version) AS t
    WHERE kept <> received OR NOT EXISTS (
        SELECT FROM archive AS a
        WHERE a.source = t.source AND a.key = t.key AND a.sequence = t.received AND a.hash = t.hash)""")
RECEIVED = text("""
    SELECT CAST(seen -> CAST(:source AS text) ->> 0 AS bigint), decode(seen -> CAST(:source AS text) ->> 1, 'hex')
    FROM seen WHERE work = :work AND version = :version AND key = :key AND seen ? CAST(:source AS text)""")
PARKED = text("""
    SELECT DISTINCT ON (source, key) source, key, sequence, reason FROM parked
    WHERE work = :work AND version = :version AND sequence IS NOT NULL ORDER BY source, key, sequence, id""")
WAITING = text("SELECT count(*) FROM outbox WHERE stream = :stream AND sequence = :sequence")
OFFSETS = text("SELECT topic, part, next_offset FROM checkpoint WHERE work = :work AND version = :version")
WORK = {"work": NAME, "version": VERSION}


class Table:
    """One house's own table of events, as far as one of its sources wrote it."""

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self.engine, self.source = engine.execution_options(isolation_level="AUTOCOMMIT"), source
        self.name = source.split("/")[1]
        self.prefix = ACCESS_STREAM if source.endswith("/access") else ""

    async def rows(self) -> AsyncIterator[Row]:
        """All of the source, in order of key and sequence."""
        at: dict[str, Any] = {"stream": self.prefix, "sequence": 0}
        while True:
            async with self.engine.connect() as connection:
                asked = {**at, "access": bool(self.prefix), "page": PAGE}
                page = (await connection.execute(TABLE_PAGE, asked)).all()
            for found in page:
                yield self.row(found)
            if len(page) < PAGE:
                return
            at = {"stream": page[-1].stream, "sequence": page[-1].sequence}

    async def at(self, key: str, sequence: int) -> list[Row]:
        """What stands at one place."""
        async with self.engine.connect() as connection:
            asked = {"stream": self.prefix + key, "sequence": sequence}
            return [self.row(found) for found in (await connection.execute(TABLE_PLACE, asked)).all()]

    async def unpublished(self, key: str, sequence: int) -> bool:
        """Whether that fact still waits for the relay."""
        async with self.engine.connect() as connection:
            asked = {"stream": self.prefix + key, "sequence": sequence}
            return bool(await connection.scalar(WAITING, asked))

    def row(self, found: Any) -> Row:
        key = found.stream.removeprefix(self.prefix)
        return Row(self.source, key, found.sequence, found.hash, found.headers, found.value, found.id)


class Archived:
    """The archive, as far as it holds one source."""

    name = "archive"

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self.engine, self.source = engine.execution_options(isolation_level="AUTOCOMMIT"), source

    async def rows(self) -> AsyncIterator[Row]:
        """All of the source, in order of key, sequence and hash."""
        at: dict[str, Any] = {"key": "", "sequence": 0, "hash": b""}
        while True:
            async with self.engine.connect() as connection:
                asked = {**at, "source": self.source, "page": PAGE}
                page = (await connection.execute(ARCHIVE_PAGE, asked)).all()
            for found in page:
                yield self.row(found)
            if len(page) < PAGE:
                return
            at = {"key": page[-1].key, "sequence": page[-1].sequence, "hash": page[-1].hash}

    async def at(self, key: str, sequence: int) -> list[Row]:
        """What stands at one place: one fact, or the branches of a fork."""
        async with self.engine.connect() as connection:
            asked = {"source": self.source, "key": key, "sequence": sequence}
            return [self.row(found) for found in (await connection.execute(ARCHIVE_PLACE, asked)).all()]

    async def received(self, key: str) -> tuple[int, bytes]:
        """The last of this key's facts that the archiving work says it has kept: its number and its hash."""
        async with self.engine.connect() as connection:
            row = (await connection.execute(RECEIVED, {**WORK, "source": self.source, "key": key})).first()
        return (row[0], row[1]) if row else (0, NO_HASH)

    def row(self, found: Any) -> Row:
        return Row(self.source, found.key, found.sequence, found.hash, found.headers, found.value)


async def archive_sources(engine: AsyncEngine) -> list[str]:
    """Every source of which the archive holds anything."""
    async with engine.connect() as connection:
        return list((await connection.execute(ARCHIVE_SOURCES)).scalars())


async def archive_tails(engine: AsyncEngine) -> list[tuple[str, str, int, int]]:
    """(source, key, received, kept) wherever the archive does not end with the fact that its work says it does."""
    async with engine.connect() as connection:
        rows = (await connection.execute(ARCHIVE_TAILS, WORK)).all()
    return [(row.source, row.key, row.received, row.kept) for row in rows]


async def archive_parked(engine: AsyncEngine) -> list[tuple[str, str, int, str]]:
    """(source, key, sequence, reason) of the first fact of each chain that arrived and was set aside."""
    async with engine.connect() as connection:
        rows = (await connection.execute(PARKED, WORK)).all()
    return [(row.source, row.key, row.sequence, row.reason) for row in rows]


async def offsets(engine: AsyncEngine) -> dict[tuple[str, int], int]:
    """How far the archiving work has read, by topic (without a prefix) and partition."""
    async with engine.connect() as connection:
        return {(row.topic, row.part): row.next_offset for row in (await connection.execute(OFFSETS, WORK)).all()}


async def ends(bootstrap: str, prefix: str, known: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Where those partitions end now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        asked = [TopicPartition(prefix + topic, part) for topic, part in known]
        found = await consumer.end_offsets(asked) if asked else {}
    finally:
        await consumer.stop()
    return {(partition.topic.removeprefix(prefix), partition.partition): end for partition, end in found.items()}
