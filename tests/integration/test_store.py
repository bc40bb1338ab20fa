"""The append and what guards it, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from chassis import statements, store
from chassis.database import VIOLATIONS, constraint_of
from chassis.decider import Rejected
from chassis.store import START, EventStore, Head, Outcome, Written, head_after
from contracts import topics
from contracts.access import OperatorActed
from contracts.event import NO_HASH, chained
from tests.support.servers import Servers
from tests.support.writing import Take, Writing, command_key, rows_of, tables_verify, violations, writing


@pytest.fixture
async def house(servers: Servers, own_prefix: str) -> AsyncIterator[Writing]:
    async with writing(servers, own_prefix) as found:
        yield found


def taking(*things: str) -> list[OperatorActed]:
    return [OperatorActed(command="take", arguments=(thing, "anybody"), why="needed") for thing in things]


async def written(house: Writing, stream: str, head: Head, *things: str) -> list[Written[OperatorActed]]:
    ask = await house.ask(Take(things), stream)
    return house.store.write(head, ask, taking(*things), ask.now)


async def append(
    house: Writing, stream: str, head: Head, facts: Sequence[Written[Any]], key: str | None = None, body: str = "body"
) -> Outcome:
    named = command_key(key or str(uuid4()), body)
    return await house.store.append_alone(stream, head, facts, named, b'{"position":"prescribing:1"}')


async def test_facts_of_one_command_are_kept_in_order_chained_and_queued(house: Writing) -> None:
    facts = await written(house, "p", START, "a", "b", "c")

    assert (await append(house, "p", START, facts)).name == "appended"

    rows = await tables_verify(house.engine, at_least=3)
    assert [(row.sequence, row.value, row.hash) for row in rows] == [
        (one.event.sequence, one.value, one.event.hash) for one in facts
    ]
    async with house.engine.connect() as session:
        queued = await session.execute(text("SELECT stream, sequence, topic FROM outbox ORDER BY position"))
        assert queued.all() == [
            ("p", 1, "prescribing.events"),
            ("p", 2, "prescribing.events"),
            ("p", 3, "prescribing.events"),
        ]


async def test_what_is_kept_is_what_will_be_published(house: Writing) -> None:
    ask = await house.ask(Take(("a",)), "p")
    (one,) = house.store.write(START, ask, taking("a"), ask.now, traceparent="00-trace")
    await append(house, "p", START, [one])

    (row,) = await rows_of(house.engine)

    assert row.headers["content-type"] == "application/json"
    assert row.headers["traceparent"] == "00-trace"
    assert row.headers["ce_sequence"] == "000000000001"
    assert row.headers["ce_hash"] == chained(NO_HASH, row.headers, row.value).hex()  # Transport is not hashed.


async def test_a_number_that_is_taken_undoes_the_whole_command(house: Writing) -> None:
    await append(house, "p", START, await written(house, "p", START, "a"))

    outcome = await append(house, "p", START, await written(house, "p", START, "b", "c"), key="mine")

    assert outcome.name == "behind"
    assert len(await rows_of(house.engine)) == 1
    async with house.store.single.connect() as session:
        assert await house.store.earlier_reply(session, command_key("mine")) is None


async def test_a_rival_that_commits_at_the_last_moment_raises(house: Writing) -> None:
    mine, rivals = await written(house, "p", START, "a"), await written(house, "p", START, "b")
    async with house.engine.connect() as session:
        await house.store.append(session, "p", START, rivals, command_key("rival"), b"{}")
        waiting = asyncio.create_task(append(house, "p", START, mine))
        await until_blocked(house)
        await session.commit()

    with pytest.raises(VIOLATIONS) as lost:
        await waiting

    assert constraint_of(lost.value) == store.EVENT_KEY
    assert len(await rows_of(house.engine)) == 1


async def until_blocked(house: Writing) -> None:
    async with asyncio.timeout(30), house.store.single.connect() as session:
        waits = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not await session.scalar(waits):  # noqa: ASYNC110  It is another session's state.
            await asyncio.sleep(0.01)


async def test_the_same_key_waits_for_its_rival_and_then_asks_again(house: Writing) -> None:
    async with house.engine.connect() as session:
        await house.store.append(session, "p", START, await written(house, "p", START, "a"), command_key("k"), b"first")
        waiting = asyncio.create_task(append(house, "q", START, await written(house, "q", START, "a"), key="k"))
        await until_blocked(house)
        await session.commit()

    assert (await waiting).name == "raced"
    assert await append(house, "q", START, await written(house, "q", START, "a"), key="k") == Outcome(
        "replayed", b"first"
    )


async def test_a_key_is_answered_again_even_when_the_stream_has_moved_on(house: Writing) -> None:
    first = await written(house, "p", START, "a")
    await append(house, "p", START, first, key="k")
    await append(house, "p", head_after(first[0].event), await written(house, "p", head_after(first[0].event), "b"))

    again = await append(house, "p", START, first, key="k")
    other = await append(house, "p", START, first, key="k", body="another")

    assert again == Outcome("replayed", b'{"position":"prescribing:1"}')
    assert other.name == "key_reused"


async def test_keys_of_other_people_routes_and_issuers_are_other_keys(house: Writing) -> None:
    facts = await written(house, "p", START, "a")
    await append(house, "p", START, facts, key="k")
    async with house.store.single.connect() as session:
        for changed in ({"issuer": "x"}, {"subject": "x"}, {"route": "x"}):
            key = store.CommandKey(**{**store.named_key(command_key("k")), **changed})
            assert await house.store.earlier_reply(session, key) is None


async def test_a_fact_never_follows_one_that_is_not_there(house: Writing) -> None:
    """The predecessor check: a writer whose memory is ahead of the table, or of another history, gets nowhere."""
    imagined = await written(house, "p", START, "a", "b")
    ahead = head_after(imagined[1].event)
    async with house.store.single.connect() as session:
        assert (await append(house, "p", ahead, await written(house, "p", ahead, "c"))).name == "ahead"
        assert await house.store.append_all(session, {"p": (ahead, await written(house, "p", ahead, "c"))}) == {"p"}

        await append(house, "p", START, await written(house, "p", START, "x", "y"))
        assert (await append(house, "p", ahead, await written(house, "p", ahead, "c"))).name == "ahead"
        assert await house.store.append_all(session, {"p": (ahead, await written(house, "p", ahead, "c"))}) == {"p"}
    assert len(await tables_verify(house.engine)) == 2


KNOWN = """CAST($5 AS bigint) = 0 OR EXISTS (SELECT FROM event
                                WHERE stream = $6 AND sequence = $5 AND hash = $7) AS known"""
UNCHECKED = "CAST($5 AS bigint) >= 0 AND CAST($7 AS bytea) IS NOT NULL AS known"


async def test_without_the_predecessor_check_a_forked_memory_breaks_the_chain(
    house: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plants the statement without its check and sees what the check is for: the same steps, and a broken chain."""
    assert KNOWN in statements.APPEND.sql
    planted = replace(statements.APPEND, sql=statements.APPEND.sql.replace(KNOWN, UNCHECKED))
    monkeypatch.setattr(store, "APPEND", planted)
    await append(house, "p", START, await written(house, "p", START, "x", "y"))
    imagined = await written(house, "p", START, "a", "b")
    ahead = head_after(imagined[1].event)

    outcome = await append(house, "p", ahead, await written(house, "p", ahead, "c"))

    assert outcome.name == "appended"
    assert violations(await rows_of(house.engine)) == ["p 3: does not continue the hash before it"]


