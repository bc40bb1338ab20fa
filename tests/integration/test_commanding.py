"""From an ask to an answer on a real PostgreSQL: races, keys, memory, rows, unknown outcomes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import commanding
from chassis.commanding import Answer, Busy, KeyReused, purged
from chassis.decider import Rejected
from chassis.store import START, Statement, head_after
from chassis.streams import Known
from contracts.access import OperatorActed
from contracts.event import Event
from tests.support.servers import Servers
from tests.support.writing import Handler, Shelf, Take, Writing, command_key, rows_of, tables_verify, writing

ROUNDS = 200


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Writing]:
    async with writing(servers, own_prefix) as found:
        yield found


async def take(
    house: Writing, handler: Handler, stream: str, *things: str, key: str | None = None, **more: Any
) -> Answer:
    command = Take(things, **more)
    return await handler.handle(await house.ask(command, stream), command_key(key, repr(command)) if key else None)


async def test_an_accepted_command_is_answered_with_its_place_and_its_facts(house: Writing) -> None:
    answer = await take(house, house.handler(), "p", "a", "b", key="k")

    assert answer.position == "prescribing:2"
    assert msgspec.json.decode(answer.reply) == {
        "position": "prescribing:2",
        "facts": [
            {"id": str(e.id), "type": "access.operator-acted.v1", "subject": "operation/take", "sequence": e.sequence}
            for e in answer.events
        ],
    }
    assert [event.id for event in answer.events] == [row.id for row in await tables_verify(house.engine, at_least=2)]


async def test_two_commands_that_exclude_each_other_are_never_both_accepted(house: Writing) -> None:
    """Two processes, each sure of its memory: either alone would pass."""
    one, other = house.handler(), house.handler()
    for nth in range(ROUNDS):
        stream = f"s{nth % 5}"
        results = await asyncio.gather(
            take(house, one, stream, f"thing {nth}", by="one", key=f"one {nth}"),
            take(house, other, stream, f"thing {nth}", by="other", key=f"other {nth}"),
            return_exceptions=True,
        )
        refused = [result.reason for result in results if isinstance(result, Rejected)]
        accepted = [result for result in results if isinstance(result, Answer)]
        assert (len(accepted), refused) == (1, ["taken"]), f"round {nth}: {results}"
    assert len(await tables_verify(house.engine)) == ROUNDS


async def test_a_refusal_is_given_only_after_reading_what_others_did(house: Writing) -> None:
    one, other = house.handler(), house.handler()
    await take(house, one, "p", "a", by="one")
    await take(house, other, "p", "b", by="other")  # Now `one` believes that only a is gone.

    with pytest.raises(Rejected, match="taken"):
        await take(house, one, "p", "b", by="one")
    assert (await take(house, one, "p", "b", by="other")).events == ()  # Asked twice, of another process.


async def test_asking_again_under_one_key_gives_the_same_bytes(house: Writing) -> None:
    first = await take(house, house.handler(), "p", "a", key="k")
    handler = house.handler()
    await take(house, handler, "p", "b")

    again = await take(house, handler, "p", "a", key="k")

    assert (again.reply, again.position, again.replayed) == (first.reply, "prescribing:1", True)
    with pytest.raises(KeyReused):
        await take(house, handler, "p", "c", key="k")
    assert len(await rows_of(house.engine)) == 2


async def test_a_reply_holds_even_when_the_command_would_be_refused_by_now(house: Writing) -> None:
    first = await take(house, house.handler(), "p", "a", by="one", limit=1, key="k")
    await take(house, house.handler(), "p", "b", by="one")

    again = await take(house, house.handler(), "p", "a", by="one", limit=1, key="k")
    assert again.reply == first.reply
    with pytest.raises(KeyReused):
        await take(house, house.handler(), "p", "c", by="one", limit=1, key="k")


async def test_an_answer_that_appends_nothing_is_kept_under_its_key_too(house: Writing) -> None:
    handler = house.handler()
    await take(house, handler, "p", "a")
    nothing = await take(house, handler, "p", "a", key="k")
    await take(house, handler, "p", "b")

    again = await take(house, handler, "p", "a", key="k")

    assert nothing.events == ()
    assert (again.reply, again.replayed) == (nothing.reply, True)
    with pytest.raises(KeyReused):
        await take(house, handler, "p", "c", key="k")


async def test_a_refused_key_may_be_used_again(house: Writing) -> None:
    handler = house.handler()
    await take(house, handler, "p", "a", by="one")
    with pytest.raises(Rejected):
        await take(house, handler, "p", "a", by="other", key="k")
    assert (await take(house, handler, "p", "b", by="other", key="k")).events


async def test_one_key_sent_from_many_places_at_once_is_one_command(house: Writing) -> None:
    answers = await asyncio.gather(*(take(house, house.handler(), "p", "a", key="k") for _ in range(16)))

    assert len({answer.reply for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len(await tables_verify(house.engine)) == 1


async def test_sixteen_clients_of_three_processes_on_one_patient_and_on_many(house: Writing) -> None:
    handlers = [house.handler(remembered=10) for _ in range(3)]
    accepted: list[Event[Any]] = []

    async def client(number: int) -> None:
        random = Random(number)
        for nth in range(40):
            stream = "busy" if random.random() < 0.5 else f"s{random.randrange(40)}"
            answer = await take(house, random.choice(handlers), stream, f"{number} {nth}", key=f"{number} {nth}")
            accepted.extend(answer.events)

    await asyncio.gather(*(client(number) for number in range(16)))

    rows = await tables_verify(house.engine, at_least=640)
    assert sorted((e.key, e.sequence, e.hash) for e in accepted) == [(r.stream, r.sequence, r.hash) for r in rows]
    assert all(handler.turns.turns == {} and len(handler.memory.known) <= 10 for handler in handlers)


async def test_a_memory_ahead_of_the_table_or_of_another_history_is_dropped_whole(house: Writing) -> None:
    handler = house.handler()
    await take(house, handler, "p", "a")
    imagined = house.store.write(START, await house.ask(Take(()), "p"), [taken("z")], await house.clock.now())
    forked = Known(head_after(imagined[-1].event), Shelf({"z": "anybody"}, 1))
    for wrong in (forked, Known(type(START)(7, bytes(32)), Shelf({"b": "nobody"}, 7))):
        handler.memory.put("p", wrong)
        await take(house, handler, "p", f"b{wrong.head.sequence}")
        state, sequence = await handler.state("p")
        assert state.facts == sequence
        assert "z" not in state.taken

    await tables_verify(house.engine, at_least=3)


def taken(thing: str) -> OperatorActed:
    return OperatorActed(command="take", arguments=(thing, "anybody"), why="needed")


DELIVERY = """CREATE TABLE delivery (thing text PRIMARY KEY, sequence bigint)"""


def deliveries(events: Sequence[Event[OperatorActed]]) -> list[Statement]:
    insert = text("INSERT INTO delivery VALUES (:thing, :sequence)")
    return [(insert, {"thing": event.fact.arguments[0], "sequence": event.sequence}) for event in events]


REFUSALS = {"delivery_pkey": Rejected("already_delivered", "Deliver something else.")}


async def delivered(house: Writing) -> list[str]:
    async with house.engine.connect() as session:
        return list((await session.execute(text("SELECT thing FROM delivery ORDER BY thing"))).scalars())


@pytest.fixture
async def with_rows(house: Writing) -> Handler:
    async with house.engine.begin() as tx:
        await tx.execute(text(DELIVERY))
    return house.handler(deliveries, refusals=REFUSALS)


async def test_rows_stand_or_fall_with_the_facts(house: Writing, with_rows: Handler) -> None:
    await take(house, with_rows, "p", "a", "b", key="k")
    assert (await take(house, with_rows, "p", "a", "b", key="k")).replayed

    with pytest.raises(Rejected, match="already_delivered"):  # Across patients: no stream of one could see it.
        await take(house, with_rows, "q", "c", "a", key="k2")

    assert await delivered(house) == ["a", "b"]
    assert [(row.stream, row.sequence) for row in await tables_verify(house.engine)] == [("p", 1), ("p", 2)]
    assert (await take(house, with_rows, "q", "c", key="k2")).position == "prescribing:1"


async def test_a_constraint_without_a_name_of_ours_is_a_fault_not_an_answer(house: Writing, with_rows: Handler) -> None:
    nameless = house.handler(deliveries)
    await take(house, nameless, "p", "a")
    with pytest.raises(Exception, match="delivery_pkey"):
        await take(house, nameless, "q", "a")
    assert nameless.memory.look("q") is None


async def test_what_runs_within_the_append_can_undo_it(house: Writing) -> None:
    handler = house.handler()

    class Changed(Exception):
        pass

    async def no_longer_mine(_: AsyncConnection) -> None:
        raise Changed

    with pytest.raises(Changed):
        await handler.handle(await house.ask(Take(("a",)), "p"), within=no_longer_mine)
    assert await rows_of(house.engine) == []
    assert (await take(house, handler, "p", "a")).position == "prescribing:1"


async def test_a_cancelled_command_leaves_no_memory_and_no_lock_and_may_be_asked_again(house: Writing) -> None:
    handler = house.handler()
    await take(house, handler, "p", "first")
    random = Random(7)
    for nth in range(40):
        command = asyncio.create_task(take(house, handler, "p", f"thing {nth}", key=f"key {nth}"))
        await asyncio.sleep(random.uniform(0, 0.006))
        command.cancel()
        with suppress(asyncio.CancelledError):
            await command
        known = handler.memory.look("p")
        rows = await rows_of(house.engine)
        assert known is None or known.head.sequence <= len(rows)
        await take(house, handler, "p", f"thing {nth}", key=f"key {nth}")
    rows = await tables_verify(house.engine)
    assert len(rows) == 41
    assert handler.turns.turns == {}


VICTIMS = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
      AND query LIKE '%INSERT INTO event%' LIMIT 2""")


