"""All works of one process, each a FastStream batch subscriber over all its topics.

What FastStream does by itself is switched off: it parses and decodes nothing, answers nobody, commits nothing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import KafkaAckableMessage

from .assignment import Assignment, Health, StopProcess, Work, stop_process
from .kafka import STOP_S, Ends, cluster_id, create_broker, subscriber_options, topic_name

__all__ = ["Consumers", "Health", "Work", "subscribe"]


async def keep_bytes(records: tuple[ConsumerRecord, ...]) -> KafkaMessage:
    """A parser that cannot fail. FastStream's own chokes on a null header, and the next commit passes the record."""
    return KafkaAckableMessage(body=[], headers={}, raw_message=records, consumer=None)


async def undecoded(message: KafkaMessage) -> object:
    """A decoder that does nothing: records are decoded one by one, when their turn is known."""
    return message.body


def subscribe(
    broker: KafkaBroker, work: Work, *, group: str, prefix: str, slot: str, cluster: str, ends: Ends, stop: StopProcess
) -> Assignment:
    """Hang a work on the broker: one subscriber over all its topics."""
    assignment = Assignment(work, prefix, cluster, ends, lambda: subscriber.consumer, stop)
    options = subscriber_options(group=group, slot=slot, batch_size=work.batch_size)
    subscriber: Any = broker.subscriber(
        *(topic_name(prefix, topic) for topic in work.topics),
        **options,
        listener=assignment,
        parser=keep_bytes,
        decoder=undecoded,
    )

    @subscriber  # type: ignore[untyped-decorator]
    async def on_batch(_: Any, message: KafkaMessage) -> None:
        await assignment.receive(message.raw_message)

    return assignment


class Consumers:
    """All works of one process, on one broker."""

    def __init__(
        self,
        bootstrap: str,
        house: str,
        works: Sequence[Work],
        *,
        prefix: str = "",
        slot: str = "0",
        stop: StopProcess = stop_process,
    ) -> None:
        self.bootstrap, self.house, self.works, self.prefix, self.slot = bootstrap, house, works, prefix, slot
        self.stop_process = stop
        self.ends = Ends(bootstrap)
        self.assignments: list[Assignment] = []
        self.broker: KafkaBroker | None = None
        self.watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the groups. Topics and tables are there."""
        cluster = await cluster_id(self.bootstrap)
        await self.ends.start()
        self.broker = create_broker(self.bootstrap)
        self.assignments = [
            subscribe(
                self.broker,
                work,
                group=f"{self.prefix}{self.house}.{work.name}.v{work.version}",
                prefix=self.prefix,
                slot=self.slot,
                cluster=cluster,
                ends=self.ends,
                stop=self.stop_process,
            )
            for work in self.works
        ]
        await self.broker.start()
        self.watches = [asyncio.create_task(assignment.watch()) for assignment in self.assignments]

    async def stop(self) -> None:
        """Finish the batches in flight, in bounded time; what is cut off is read again at the next start."""
        for watch in self.watches:
            watch.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                if self.broker:
                    await self.broker.stop()
                await self.ends.stop()

    def health(self) -> list[Health]:
        """How each work fares; none is claimed before `start`."""
        if not self.assignments:
            return [Health(work.name, False, 0, 0.0, False) for work in self.works]
        return [assignment.health() for assignment in self.assignments]