async def test_an_append_waits_for_who_has_claimed_the_stream(house: Writing) -> None:
    for stream in ("p", "q"):
        async with house.engine.connect() as session:
            await session.execute(statements.CLAIM_ALL, {"streams": [stream]})
            facts = await written(house, stream, START, "a")
            waiting = asyncio.create_task(
                append(house, stream, START, facts) if stream == "p" else append_all(house, {stream: (START, facts)})
            )
            await until_blocked(house)
            await append(house, "other", START, await written(house, "other", START, "a"))  # Nobody else waits.
            await session.rollback()
        await waiting
    assert [row.stream for row in await rows_of(house.engine)] == ["other", "p", "q"]


async def append_all(house: Writing, appends: dict[str, tuple[Head, list[Written[OperatorActed]]]]) -> set[str]:
    async with house.store.single.connect() as session:
        return await house.store.append_all(session, appends)


async def test_many_streams_are_appended_to_or_none(house: Writing) -> None:
    await append(house, "b", START, await written(house, "b", START, "x"))
    everybody = {stream: (START, await written(house, stream, START, "a", "b")) for stream in "cab"}
    async with house.store.single.connect() as session:
        assert await house.store.append_all(session, everybody) == {"b"}
        assert len(await rows_of(house.engine)) == 1

        del everybody["b"]
        assert await house.store.append_all(session, everybody) == set()

        queued = await session.execute(text("SELECT stream, sequence FROM outbox ORDER BY position"))
        assert queued.all() == [("b", 1), ("a", 1), ("a", 2), ("c", 1), ("c", 2)]
    await tables_verify(house.engine, at_least=5)


