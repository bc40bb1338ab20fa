"""A projection that counts, for tests of the reading side: an upsert would hide a fact applied twice, a count does not.

Its facts are real ones that belong to no house in particular. Their `why` says what becomes of them: `well`, or
`raises` (the fold fails until MENDED is set in the environment), or `nul` (a line that PostgreSQL refuses).

Run as a program, it is a worker process of its own: `python -m tests.support.counting`.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from chassis.assignment import Work
from chassis.consuming import Consumers
from chassis.database import create_engine, ensure_database, house_url
from chassis.documents import Documents
from chassis.logs import configure
from chassis.migrations import migrate
from chassis.projecting import Entry, Folded, Projection, projecting
from chassis.receiving import Receiving
from contracts import topics
from contracts.access import OperatorActed
from contracts.event import Event
from contracts.fact import Fact

HOUSE = "care_view"
TOPICS = (topics.PATIENTS, topics.PRESCRIBING, topics.THERAPY)


class Section(msgspec.Struct, frozen=True):
    """What one source told of one patient: how many facts, the last number, and a digest of all in their order."""

    facts: int = 0
    last: int = 0
    digest: str = ""


class Count(msgspec.Struct, frozen=True):
    """One patient, by source."""

    sections: dict[str, Section] = {}


class MustFail(Exception):
    """What a fold of ours raises that has a mistake in it."""


def project(count: Count, event: Event[Fact]) -> Count:
    fact = event.fact
    assert isinstance(fact, OperatorActed)
    if fact.why == "raises" and "MENDED" not in os.environ:
        raise MustFail
    before = count.sections.get(event.source, Section())
    digest = sha256(before.digest.encode() + event.hash).hexdigest()
    after = Section(before.facts + 1, event.sequence, digest)
    return Count(dict(sorted({**count.sections, event.source: after}.items())))


def entries(event: Event[Fact]) -> Iterable[Entry]:
    """One line for each fact, holding its hash, so that lists can be compared."""
    assert isinstance(event.fact, OperatorActed)
    spoiled = "\0" if event.fact.why == "nul" else ""
    yield Entry("counted", event.hash.hex() + spoiled)


def counting(version: int = 1) -> Projection[Count]:
    return Projection(
        name="counting",
        version=version,
        topics=TOPICS,
        initial=Count(),
        project=project,
        types=frozenset({OperatorActed.TYPE}),
        encode=msgspec.json.encode,
        decode=msgspec.json.Decoder(Count).decode,
        entries=entries,
    )


@dataclass(frozen=True)
class Settings:
    """What a worker process is told, through its environment."""

    kafka: str
    database_url: str
    prefix: str
    slot: str = "0"
    most_blocked: int = 20

    @property
    def url(self) -> str:
        return house_url(self.database_url, self.prefix, HOUSE)

    def environment(self) -> Mapping[str, str]:
        return {f"COUNTING_{name.upper()}": str(value) for name, value in vars(self).items()}

    @classmethod
    def told(cls) -> "Settings":
        found = {name: os.environ[f"COUNTING_{name.upper()}"] for name in ("kafka", "database_url", "prefix", "slot")}
        return cls(**found, most_blocked=int(os.environ["COUNTING_MOST_BLOCKED"]))


Planted = Callable[[Receiving[Folded[Count]]], Work]


async def work(settings: Settings, planted: Planted) -> None:
    """A worker until it is told to end."""
    await ensure_database(settings.url)
    engine = create_engine(settings.url, application=f"counting {settings.slot}")
    await migrate(engine, HOUSE, None, simulated=False)
    projection = counting()
    counted = projecting(
        engine, projection, documents=Documents(engine, projection), most_blocked=settings.most_blocked
    )
    await counted.prepare()
    consumers = Consumers(settings.kafka, HOUSE, [planted(counted)], prefix=settings.prefix, slot=settings.slot)
    await consumers.start()
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
    await told_to_end.wait()
    await consumers.stop()
    await engine.dispose()


def as_built(counted: Receiving[Folded[Count]]) -> Work:
    return counted


if __name__ == "__main__":
    configure("counting")
    asyncio.run(work(Settings.told(), as_built))
