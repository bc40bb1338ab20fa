"""A shelf of things to take, the smallest decider that two people can get in each other's way with.

It stands for a house wherever the write side itself is tested. Its facts are real ones, which belong to no house in
particular, on the topic of one.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.clock import Clock
from chassis.commanding import CommandHandler
from chassis.database import create_engine, ensure_database, house_url
from chassis.decider import Ask, Decider, Rejected
from chassis.migrations import migrate
from chassis.store import CommandKey, EventStore, Rows
from contracts import topics
from contracts.access import OperatorActed
from contracts.event import NO_HASH, Event, chained
from tests.support.servers import Servers

HOUSE = "prescribing"
SOURCE = f"/{HOUSE}"


@dataclass(frozen=True)
class Take:
    """Take things off the shelf; each is there once. `limit` is how many may be gone in all."""

    things: tuple[str, ...]
    by: str = "anybody"
    limit: int = 1_000_000


@dataclass(frozen=True)
class Shelf:
    """Who took what, and how many facts said so."""

    taken: dict[str, str] = field(default_factory=dict)
    facts: int = 0


def decide(shelf: Shelf, ask: Ask[Take]) -> list[OperatorActed]:
    take = ask.command
    if all(shelf.taken.get(thing) == take.by for thing in take.things):
        return []
    if any(thing in shelf.taken for thing in take.things):
        raise Rejected("taken", "Take something else.")
    if len(shelf.taken) + len(take.things) > take.limit:
        raise Rejected("too_many", "Leave the rest on the shelf.")
    return [OperatorActed(command="take", arguments=(thing, take.by), why="needed") for thing in take.things]


def evolve(shelf: Shelf, event: Event[OperatorActed]) -> Shelf:
    thing, by = event.fact.arguments
    return Shelf({**shelf.taken, thing: by}, shelf.facts + 1)


SHELF: Decider[Shelf, Take, OperatorActed] = Decider(initial=Shelf(), decide=decide, evolve=evolve)
Handler = CommandHandler[Shelf, Take, OperatorActed]


@dataclass
class Writing:
    """A house's write side on a database of its own."""

    url: str
    engine: AsyncEngine
    clock: Clock
    store: EventStore

    def handler(self, rows: Rows[OperatorActed] | None = None, **options: object) -> Handler:
        """A new handler, that remembers nothing: as if in a process of its own."""
        return CommandHandler(SHELF, self.store, self.clock, rows=rows, **options)  # type: ignore[arg-type]

    async def ask(self, command: Take, key: str, id: UUID | None = None) -> Ask[Take]:
        now = await self.clock.now()
        return Ask(
            command=command,
            key=key,
            id=id or uuid4(),
            now=now,
            occurred_at=now,
            actor="c1000000-0000-4000-8000-000000000001",
            actor_role="operator",
            reason="SYSADMIN",
            correlation_id=uuid4(),
        )


@asynccontextmanager
async def writing(
    servers: Servers, prefix: str, *, simulated: bool = False, pool_size: int = 20
) -> AsyncIterator[Writing]:
    """A database with the chassis' tables, and a store on it."""
    url = house_url(servers.database_url, prefix, HOUSE)
    await ensure_database(url)
    engine = create_engine(url, application=f"test {HOUSE}", pool_size=pool_size)
    try:
        await migrate(engine, HOUSE, None, simulated=simulated)
        clock = Clock(engine)
        await clock.start()
        yield Writing(url, engine, clock, EventStore(engine, SOURCE, topics.PRESCRIBING))
    finally:
        await engine.dispose()


def command_key(key: str, body: str = "body") -> CommandKey:
    return CommandKey("issuer", "person", "POST /take", key, sha256(body.encode()).digest())


@dataclass(frozen=True, order=True)
class Row:
    """One event as the table has it."""

    stream: str
    sequence: int
    id: UUID
    headers: dict[str, str] = field(compare=False)
    value: bytes = field(compare=False)
    hash: bytes = field(compare=False)


async def rows_of(engine: AsyncEngine) -> list[Row]:
    """The whole event table, by stream and sequence."""
    async with engine.connect() as session:
        found = await session.execute(
            text("SELECT stream, sequence, id, headers, value, hash FROM event ORDER BY 1, 2")
        )
        return [Row(*row) for row in found]


def violations(rows: Sequence[Row]) -> list[str]:
    """What is wrong with these events: a number left out or out of place, a link of the chain that does not hold.

    Written from the contract alone; it asks nothing of the code that wrote the rows.
    """
    found = []
    ends: dict[str, tuple[int, bytes]] = {}
    for row in rows:
        before, previous = ends.get(row.stream, (0, NO_HASH))
        place = f"{row.stream} {row.sequence}"
        if row.sequence != before + 1:
            found.append(f"{place}: follows {before}")
        if chained(previous, row.headers, row.value) != row.hash:
            found.append(f"{place}: does not continue the hash before it")
        if row.headers["ce_hash"] != row.hash.hex() or int(row.headers["ce_sequence"]) != row.sequence:
            found.append(f"{place}: headers and columns differ")
        ends[row.stream] = (row.sequence, row.hash)
    return found


async def tables_verify(engine: AsyncEngine, *, at_least: int = 1) -> list[Row]:
    """The events, which are gapless and chained. Fails with fewer than `at_least`: nothing would have been shown."""
    rows = await rows_of(engine)
    assert violations(rows) == []
    assert len(rows) >= at_least
    return rows