async def test_a_backend_that_is_terminated_in_the_middle_is_asked_again_under_the_same_key(house: Writing) -> None:
    """Whether the commit was done is unknown each time. Goes on until enough were hit."""
    handler = house.handler()
    asked: set[str] = set()
    killed = 0

    async def client(number: int) -> None:
        for nth in range(2_000):
            if killed >= 10 and nth >= 20:
                return
            asked.add(f"{number} {nth}")
            for _ in range(50):
                try:
                    await take(house, handler, f"s{nth % 4}", f"{number} {nth}", key=f"{number} {nth}")
                    break
                except Busy:
                    await asyncio.sleep(0.05)
            else:
                pytest.fail("never accepted")

    clients = asyncio.gather(*(client(number) for number in range(12)))
    async with house.store.single.connect() as session:
        while not clients.done():
            killed += len((await session.execute(VICTIMS)).all())
            await asyncio.sleep(0.05)
    await clients

    assert killed >= 10
    things = [msgspec.json.decode(row.value)["arguments"][0] for row in await tables_verify(house.engine)]
    assert sorted(things) == sorted(asked)


async def test_a_turn_that_does_not_come_is_answered_with_busy(house: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "TURN_S", 0.05)
    handler = house.handler()
    async with handler.turns.of("p", 1):
        with pytest.raises(Busy):
            await take(house, handler, "p", "a")
    assert handler.turns.turns == {}
    await take(house, handler, "p", "a")


