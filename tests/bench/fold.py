"""A new version of the care view, folded from zero by the ordinary worker, against fetching the same records alone."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.consuming import Consumers
from chassis.database import create_engine, ensure_database, house_url
from chassis.kafka import create_topics, topic_name
from chassis.migrations import migrate
from chassis.progress import Progress
from chassis.projecting import projecting
from services.care_view.main import CARE_VIEW, READ
from tests.support.history import history
from tests.support.history.loading import into_kafka
from tests.support.servers import Servers, drop, new_prefix

NAME = "fold"
FOLDED, FETCHED, SHARE = "folded from zero by one worker", "fetched alone", "of fetching alone"
BARS: Mapping[str, tuple[str, float]] = {FOLDED: (">=", 8_000.0)}
SEED, PATIENTS, PARTITIONS = 7, 600, 4
WITHIN_S = 300.0


async def measure(servers: Servers, quick: bool) -> list[tuple[str, float, str]]:
    """Invented histories in Kafka; a version that nobody has folded yet; the time until nothing is left."""
    prefix = new_prefix()
    await create_topics(servers.kafka, prefix, PARTITIONS)
    url = house_url(servers.database_url, prefix, "care_view")
    await ensure_database(url)
    engine = create_engine(url, application="bench")
    try:
        await migrate(engine, "care_view", None, simulated=False)
        records = history(SEED, count=PATIENTS // (6 if quick else 1), reads=False)
        count = await into_kafka(servers.kafka, prefix, records)
        fetched_s = await fetched(servers.kafka, prefix, count)
        work = projecting(engine, replace(CARE_VIEW, version=2))
        await work.prepare()
        progress = Progress(engine, servers.kafka, [work], prefix=prefix)
        await progress.start()
        consumers = Consumers(servers.kafka, "care_view", [work], prefix=prefix)
        began = time.monotonic()
        await consumers.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while await progress.lag():  # noqa: ASYNC110  It is the database's state.
                    await asyncio.sleep(0.25)  # In the worker's own process: seldom.
            folded_s = time.monotonic() - began
        finally:
            await consumers.stop()
            await progress.stop()
    finally:
        await engine.dispose()
        await drop(servers, prefix)
    return [
        ("facts", count, ""),
        (FETCHED, count / fetched_s, "facts/s"),
        (FOLDED, count / folded_s, "facts/s"),
        (SHARE, fetched_s / folded_s, ""),
    ]


async def fetched(bootstrap: str, prefix: str, count: int) -> float:
    """Seconds to fetch the same records and do nothing with them: the floor."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(
            [TopicPartition(topic_name(prefix, topic), part) for topic in READ for part in range(PARTITIONS)]
        )
        began, seen = time.monotonic(), 0
        async with asyncio.timeout(WITHIN_S):
            while seen < count:
                seen += sum(len(found) for found in (await consumer.getmany(timeout_ms=200)).values())
        return time.monotonic() - began
    finally:
        await consumer.stop()
