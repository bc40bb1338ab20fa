"""Worker processes of their own, a load for them, and the judge of what came of it."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from chassis.progress import Progress
from deploy.local import Identity, NotRunning, Program
from deploy.local.places import CHECKOUT
from tests.reference.counted import Fact as Counted
from tests.reference.counted import documents, sections_of
from tests.support.counting import Settings
from tests.support.reading import Published, Reading, facts_of, patient, soon
from tests.support.servers import Servers

LEAST_FACTS, LEAST_RATE = 1_000, 100.0
PATIENTS = 40
SOURCES = ("/patients", "/prescribing", "/therapy")


@dataclass
class Workers:
    """Counting workers under the supervisor, which brings back one that ends."""

    servers: Servers
    settings: Settings
    module: str = "tests.support.counting"
    started: list[str] = field(default_factory=list)

    def start(self, process: str, *, slot: str | None = None) -> None:
        """One process; two may be told the same slot."""
        told = replace(self.settings, slot=slot or process)
        self.servers.stack.start(
            Program(
                name=self.name(process),
                command=(sys.executable, "-m", self.module),
                environment={**told.environment(), "PYTHONPATH": str(CHECKOUT)},
            )
        )
        self.started.append(process)

    def name(self, process: str) -> str:
        return f"{self.settings.prefix}worker-{process}"

    async def signal(self, process: str, number: int) -> Identity:
        """Signal it; one that has just been killed is waited for."""
        until = time.monotonic() + 30.0
        while True:
            try:
                return await asyncio.to_thread(self.servers.stack.signal, self.name(process), number)
            except NotRunning:
                assert time.monotonic() < until, f"{process} was not brought back"
                await asyncio.sleep(0.05)

    def log(self, process: str) -> str:
        """All that its processes have said."""
        return (self.servers.stack.places.log / f"{self.name(process)}.log").read_text("utf-8")

    def hold(self, process: str) -> None:
        """End it for good."""
        self.servers.stack.hold(self.name(process))
        self.started.remove(process)

    def end(self) -> None:
        for process in list(self.started):
            self.hold(process)


@dataclass
class Load:
    """Facts of many patients and sources, published as a relay does that dies now and then: some come again."""

    house: Reading
    random: random.Random
    rate: float = 300.0
    seconds: float = 0.0
    enough: bool = False

    async def pour(self) -> None:
        """Until there is enough, and no less than what counts as a load, at `rate` facts a second."""
        began = time.monotonic()
        count = 0
        while not self.enough or count < LEAST_FACTS:
            records = [
                self.house.chains.next(self.random.choice(SOURCES), patient(self.random.randrange(PATIENTS)))
                for _ in range(10)
            ]
            await self.house.publish(*records, *self.again(records))
            count += len(records)
            await asyncio.sleep(max(0.0, began + count / self.rate - time.monotonic()))
        self.seconds = time.monotonic() - began

    def again(self, records: list[Published]) -> list[Published]:
        """Sometimes the last few once more, as after a takeover: 5 6 7 5 6 7."""
        return records[-self.random.randrange(1, 8) :] if self.random.random() < 0.1 else []

    def judge(self) -> str:
        """What this load was. Fails when it was none."""
        facts = len(facts_of(self.house.published))
        rate = facts / self.seconds
        assert facts >= LEAST_FACTS, f"only {facts} facts"
        assert rate >= LEAST_RATE, f"only {rate:.0f} facts a second"
        return f"{facts} facts, {rate:.0f} a second"


@asynccontextmanager
async def loaded(house: Reading, seed: int, rate: float = 300.0) -> AsyncIterator[Load]:
    """A load for as long as the context lasts."""
    load = Load(house, random.Random(seed), rate)
    pouring = asyncio.create_task(load.pour())
    try:
        yield load
    finally:
        load.enough = True
        await pouring


MOVES = """
    CREATE TABLE moved (topic text, part int, epoch bigint, before bigint, after bigint);
    CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO moved VALUES (NEW.topic, NEW.part, NEW.epoch, OLD.next_offset, NEW.next_offset); RETURN NEW; END
    $$;
    CREATE TRIGGER note_move AFTER UPDATE OF next_offset ON checkpoint FOR EACH ROW
    WHEN (OLD.next_offset <> NEW.next_offset) EXECUTE FUNCTION note_move()"""


async def note_moves(house: Reading) -> None:
    """Write down every move of an offset from now on."""
    for statement in MOVES.split(";\n    CREATE "):
        await house.execute(statement if statement.lstrip().startswith("CREATE") else f"CREATE {statement}")


async def violations(house: Reading, *, within_s: float = 90.0) -> list[str]:
    """What is wrong once everything published has been read. Empty: nothing lost, nothing twice, order kept."""
    progress = Progress(house.engine, house.servers.kafka, [house.counting()], prefix=house.prefix)
    await progress.start()

    async def read() -> bool:
        try:
            return await progress.lag() == 0
        except Exception:  # The database may still be coming back.
            return False

    try:
        await soon(read, within_s)
    finally:
        await progress.stop()
    return [*(await wrongly_counted(house)), *(await set_aside(house)), *(await wrong_moves(house))]


async def wrongly_counted(house: Reading) -> list[str]:
    wanted, found = facts_of(house.published), await house.counted()
    lost, foreign = set(wanted) - set(found), set(found) - set(wanted)
    wrong = [f"lost: {told(fact)}" for fact in sorted(lost)] + [f"foreign: {told(fact)}" for fact in sorted(foreign)]
    if len(found) != len(set(found)):
        wrong.append(f"twice: {len(found) - len(set(found))} applications")
    reference = documents(wanted)
    stored = {key: sections_of(document) for key, document in (await house.documents()).items()}
    return wrong + [
        f"document of {key} is not what its facts come to"
        for key in sorted(reference.keys() | stored.keys())
        if reference.get(key) != stored.get(key)
    ]


def told(fact: Counted) -> str:
    return " ".join(str(part) for part in fact[:3])


async def set_aside(house: Reading) -> list[str]:
    rows = await house.rows("SELECT key, source, sequence, reason FROM parked ORDER BY id")
    return [f"set aside: {row.source} {row.key} {row.sequence} {row.reason}" for row in rows]


async def wrong_moves(house: Reading) -> list[str]:
    """Offsets that somebody moved who was not their owner any more: they go back, or an older epoch moves them."""
    if not await house.rows("SELECT 1 FROM pg_tables WHERE tablename = 'moved'"):
        return []
    rows = await house.rows("SELECT topic, part, before, after FROM moved WHERE after < before")
    return [f"offset went back: {row.topic} {row.part} from {row.before} to {row.after}" for row in rows]


async def reading_everywhere(house: Reading) -> None:
    """Wait until some worker has claimed every partition."""

    async def claimed() -> bool:
        [row] = await house.rows("SELECT count(*) FROM checkpoint")
        return bool(row[0] == 12)

    await soon(claimed)


KILL, STOP, GO_ON = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
