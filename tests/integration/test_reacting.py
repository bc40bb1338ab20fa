"""Facts that follow from other facts: appended once, with the offsets, under ids of their cause's making."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

import pytest
from aiokafka import TopicPartition

from chassis.checkpoints import Fenced
from chassis.clock import Clock
from chassis.commanding import CommandHandler
from chassis.decider import Ask, Decider, Reaction
from chassis.position import Position
from chassis.reacting import reacting
from chassis.receiving import Receiving
from chassis.store import EventStore
from contracts import topics
from contracts.access import OperatorActed
from contracts.event import Event
from contracts.fact import Fact
from tests.support.reading import ACTOR, AT, Feed, Reading, operated, patient, reading
from tests.support.servers import Servers
from tests.support.writing import SHELF, Shelf, Take, rows_of, tables_verify

ANA, BO = patient(1), patient(2)
TYPES = frozenset({OperatorActed.TYPE})


def react(event: Event[Fact]) -> Iterable[Reaction[Take]]:
    """Whatever happened to a patient is noted in this house's own stream of theirs."""
    assert isinstance(event.fact, OperatorActed)
    if event.fact.why == "raises":
        raise ValueError
    yield Reaction(Take((f"{event.source}/{event.sequence}",), by=event.fact.why), event.key)


class DecidedWrongly(Exception):
    """What a decider of ours raises that has a mistake in it."""


def decide(shelf: Shelf, ask: Ask[Take]) -> Sequence[OperatorActed]:
    if ask.command.by == "mistake":
        raise DecidedWrongly
    return SHELF.decide(shelf, ask)


def asked(take: Take) -> Ask[Take]:
    """What a person asks of Ana's shelf."""
    return Ask(take, ANA, uuid5(UUID(ANA), str(take)), AT, AT, ACTOR, "operator", "SYSADMIN", UUID(ANA))


@dataclass
class Noting:
    """A house that notes what others tell."""

    reading: Reading
    handler: CommandHandler[Shelf, Take, OperatorActed]
    clock: Clock

    def work(self, **options: Any) -> Receiving[Any]:
        return reacting(
            self.reading.engine,
            "notes",
            [topics.PATIENTS, topics.THERAPY],
            react,
            self.handler,
            self.clock,
            types=TYPES,
            **options,
        )

    async def noted(self) -> list[tuple[str, str]]:
        """Stream and thing of every fact appended."""
        rows = await rows_of(self.reading.engine)
        return [(row.stream, OperatorActed.model_validate_json(row.value).arguments[0]) for row in rows]


@asynccontextmanager
async def noting(found: Reading) -> AsyncIterator[Noting]:
    clock = Clock(found.engine)
    await clock.start()
    store = EventStore(found.engine, "/prescribing", topics.PRESCRIBING)
    decider = Decider(initial=SHELF.initial, decide=decide, evolve=SHELF.evolve)
    yield Noting(found, CommandHandler(decider, store, clock), clock)


@pytest.fixture(scope="module")
async def shared(servers: Servers, prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, f"{prefix}reacting_") as found:
        yield found


@pytest.fixture
async def house(shared: Reading) -> AsyncIterator[Noting]:
    async with noting(await shared.emptied()) as found:
        yield found


@pytest.fixture
def feed(house: Noting) -> Feed:
    return Feed(house.work())


async def test_what_follows_from_a_fact_names_its_cause_and_who_acted(house: Noting, feed: Feed) -> None:
    told = house.reading.chains.next("/patients", ANA)
    await feed(told)
    [row] = await tables_verify(house.reading.engine)
    cause = UUID(told.named["ce_id"])
    assert row.stream == ANA
    assert row.headers["ce_causationid"] == str(cause)
    assert row.headers["ce_correlationid"] == told.named["ce_correlationid"]
    assert (row.headers["ce_actor"], row.headers["ce_actorrole"]) == (ACTOR, "operator")
    assert row.headers["ce_time"] == told.named["ce_time"]


async def test_the_same_fact_leads_to_the_same_ids_in_every_database(
    servers: Servers, own_prefix: str, house: Noting, feed: Feed
) -> None:
    told = house.reading.chains.next("/patients", ANA)
    await feed(told)
    async with reading(servers, own_prefix, topics_too=False) as other, noting(other) as elsewhere:
        await Feed(elsewhere.work())(told)
        assert [row.id for row in await rows_of(elsewhere.reading.engine)] == [
            row.id for row in await rows_of(house.reading.engine)
        ]


async def test_many_facts_of_many_patients_are_noted_once_each_and_in_order(house: Noting, feed: Feed) -> None:
    facts = [
        house.reading.chains.next(source, patient(n))
        for _ in range(5)
        for source in ("/patients", "/therapy")
        for n in range(6)
    ]
    await feed(*facts[:37])
    await feed(*facts[37:], *facts[:10])
    await tables_verify(house.reading.engine, at_least=60)
    noted = await house.noted()
    for n in range(6):
        for source in ("/patients", "/therapy"):
            of_one = [thing for stream, thing in noted if stream == patient(n) and thing.startswith(source)]
            assert of_one == [f"{source}/{number}" for number in range(1, 6)]


async def test_a_reaction_set_back_to_the_start_notes_nothing_again(house: Noting, feed: Feed) -> None:
    facts = [house.reading.chains.next("/patients", ANA) for _ in range(5)]
    await feed(*facts)
    before = await rows_of(house.reading.engine)
    await house.reading.execute("UPDATE checkpoint SET next_offset = 0")
    await house.reading.execute("DELETE FROM seen")
    again = Feed(house.work())
    await again.claim()
    await again(*facts)
    assert await rows_of(house.reading.engine) == before