async def test_replies_are_forgotten_after_thirty_days_and_not_before(house: Writing) -> None:
    handler = house.handler()
    for nth in range(3):
        await take(house, handler, "p", f"thing {nth}", key=f"k{nth}")
    age = text("UPDATE command SET accepted_at = now() - CAST(:age AS text)::interval WHERE key = :key")
    async with house.engine.begin() as tx:
        await tx.execute(age, {"age": "29 days 23 hours", "key": "k1"})
        await tx.execute(age, {"age": "30 days 1 hour", "key": "k2"})

    assert await purged(house.store.single) == 1

    async with house.engine.connect() as session:
        kept = (await session.execute(text("SELECT key FROM command ORDER BY key"))).scalars().all()
    assert kept == ["k0", "k1"]
    assert (await take(house, handler, "p", "thing 2", key="k2")).events == ()  # The decider's own idempotence.


# Batches: the decisions of a reaction.


async def batch_of(house: Writing, handler: Handler, *asks: tuple[str, str]) -> list[Answer | Rejected]:
    commands = [await house.ask(Take((thing,)), stream) for stream, thing in asks]
    async with handler.batch() as batch:
        async with house.engine.begin() as tx:
            answers = await batch.decide(tx, commands)
        batch.committed()
    return answers


def told(answers: Sequence[Answer | Rejected]) -> list[str]:
    return [answer.reason if isinstance(answer, Rejected) else answer.position for answer in answers]


