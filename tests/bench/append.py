"""How fast facts are appended by sixteen writers, beside a bare one-row insert in the same run.

The bare insert goes through the same engine and sessions, as a service would write it, and writes the same row; so
the ratio says what the predecessor check, the client's key, the reply and the outbox cost. A second bare insert,
through the driver alone without engine or sessions of ours, says what those cost.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

import asyncpg
from sqlalchemy import text

from chassis.commanding import CommandHandler
from chassis.decider import Ask, Decider
from chassis.store import START, Head, head_after
from contracts.access import OperatorActed
from tests.support.servers import Servers, drop, new_prefix
from tests.support.writing import Writing, command_key, tables_verify, writing

NAME = "append"
WRITERS = 16
EACH = 110  # What a writer does in one run, a tenth of it to warm up.
RATIO = "append at the store ÷ bare insert"
BARS: Mapping[str, tuple[str, float]] = {
    RATIO: (">=", 0.6),
    "append at the store, p99": ("<=", 25.0),
    "accepted and not in the tables": ("<=", 0.0),
}
FACT = OperatorActed(command="take", arguments=("one", "another"), why="needed")
SAY_IT: Decider[None, None, OperatorActed] = Decider(
    initial=None, decide=lambda _state, _ask: [FACT], evolve=lambda state, _event: state
)
BARE = "INSERT INTO bare (stream, sequence, id, headers, value, hash)"
Work = Callable[[int, int], Awaitable[None]]


@dataclass(frozen=True)
class Timed:
    """One run: rows a second, and how long one took, in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


async def measure(servers: Servers, quick: bool) -> list[tuple[str, float, str]]:
    """Short runs of each, in turn, so that what else the machine does falls upon all; medians."""
    rounds = 5 if quick else 15
    prefix = new_prefix()
    try:
        async with writing(servers, prefix, pool_size=WRITERS) as house:
            return await compared(house, rounds)
    finally:
        await drop(servers, prefix)


async def growth(servers: Servers) -> list[tuple[str, float, str]]:
    """The same append with ever more events in the table, and in its writers' own streams."""
    prefix = new_prefix()
    rows: list[tuple[str, float, str]] = []
    try:
        async with writing(servers, prefix, pool_size=WRITERS) as house:
            there = 0
            for size in (0, 100_000, 1_000_000):
                await filled(house, there, size)
                there = size
                found = await timed(appending(house), 10 * EACH)
                rows.append((f"append with {size:,} events there", found.rate, "facts/s"))
                rows.append((f"append with {size:,} events there, p99", found.p99_ms, "ms"))
    finally:
        await drop(servers, prefix)
    return rows


async def compared(house: Writing, rounds: int) -> list[tuple[str, float, str]]:
    async with house.engine.begin() as tx:
        await tx.execute(text("CREATE TABLE bare (LIKE event INCLUDING ALL)"))
    pool = await asyncpg.create_pool(house.url.replace("+asyncpg", ""), min_size=WRITERS, max_size=WRITERS)
    handler = CommandHandler(SAY_IT, house.store, house.clock)
    runs: dict[str, list[Timed]] = {"bare": [], "append": [], "driver": [], "handled": []}
    try:
        for _ in range(rounds):
            runs["bare"].append(await timed(await bare(house), EACH))
            runs["append"].append(await timed(appending(house), EACH))
            runs["driver"].append(await timed(await through_the_driver(house, pool), EACH))
            runs["handled"].append(await timed(handling(house, handler), EACH))
    finally:
        await pool.close()
    missed = 2 * rounds * WRITERS * EACH - len(await tables_verify(house.engine))
    rates = {name: median(run.rate for run in several) for name, several in runs.items()}
    ratio = median(one.rate / other.rate for one, other in zip(runs["append"], runs["bare"], strict=True))
    return [
        ("bare insert", rates["bare"], "rows/s"),
        ("append at the store", rates["append"], "facts/s"),
        (RATIO, ratio, ""),
        ("append at the store, p50", median(run.p50_ms for run in runs["append"]), "ms"),
        ("append at the store, p99", median(run.p99_ms for run in runs["append"]), "ms"),
        ("command handled", rates["handled"], "commands/s"),
        ("command handled, p99", median(run.p99_ms for run in runs["handled"]), "ms"),
        ("bare insert through the driver alone", rates["driver"], "rows/s"),
        ("append at the store ÷ bare insert through the driver", rates["append"] / rates["driver"], ""),
        ("accepted and not in the tables", float(missed), "facts"),
    ]


