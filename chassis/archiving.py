"""Rows for every fact, as it came, known type or not: a reader that keeps all and folds nothing.

The house's statements run in the transaction that moves the offsets, for each source's facts in their order.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.event import Event, Undecodable
from contracts.fact import Fact
from contracts.topics import Topic

from .arrivals import Arrivals
from .checkpoints import Checkpoints
from .codec import PLAIN, Codec, UnknownType, UnknownVersion, event_from
from .ordering import Page
from .receiving import MOST_BLOCKED, Receiving
from .records import Received
from .seen import Seen

BATCH_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class Archived:
    """A fact as it came; `event` is None when this release cannot decode it."""

    received: Received
    event: Event[Fact] | None


Archive = tuple[Archived, ...]
Statement = tuple[Executable, Mapping[str, Any] | Sequence[Mapping[str, Any]]]
Rows = Callable[[Sequence[Archived]], Sequence[Statement]]


@dataclass(frozen=True)
class Archiving:
    """What an archive does with facts whose turn it is. Never a reason to set one aside but its place."""

    seen: Seen
    rows: Rows
    codec: Codec
    arrivals: Arrivals
    lazily: bool = True

    async def prepare(self) -> None:
        """Its tables are the house's own migration."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Archiving"]:
        yield self

    async def open(self, tx: AsyncConnection, keys: Sequence[str]) -> dict[str, Page[Archive]]:
        """See sifting.Session, like the rest."""
        return await self.seen.open(tx, keys, ())

    def take(self, state: Archive, fact: Received) -> Archive:
        """One more, decoded if it can be."""
        try:
            event = event_from(fact.headers, fact.value, self.codec)
        except (Undecodable, UnknownType, UnknownVersion):
            event = None
        return (*state, Archived(fact, event))

    async def write(self, tx: AsyncConnection, pages: Sequence[Page[Archive]]) -> None:
        """The house's rows."""
        await self.seen.write(tx, pages)
        if archived := [one for page in pages for one in page.state]:
            for statement, values in self.rows(archived):
                await tx.execute(statement, values)

    def committed(self) -> None:
        """Nothing is remembered."""


def archiving(
    engine: AsyncEngine,
    name: str,
    version: int,
    topics: Sequence[Topic],
    rows: Rows,
    *,
    codec: Codec = PLAIN,
    batch_size: int = BATCH_SIZE,
    most_blocked: int = MOST_BLOCKED,
) -> Receiving[Archive]:
    """The work that keeps `rows` of every fact of these topics."""
    seen = Seen(engine, name, version)
    archive = Archiving(seen, rows, codec, Arrivals(seen.look))
    return Receiving(engine, Checkpoints(engine, name, version), archive, topics, batch_size, most_blocked)