async def test_a_tail_longer_than_a_page_is_read_whole(house: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PAGE", 3)
    head = START
    for nth in range(4):
        facts = await written(house, "p", head, f"a{nth}", f"b{nth}")
        await append(house, "p", head, facts)
        head = head_after(facts[-1].event)
    await append(house, "q", START, await written(house, "q", START, "a"))
    second = head_after(facts[0].event)

    async with house.store.single.connect() as session:
        tails = await house.store.tails(session, {"p": START, "q": START, "nobody": START})
        assert tails["p"] is not None
        assert [event.sequence for event in tails["p"]] == list(range(1, 9))
        assert [len(tail or ()) for tail in tails.values()] == [8, 1, 0]
        assert [e.sequence for e in (await house.store.tails(session, {"p": second}))["p"] or ()] == [8]
        other = Head(second.sequence, bytes(32), second.recorded_at)
        assert (await house.store.tails(session, {"p": other}))["p"] is None


async def test_what_is_read_back_is_what_was_decided(house: Writing) -> None:
    facts = await written(house, "p", START, "a", "b")
    await append(house, "p", START, facts)
    async with house.store.single.connect() as session:
        assert (await house.store.tails(session, {"p": START}))["p"] == [one.event for one in facts]


async def test_recorded_time_never_goes_back_in_a_stream(house: Writing) -> None:
    ask = await house.ask(Take(("a",)), "p")
    (first,) = house.store.write(START, ask, taking("a"), ask.now)
    earlier = ask.now - timedelta(hours=1)
    (second,) = house.store.write(head_after(first.event), ask, taking("b"), earlier)

    assert second.event.recorded_at == first.event.recorded_at


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("a" * 600_000, "fact_too_large"),
        ("nul \0 in it", "text_not_storable"),
        ("lone \ud800 surrogate", "text_not_storable"),
    ],
)
async def test_a_fact_that_readers_could_not_store_is_refused_by_name(house: Writing, why: str, reason: str) -> None:
    fact = OperatorActed.model_construct(command="take", arguments=("a", "b"), why=why)
    ask = await house.ask(Take(("a",)), "p")
    with pytest.raises(Rejected) as refusal:
        house.store.write(START, ask, [fact], ask.now)
    assert refusal.value.reason == reason


async def test_a_backslash_before_u0000_is_text_like_any_other(house: Writing) -> None:
    fact = OperatorActed(command="take", arguments=("a", "b"), why=r"the six characters \u0000, and \\u0000")
    ask = await house.ask(Take(("a",)), "p")
    facts = house.store.write(START, ask, [fact], ask.now)
    await append(house, "p", START, facts)
    async with house.store.single.connect() as session:
        assert (await house.store.tails(session, {"p": START}))["p"] == [facts[0].event]


async def test_a_person_who_is_a_patient_too_has_two_streams(house: Writing) -> None:
    access = EventStore(house.engine, "/prescribing/access", topics.ACCESS)
    ask = await house.ask(Take(("a",)), "p")
    await append(house, "p", START, await written(house, "p", START, "a"))
    async with house.store.single.connect() as session:
        facts = access.write(START, ask, taking("a"), ask.now)
        assert not await access.append_all(session, {access.stream("p"): (START, facts)})

    rows = await tables_verify(house.engine, at_least=2)
    assert [(row.stream, row.headers["ce_source"], row.headers["ce_partitionkey"]) for row in rows] == [
        ("access/p", "/prescribing/access", "p"),
        ("p", "/prescribing", "p"),
    ]


async def test_sixteen_writers_with_memories_stale_ahead_and_forked_leave_every_chain_whole(house: Writing) -> None:
    """Straight at the store, without turns: what a writer believes is made wrong on purpose, at random."""
    accepted: list[tuple[str, int, bytes]] = []

    async def writer(number: int) -> None:
        random = Random(number)
        heads: dict[str, Head] = {}
        for nth in range(60):
            stream = f"s{random.randrange(4)}"
            head = heads.get(stream, START)
            if random.random() < 0.1:
                head = Head(head.sequence + random.randint(0, 2), random.randbytes(32), head.recorded_at)
            facts = await written(house, stream, head, *(f"{number} {nth} {n}" for n in range(random.randint(1, 3))))
            try:
                outcome = (await append(house, stream, head, facts)).name
            except VIOLATIONS as error:
                if constraint_of(error) != store.EVENT_KEY:
                    raise
                outcome = "behind"
            if outcome == "appended":
                accepted.extend((stream, one.event.sequence, one.event.hash) for one in facts)
                heads[stream] = head_after(facts[-1].event)
            else:
                async with house.store.single.connect() as session:
                    tail = (await house.store.tails(session, {stream: START}))[stream]
                heads[stream] = head_after(tail[-1]) if tail else START

    await asyncio.gather(*(writer(number) for number in range(16)))

    rows = await tables_verify(house.engine, at_least=100)
    assert sorted(accepted) == [(row.stream, row.sequence, row.hash) for row in rows]
