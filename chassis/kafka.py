"""Our side of Kafka: every default that can lose, repeat or reorder a fact is overridden here, the reason beside it.

Nothing else in the project constructs a producer, a broker, a subscriber's options or a topic.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import TopicAlreadyExistsError, for_code
from faststream.kafka import KafkaBroker
from faststream.middlewares import AckPolicy

from contracts.topics import TOPICS, Topic

MAX_BATCH_BYTES = 256 * 1024  # 16 KiB by default: a batch per few facts, and the broker works per batch.
MAX_REQUEST_BYTES = 1024 * 1024  # A fact of 512 KiB with its headers fits.
MAX_MESSAGE_BYTES = 2 * MAX_REQUEST_BYTES  # Of a topic; below what a producer may send, a full batch is refused whole.
LINGER_MS = 5
STOP_S = 20.0  # Less than a pod's grace; what is in flight then is simply read again.

SESSION_MS = 10_000
HEARTBEAT_MS = 2_000  # Five may be lost before the group gives a worker up.
ADMIN_TIMEOUT_MS = 15_000
CREATED_LOOKS, CREATED_LOOK_S = 300, 0.1

# Not FastStream's own logger, which writes where and how it likes. What it warns of (no topics made on first use) is
# what we want; an error is that of a fetch.
library_log = logging.getLogger(__name__)
library_log.setLevel(logging.ERROR)


class WrongPartitions(Exception):
    """A topic exists with another number of partitions than the others: a patient would have two workers."""


def topic_name(prefix: str, topic: Topic) -> str:
    """The topic's name in the cluster; deployments that share a cluster differ in their prefix."""
    return f"{prefix}{topic.name}"


def create_producer(bootstrap: str) -> AIOKafkaProducer:
    """A producer, not started, whose acknowledged records are neither lost nor repeated nor out of order."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",  # 1 by default: a fact acknowledged by a leader that then dies would be gone.
        enable_idempotence=True,  # Off by default: a retry could repeat or overtake.
        linger_ms=LINGER_MS,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
    )


def create_broker(bootstrap: str) -> KafkaBroker:
    """The FastStream broker that subscribers hang on. It never publishes: facts go out through the relay only."""
    return KafkaBroker(
        bootstrap,
        consumer_only=True,  # No producer whose defaults (acks=1, no idempotence) somebody might come to use.
        allow_auto_create_topics=False,  # A topic made on first use has 1 partition and 1 replica.
        graceful_timeout=STOP_S,  # None and 0 cancel a handler in its transaction.
        logger=library_log,
        log_level=logging.DEBUG,  # Two lines for every batch otherwise.
    )


def subscriber_options(*, group: str, slot: str, batch_size: int) -> dict[str, Any]:
    """How every subscriber of ours subscribes. `slot` is stable per worker and unique within the group.

    An `ack_policy` set on a broker does not reach its subscribers: it must stand here.
    """
    return {
        "group_id": group,
        # Static membership: a worker that was killed is back in 0.2 s, not after its session; and two workers in one
        # slot fence each other.
        "group_instance_id": f"{group}.{slot}",
        "batch": True,
        "max_records": batch_size,
        # Not a linger: the first record returns at once. An empty poll then sleeps as long again: latency when idle.
        "batch_timeout_ms": 10,
        "ack_policy": AckPolicy.MANUAL,  # By default (ACK_FIRST) auto-commit: at most once.
        "auto_offset_reset": "none",  # By default "latest": a new group would never see history. We always seek.
        "isolation_level": "read_committed",
        # Round robin by default: a patient's partitions of two topics would go to two workers.
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "max_partition_fetch_bytes": 1024 * 1024,  # 4 MiB was slower and took twice the memory.
        "session_timeout_ms": SESSION_MS,
        "heartbeat_interval_ms": HEARTBEAT_MS,
        "no_reply": True,  # Or a sender's `reply_to` header would make us publish.
    }


async def create_topics(bootstrap: str, prefix: str, partitions: int, *, replicas: int = 1) -> None:
    """Create the topics of contracts/topics.py that are missing. Several processes may ask at once.

    Returns when they can be used. Raises WrongPartitions when one has another number of partitions (range assignment
    needs them equal), TimeoutError when the cluster takes too long.
    """
    names = {topic_name(prefix, topic): topic for topic in TOPICS}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ADMIN_TIMEOUT_MS)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [
            NewTopic(name, partitions, replicas, topic_configs=topic_settings(topic, replicas))
            for name, topic in names.items()
            if name not in there
        ]
        if missing:
            answer = await admin.create_topics(missing)
            for name, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(name)
        for _ in range(CREATED_LOOKS):
            if await all_there(admin, names, partitions):
                return
            await asyncio.sleep(CREATED_LOOK_S)
        raise TimeoutError("the topics were created and cannot be used")
    finally:
        await admin.close()


async def all_there(admin: AIOKafkaAdminClient, topics: Iterable[str], partitions: int) -> bool:
    """Whether the cluster has told all its brokers of these topics, which takes a moment. Raises WrongPartitions."""
    for found in await admin.describe_topics(sorted(topics)):
        parts = found["partitions"]
        if not parts or any(part["leader"] < 0 for part in parts):
            return False
        if len(parts) != partitions:
            raise WrongPartitions(f"{found['topic']} has {len(parts)} partitions, not {partitions}")
    return True


def topic_settings(topic: Topic, replicas: int) -> dict[str, str]:
    """Of a topic, as Kafka names them. All are about keeping every fact."""
    return {
        "cleanup.policy": "delete",  # With the retention below: neither deleted nor compacted.
        "retention.ms": str(topic.retention_ms),
        "retention.bytes": "-1",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "min.insync.replicas": str(min(2, replicas)),  # Acknowledged by one of three could still be lost.
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": "CreateTime",
    }


async def cluster_id(bootstrap: str) -> str:
    """Which cluster this is: offsets mean nothing in another one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ADMIN_TIMEOUT_MS)
    await admin.start()
    try:
        described = await admin.describe_cluster()
        return str(described["cluster_id"])
    finally:
        await admin.close()


async def partitions_of(bootstrap: str, topics: Iterable[str]) -> Sequence[TopicPartition]:
    """All partitions of these topics, sorted. Raises LookupError when one of the topics does not exist."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ADMIN_TIMEOUT_MS)
    await admin.start()
    try:
        described = {found["topic"]: found["partitions"] for found in await admin.describe_topics(sorted(topics))}
    finally:
        await admin.close()
    if missing := [topic for topic, partitions in described.items() if not partitions]:
        raise LookupError(f"no topic {missing[0]}")
    return sorted(TopicPartition(topic, part["partition"]) for topic, parts in described.items() for part in parts)


class Ends:
    """Where each partition begins and ends, asked through a consumer that does nothing else.

    A consumer that fetches would answer only after its long poll of half a second.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect."""
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=ADMIN_TIMEOUT_MS,
        )
        await self.consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        if self.consumer:
            await self.consumer.stop()
            self.consumer = None

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offset that the next record of each partition will have."""
        return dict(await self.started.end_offsets(list(partitions)))

    async def beginnings(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The offset of the oldest record of each partition that is still there."""
        return dict(await self.started.beginning_offsets(list(partitions)))

    @property
    def started(self) -> AIOKafkaConsumer:
        """Raises RuntimeError before `start`."""
        if self.consumer is None:
            raise RuntimeError("Ends was not started")
        return self.consumer
