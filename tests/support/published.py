"""What stands in Kafka, read with a bare consumer: no group, no code of ours between the record and the test."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer


@dataclass(frozen=True)
class Published:
    """One record, as bytes."""

    partition: int
    key: bytes
    headers: tuple[tuple[str, bytes], ...]
    value: bytes

    @property
    def named(self) -> dict[str, str]:
        return {name: value.decode() for name, value in self.headers}

    @property
    def sequence(self) -> int:
        return int(self.named["ce_sequence"])


async def published(bootstrap_servers: str, topic: str) -> list[Published]:
    """Every record of a topic, by partition and offset."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        partitions = sorted(consumer.assignment())  # Without a group: all of them.
        assert partitions, f"no topic {topic}"
        ends = await consumer.end_offsets(partitions)
        found: list[Published] = []
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for one, records in (await consumer.getmany(timeout_ms=1_000)).items():
                found += [Published(one.partition, r.key, tuple(r.headers), r.value) for r in records]
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: record.partition)


def without_repeats(records: Sequence[Published]) -> tuple[list[Published], int, list[str]]:
    """What a reader keeps: each key's records in order; how many were dropped as repeats; and gaps and inversions.

    A record is a repeat when its key has had a record of its number already, a gap when it is not the next one.
    """
    kept: list[Published] = []
    repeats = 0
    wrong: list[str] = []
    seen: dict[bytes, int] = {}
    for record in records:
        last = seen.get(record.key, 0)
        if record.sequence <= last:
            repeats += 1
            continue
        if record.sequence != last + 1:
            wrong.append(f"{record.key!r}: {record.sequence} follows {last}")
        seen[record.key] = record.sequence
        kept.append(record)
    return kept, repeats, wrong