async def timed(work: Work, each: int) -> Timed:
    """Sixteen writers, one stream each; the first tenth warms up and is not counted."""
    taken_s: list[float] = []

    async def writer(number: int, first: int, last: int) -> None:
        for nth in range(first, last):
            began = time.perf_counter()
            await work(number, nth)
            taken_s.append(time.perf_counter() - began)

    warm = each // 10
    await asyncio.gather(*(writer(number, 0, warm) for number in range(WRITERS)))
    taken_s.clear()
    began = time.perf_counter()
    await asyncio.gather(*(writer(number, warm, each) for number in range(WRITERS)))
    lasted_s = time.perf_counter() - began
    taken_s.sort()
    count = len(taken_s)
    return Timed(count / lasted_s, 1_000 * taken_s[count // 2], 1_000 * taken_s[count * 99 // 100])


async def asking(house: Writing, stream: str) -> Ask[None]:
    now = await house.clock.now()
    return Ask(None, stream, uuid4(), now, now, "person", "operator", "SYSADMIN", uuid4())


async def bare(house: Writing) -> Work:
    run = uuid4()
    ask = await asking(house, "bare")
    (one,) = house.store.write(START, ask, [FACT], ask.now)
    values = {"id": one.event.id, "headers": one.headers, "value": one.value, "hash": one.event.hash}
    insert = text(f"{BARE} VALUES (:stream, :sequence, :id, CAST(:headers AS jsonb), :value, :hash)")

    async def work(number: int, nth: int) -> None:
        async with house.store.single.connect() as session:
            await session.execute(insert, {"stream": f"{run} {number}", "sequence": nth + 1, **values})

    return work


async def through_the_driver(house: Writing, pool: asyncpg.Pool) -> Work:
    run = uuid4()
    ask = await asking(house, "bare")
    (one,) = house.store.write(START, ask, [FACT], ask.now)
    insert = f"{BARE} VALUES ($1, $2, $3, $4, $5, $6)"

    async def work(number: int, nth: int) -> None:
        async with pool.acquire() as session:
            values = (one.event.id, one.headers, one.value, one.event.hash)
            await session.execute(insert, f"{run} {number}", nth + 1, *values)

    return work


def appending(house: Writing) -> Work:
    """At the store: the fact is encoded, chained and appended under a key, each writer on a stream of its own."""
    run = uuid4()
    heads: dict[int, Head] = {}

    async def work(number: int, nth: int) -> None:
        stream = f"{run} {number}"
        head = heads.get(number, START)
        ask = await asking(house, stream)
        written = house.store.write(head, ask, [FACT], ask.now)
        key = command_key(f"{stream} {nth}")
        outcome = await house.store.append_alone(stream, head, written, key, b'{"position":"prescribing:1"}')
        assert outcome.name == "appended"
        heads[number] = head_after(written[-1].event)

    return work


def handling(house: Writing, handler: CommandHandler[None, None, OperatorActed]) -> Work:
    """The whole way of a command, from the ask to the answer."""
    run = uuid4()

    async def work(number: int, nth: int) -> None:
        stream = f"{run} {number}"
        await handler.handle(await asking(house, stream), command_key(f"{stream} {nth}"))

    return work


async def filled(house: Writing, there: int, wanted: int) -> None:
    """More events of other streams, fifty each."""
    async with house.engine.begin() as tx:
        ask = await asking(house, "filler")
        (one,) = house.store.write(START, ask, [FACT], ask.now)
        await tx.execute(text("SET LOCAL statement_timeout = 0"))
        await tx.execute(text("SET LOCAL transaction_timeout = 0"))
        fill = text("""
            INSERT INTO event (stream, sequence, id, headers, value, hash)
            SELECT 'filler ' || n / 50, n % 50 + 1, gen_random_uuid(), CAST(:headers AS jsonb), :value, :hash
            FROM generate_series(CAST(:there AS int), CAST(:wanted AS int) - 1) AS s(n)""")
        values = {"headers": one.headers, "value": one.value, "hash": one.event.hash}
        await tx.execute(fill, {**values, "there": there, "wanted": wanted})
    async with house.store.single.connect() as session:
        await session.execute(text("ANALYZE event"))
