"""A history where it would be: in the houses' own tables, by COPY, and in Kafka, as the relays publish it."""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.kafka import create_producer, topic_name

from .chaining import Record

COLUMNS = ("stream", "sequence", "id", "headers", "value", "hash")
A_COPY = 10_000  # Rows: bounds what is held, whatever the history's length.


async def into_tables(engines: Mapping[str, AsyncEngine], records: Iterable[Record]) -> None:
    """Every record into the event table of the house that told it; houses without an engine are passed over."""
    waiting: dict[str, list[tuple[object, ...]]] = {house: [] for house in engines}
    for record in records:
        house = record.event.source.split("/")[1]
        if house not in waiting:
            continue
        waiting[house].append(row_of(record))
        if len(waiting[house]) == A_COPY:
            await copy(engines[house], waiting[house])
            waiting[house].clear()
    for house, rows in waiting.items():
        await copy(engines[house], rows)


def row_of(record: Record) -> tuple[object, ...]:
    event = record.event
    stream = f"access/{event.key}" if event.source.endswith("/access") else event.key
    return (stream, event.sequence, event.id, json.dumps(dict(record.headers)), record.value, event.hash)


async def copy(engine: AsyncEngine, rows: list[tuple[object, ...]]) -> None:
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        async with raw.transaction():
            await raw.execute("CREATE TEMPORARY TABLE loaded (LIKE event) ON COMMIT DROP")
            await raw.execute("ALTER TABLE loaded ALTER COLUMN headers TYPE text")  # COPY in binary wants no text else.
            await raw.copy_records_to_table("loaded", columns=COLUMNS, records=rows)
            await raw.execute("INSERT INTO event SELECT stream, sequence, id, headers::jsonb, value, hash FROM loaded")


async def into_kafka(bootstrap: str, prefix: str, records: Iterable[Record]) -> int:
    """Every record into its topic, in the order given; returns how many there were."""
    producer = create_producer(bootstrap)
    await producer.start()
    count = 0
    try:
        for record in records:
            headers = [(name, value.encode()) for name, value in record.headers.items()]
            key = record.event.key.encode()
            await producer.send(topic_name(prefix, record.topic), record.value, key=key, headers=headers)
            count += 1
        await producer.flush()
    finally:
        await producer.stop()
    return count
