"""The loop on a real Kafka: claiming, recovering, and ending when it is not the owner any more."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from chassis.assignment import Assignment
from chassis.checkpoints import Held
from chassis.consuming import Consumers
from chassis.kafka import subscriber_options
from tests.reference.counted import documents, sections_of
from tests.support.counting import HOUSE
from tests.support.reading import Reading, Stopped, facts_of, patient, reading, soon
from tests.support.servers import Servers


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, own_prefix) as found:
        yield found


async def counts(house: Reading) -> None:
    """Everything published was applied once."""
    wanted = facts_of(house.published)
    assert await house.counted() == wanted
    found = {key: sections_of(document) for key, document in (await house.documents()).items()}
    assert found == documents(wanted)


async def told(house: Reading, count: int = 60) -> None:
    for n in range(count):
        await house.tell(("/patients", "/prescribing", "/therapy")[n % 3], patient(n % 7))


@dataclass
class Hindered:
    """A work whose `apply` goes wrong in some way before or after it has done what it should."""

    work: Any
    before: list[BaseException] = field(default_factory=list)
    after: list[BaseException] = field(default_factory=list)
    calls: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.work, name)

    async def apply(
        self, batch: Mapping[TopicPartition, Sequence["ConsumerRecord[Any, Any]"]], held: Mapping[TopicPartition, Held]
    ) -> None:
        self.calls += 1
        if self.before:
            raise self.before.pop()
        await self.work.apply(batch, held)
        if self.after:
            raise self.after.pop()


async def test_what_is_published_is_applied_once_and_kafka_is_told_where_we_are(house: Reading) -> None:
    work = house.counting()
    async with house.consuming(work) as consumers:
        await told(house)
        await house.applied(work)
        await counts(house)
        [health] = consumers.health()
        assert (health.claimed, health.partitions, health.stalled) == (True, 12, False)


async def test_a_worker_started_again_goes_on_where_the_table_says(house: Reading) -> None:
    for _ in range(3):
        work = house.counting()
        async with house.consuming(work):
            await told(house, 20)
            await house.applied(work)
    await counts(house)


async def test_two_workers_share_the_patients_and_one_takes_over_from_the_other(house: Reading) -> None:
    first, second = house.counting(), house.counting()
    async with house.consuming(first, slot="0") as zero:
        await told(house, 30)
        async with house.consuming(second, slot="1") as one:

            async def shared() -> bool:
                return [health.partitions for health in (*zero.health(), *one.health())] == [6, 6]

            publishing = asyncio.create_task(told(house, 200))
            await soon(shared)
            await publishing
            await house.applied(first)
            await counts(house)
    await counts(house)


async def test_after_a_failure_the_batch_comes_again(house: Reading) -> None:
    work = Hindered(house.counting(), before=[ConnectionResetError(), TimeoutError(), ValueError()])
    async with house.consuming(work):
        await told(house)
        await house.applied(work)
    await counts(house)


async def test_a_commit_whose_outcome_stays_unknown_is_found_to_have_been_made(house: Reading) -> None:
    work = Hindered(house.counting(), after=[ConnectionResetError(), ConnectionResetError()])
    async with house.consuming(work):
        await told(house)
        await house.applied(work)
        await told(house)
        await house.applied(work)
    assert work.after == []
    await counts(house)


async def test_a_checkpoint_set_back_while_idle_is_noticed_and_repeats_are_dropped(house: Reading) -> None:
    work = house.counting()
    async with house.consuming(work):
        await told(house)
        await house.applied(work)
        await house.execute("UPDATE checkpoint SET next_offset = 0")
        await house.applied(work)
        await told(house, 9)
        await house.applied(work)
    await counts(house)


async def test_a_view_restored_with_its_offsets_catches_up_by_itself(house: Reading) -> None:
    work = house.counting()
    async with house.consuming(work):
        await told(house)
        await house.applied(work)
        async with house.engine.begin() as tx:
            await tx.exec_driver_sql("UPDATE checkpoint SET next_offset = 0")
            await tx.exec_driver_sql("TRUNCATE counting_v1.document, counting_v1.entry")
        await house.applied(work)
    await counts(house)


async def test_a_worker_whose_partitions_are_newly_claimed_ends_even_when_idle(house: Reading) -> None:
    work, reasons = house.counting(), list[str]()
    consumers = told_to_stop(house, work, reasons)
    await work.prepare()
    await consumers.start()
    try:
        await told(house, 9)
        await house.applied(work)
        await house.execute("UPDATE checkpoint SET epoch = epoch + 1 WHERE part = 2")

        async def stopped() -> bool:
            return "newer_epoch" in reasons

        await soon(stopped)
    finally:
        await consumers.stop()


@pytest.mark.parametrize("change", ["next_offset = 1000000", "cluster = 'another'"])
async def test_a_worker_does_not_start_on_offsets_that_mean_something_else(house: Reading, change: str) -> None:
    work, reasons = house.counting(), list[str]()
    async with house.consuming(work):
        await told(house, 9)
        await house.applied(work)
    await house.execute(f"UPDATE checkpoint SET {change} WHERE part = 1")
    consumers = told_to_stop(house, work, reasons)
    starting = asyncio.create_task(consumers.start())
    try:

        async def stopped() -> bool:
            return "claim_failed" in reasons

        await soon(stopped)
    finally:
        starting.cancel()
        await consumers.stop()
    await counts(house)


def told_to_stop(house: Reading, work: Any, reasons: list[str]) -> Consumers:
    """Consumers that note why they would have ended the process."""

    def stop(reason: str) -> Any:
        reasons.append(reason)
        raise Stopped(reason)

    return Consumers(house.servers.kafka, HOUSE, [work], prefix=house.prefix, slot="0", stop=stop)


class Position:
    """Stands for a consumer whose position is told, and that notes where it was sent."""

    def __init__(self, position: int) -> None:
        self.at = position
        self.sought: list[int] = []

    async def position(self, _: TopicPartition) -> int:
        return self.at

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.sought.append(offset)


@dataclass(frozen=True)
class At:
    """A record, as far as its place counts."""

    offset: int
    topic: str = "patients.events"
    partition: int = 0


def holding(house: Reading, consumer: Position, next_offset: int) -> Assignment:
    partition = TopicPartition("patients.events", 0)
    assignment = Assignment(house.counting(), "", "", None, lambda: consumer)  # type: ignore[arg-type]
    assignment.held = {partition: Held(next_offset, 1)}
    return assignment


async def handed_on(assignment: Assignment, *offsets: int) -> list[int]:
    batch = await assignment.current([At(offset) for offset in offsets])
    return [record.offset for records in batch.values() for record in records]


async def test_records_fetched_before_the_last_seek_are_dropped(house: Reading) -> None:
    assert await handed_on(holding(house, Position(15), 10), 8, 9, 10, 11) == [10, 11]
    assert await handed_on(holding(house, Position(10), 10), 10, 11) == []  # The position was set back since.
    assert await handed_on(holding(house, Position(9), 9), 0) == []


async def test_records_of_a_partition_that_is_not_held_are_dropped(house: Reading) -> None:
    assignment = holding(house, Position(15), 10)
    assignment.held = {}
    assert await handed_on(assignment, 10, 11) == []


async def test_a_hole_in_the_offsets_is_believed_when_it_is_seen_twice(house: Reading) -> None:
    consumer = Position(15)
    assignment = holding(house, consumer, 10)
    assert await handed_on(assignment, 12, 13) == []
    assert consumer.sought == [10]
    assert await handed_on(assignment, 12, 13) == [12, 13]


class Asked:
    """Kafka, as far as it answers when it is asked for the ends."""

    def __init__(self, away: bool) -> None:
        self.away = away

    async def ends(self, _: object) -> dict[TopicPartition, int]:
        if self.away:
            raise ConnectionResetError
        return {}


@pytest.mark.parametrize(
    ("given_up_s_ago", "kafka_away", "ends_with"),
    [(60.0, False, ["not_in_its_group"]), (1.0, False, []), (None, False, []), (60.0, True, [])],
    ids=["forgotten by its group", "the group is sharing out", "a spare worker", "Kafka is away"],
)
async def test_a_worker_that_gave_up_all_and_was_given_nothing_ends_once_kafka_answers(
    house: Reading, given_up_s_ago: float | None, kafka_away: bool, ends_with: list[str]
) -> None:
    said: list[str] = []
    consumer, asked = Position(0), Asked(kafka_away)
    assignment = Assignment(house.counting(), "", "", asked, lambda: consumer, said.append)  # type: ignore[arg-type]
    if given_up_s_ago is not None:
        assignment.gave_up = time.monotonic() - given_up_s_ago, {TopicPartition("patients.events", 0)}
    with suppress(ConnectionResetError):
        await assignment.look()
    assert said == ends_with


async def test_back_off_never_ends_and_never_skips(house: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery that fails is repeated: leaving the handler would skip the batch."""
    work = Hindered(house.counting(), before=[ConnectionResetError()])
    stored, failures = work.work.stored, [TimeoutError(), TimeoutError()]

    class Stored(Hindered):
        async def stored(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, Held]:
            if failures and self.calls:
                raise failures.pop()
            return await stored(partitions)  # type: ignore[no-any-return]

    hindered = Stored(work.work, before=work.before)
    async with house.consuming(hindered):
        await told(house, 12)
        await house.applied(hindered)
    assert failures == []
    await counts(house)


def test_nothing_about_delivery_is_left_to_a_default() -> None:
    options = subscriber_options(group="g", slot="0", batch_size=10)
    assert options["ack_policy"].value == "manual"
    assert options["auto_offset_reset"] == "none"
    assert options["group_instance_id"] == "g.0"
    assert [strategy.name for strategy in options["partition_assignment_strategy"]] == ["range"]