async def test_a_refused_command_is_recorded_and_blocks_nobody(house: Noting, feed: Feed) -> None:
    await house.handler.handle(asked(Take(("/patients/1",), by="somebody")))
    first, second = (house.reading.chains.next("/patients", ANA) for _ in range(2))
    await feed(first, second)
    assert await house.noted() == [(ANA, "/patients/1"), (ANA, "/patients/2")]
    [row] = await house.reading.rows("SELECT work, key, cause, reason FROM refused_reaction")
    assert (row.work, row.key, str(row.cause), row.reason) == ("notes", ANA, first.named["ce_id"], "taken")
    assert await house.reading.rows("SELECT * FROM blocked") == []


@pytest.mark.parametrize("why", ["raises", "mistake"])
async def test_a_mistake_in_reaction_or_decision_blocks_its_patient_alone(house: Noting, feed: Feed, why: str) -> None:
    first = house.reading.chains.next("/patients", ANA)
    poisoned = house.reading.chains.next("/patients", ANA, operated(why))
    behind = house.reading.chains.next("/patients", ANA)
    others = [house.reading.chains.next("/patients", patient(n)) for n in range(5, 15)]
    await feed(first, poisoned, behind, *others)
    await tables_verify(house.reading.engine, at_least=11)
    assert [thing for stream, thing in await house.noted() if stream == ANA] == ["/patients/1"]
    assert len(await house.noted()) == 11
    rows = await house.reading.rows("SELECT sequence, reason FROM parked ORDER BY sequence")
    reason = "fault" if why == "raises" else "refused"
    assert [(row.sequence, row.reason) for row in rows] == [(2, reason), (3, "behind")]


async def test_after_a_batch_that_was_taken_apart_the_next_commands_stand_on_what_is_in_the_table(
    house: Noting, feed: Feed
) -> None:
    await feed(*(house.reading.chains.next("/patients", ANA, operated(why)) for why in ("well", "mistake")))
    await feed(house.reading.chains.next("/therapy", ANA))
    await house.handler.handle(asked(Take(("x",))))
    await tables_verify(house.reading.engine, at_least=3)
    assert [thing for _, thing in await house.noted()] == ["/patients/1", "/therapy/1", "x"]


async def test_types_ignored_on_purpose_are_passed_and_unknown_ones_wait(house: Noting, feed: Feed) -> None:
    def told(key: str, type: str) -> Any:
        return replace(house.reading.chains.next("/patients", key).but(ce_type=type.encode()), value=b"?")

    await feed(
        told(patient(3), "patients.allergy-refuted.v1"),  # Known, and ignored.
        told(patient(4), "patients.allergy-refuted.v7"),  # Another version of what is ignored.
        told(patient(5), "access.operator-acted.v7"),  # Another version of what is reacted to.
        told(patient(6), "patients.moon-seen.v1"),  # Never heard of.
    )
    rows = await house.reading.rows("SELECT key, reason FROM parked ORDER BY id")
    assert sorted((row.key, row.reason) for row in rows) == sorted(
        [(patient(5), "unknown_version"), (patient(6), "unknown_type")]
    )
    assert await house.noted() == []


async def test_a_fenced_reaction_appends_nothing_and_remembers_nothing(house: Noting, feed: Feed) -> None:
    first, second = (house.reading.chains.next("/patients", ANA) for _ in range(2))
    await feed(first)
    newer = Feed(house.work())
    await newer.claim()
    with pytest.raises(Fenced):
        await feed(second)
    assert len(await house.noted()) == 1
    await newer(second)
    await tables_verify(house.reading.engine, at_least=2)


async def test_commands_at_the_same_moment_collide_with_the_batch_and_both_are_kept(house: Noting) -> None:
    """Two handlers, as in two processes: neither waits for its turn with the other."""
    other = CommandHandler(SHELF, house.handler.store, house.clock)
    feed = Feed(house.work())
    await feed.claim()

    async def told() -> None:
        for _ in range(10):
            await feed(*(house.reading.chains.next("/patients", key) for key in (ANA, BO)))

    await asyncio.gather(told(), *(other.handle(asked(Take((f"asked {n}",)))) for n in range(20)))
    await tables_verify(house.reading.engine, at_least=40)
    noted = [thing for stream, thing in await house.noted() if stream == ANA and thing.startswith("/")]
    assert noted == [f"/patients/{n}" for n in range(1, 11)]
    assert await house.reading.rows("SELECT * FROM parked") == []


async def test_who_knows_a_position_can_wait_until_it_is_noted(house: Noting, feed: Feed) -> None:
    await feed.claim()
    waiting = asyncio.create_task(feed.work.reached(ANA, Position("patients", 2), 10.0))
    await feed(house.reading.chains.next("/patients", ANA))
    assert not waiting.done()
    await feed(house.reading.chains.next("/patients", ANA))
    assert await waiting
    assert not await feed.work.reached(ANA, Position("patients", 3), 0.05)


async def test_through_kafka_a_reaction_keeps_up(house: Noting) -> None:
    work = house.work()
    async with house.reading.consuming(work):
        for n in range(120):
            await house.reading.tell(("/patients", "/therapy")[n % 2], patient(n % 5))
        await house.reading.applied(work)
    await tables_verify(house.reading.engine, at_least=120)
    assert len(await house.noted()) == 120
    partitions = await house.reading.rows("SELECT topic, part FROM checkpoint")
    assert {TopicPartition(row.topic, row.part) for row in partitions} == {
        TopicPartition(topic.name, part) for topic in (topics.PATIENTS, topics.THERAPY) for part in range(4)
    }