async def test_each_decision_of_a_batch_stands_on_the_ones_before(house: Writing) -> None:
    handler = house.handler()
    asks = [await house.ask(Take((thing,), by=by), stream) for stream, thing, by in BATCH]
    async with handler.batch() as batch:
        async with house.engine.begin() as tx:
            answers = await batch.decide(tx, asks)
        batch.committed()

    assert told(answers) == ["prescribing:1", "prescribing:1", "taken", "prescribing:2", "prescribing:2"]
    known = handler.memory.look("p")
    assert known is not None
    assert known.head.sequence == 2
    await tables_verify(house.engine, at_least=3)


BATCH = [("q", "a", "one"), ("p", "a", "one"), ("p", "a", "other"), ("p", "b", "other"), ("p", "b", "other")]


async def test_a_batch_that_is_rolled_back_is_forgotten(house: Writing) -> None:
    handler = house.handler()
    await take(house, handler, "p", "a")
    async with handler.batch() as batch, house.engine.connect() as session:
        await batch.decide(session, [await house.ask(Take(("b",)), "p")])
        await session.rollback()

    assert handler.memory.look("p") is None
    assert (await take(house, handler, "p", "b")).position == "prescribing:2"
    assert handler.turns.turns == {}


async def test_a_batch_may_decide_more_than_once(house: Writing) -> None:
    handler = house.handler()
    async with handler.batch() as batch:
        async with house.engine.begin() as tx:
            first = await batch.decide(tx, [await house.ask(Take(("a",)), "p")])
            second = await batch.decide(tx, [await house.ask(Take((t,)), "p") for t in "ab"])
        batch.committed()
    assert told([*first, *second]) == ["prescribing:1", "prescribing:1", "prescribing:2"]
    await tables_verify(house.engine, at_least=2)


async def test_only_the_streams_that_others_moved_are_decided_again(house: Writing) -> None:
    decided: list[str] = []
    handler, rival = house.handler(), house.handler()
    decide = handler.decider.decide

    def noted(shelf: Shelf, ask: Any) -> Sequence[OperatorActed]:
        decided.append(ask.key)
        return decide(shelf, ask)

    handler.decider = type(handler.decider)(handler.decider.initial, noted, handler.decider.evolve)
    appended_all = commanding.Batch.appended_all
    moved = False

    async def overtaken(batch: Any, tx: Any, drafts: Any) -> set[str]:
        nonlocal moved
        if not moved:  # Somebody is faster, between the decision and the append.
            moved = True
            await take(house, rival, "b", "thing", by="rival")
        return await appended_all(batch, tx, drafts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commanding.Batch, "appended_all", overtaken)
        answers = await batch_of(house, handler, ("a", "thing"), ("b", "thing"), ("c", "thing"))

    assert told(answers) == ["prescribing:1", "taken", "prescribing:1"]
    assert decided == ["a", "b", "c", "b"]
    await tables_verify(house.engine, at_least=3)


async def test_a_row_that_is_refused_refuses_its_own_command_only(house: Writing, with_rows: Handler) -> None:
    await take(house, with_rows, "z", "gone")

    answers = await batch_of(house, with_rows, *((f"s{n}", "gone" if n == 3 else f"thing {n}") for n in range(8)))

    assert told(answers) == ["already_delivered" if n == 3 else "prescribing:1" for n in range(8)]
    assert await delivered(house) == sorted(["gone", *(f"thing {n}" for n in range(8) if n != 3)])
    await tables_verify(house.engine, at_least=8)


async def test_batches_and_clients_at_once_leave_every_chain_whole(house: Writing) -> None:
    handlers = [house.handler(), house.handler()]
    accepted: list[Event[Any]] = []

    async def client(number: int) -> None:
        random = Random(number)
        for nth in range(30):
            answer = await take(
                house, random.choice(handlers), f"s{random.randrange(6)}", str(uuid4()), key=f"{number} {nth}"
            )
            accepted.extend(answer.events)

    async def reaction(number: int) -> None:
        random = Random(100 + number)
        for _ in range(15):
            asks = [(f"s{random.randrange(6)}", str(uuid4())) for _ in range(20)]
            for answer in await batch_of(house, handlers[number], *asks):
                assert isinstance(answer, Answer)
                accepted.extend(answer.events)

    await asyncio.gather(*(client(number) for number in range(8)), *(reaction(number) for number in range(2)))

    rows = await tables_verify(house.engine, at_least=840)
    assert sorted((e.key, e.sequence, e.hash) for e in accepted) == [(r.stream, r.sequence, r.hash) for r in rows]
