"""Reading a topic as it lies in Kafka: no group, no offsets kept, every record once."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.kafka import partitions_of

Record = tuple[Mapping[str, str], bytes]


async def records_of(bootstrap: str, topic: str) -> list[Record]:
    """Headers and value of every record up to the end seen at the start, partition by partition, in order."""
    parts = sorted(await partitions_of(bootstrap, {topic}))
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        for part, first in (await consumer.beginning_offsets(parts)).items():
            consumer.seek(part, first)
        found: dict[TopicPartition, list[Record]] = {part: [] for part in parts}
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for part, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    found[part].append(({name: value.decode() for name, value in record.headers}, record.value))
        return [record for part in parts for record in found[part]]
    finally:
        await consumer.stop()
