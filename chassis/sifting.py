"""The facts of a transaction, each in its turn, and what follows from them: for all keys together, or in savepoints.

Savepoints are for the batch that PostgreSQL refuses: the keys are halved until the one to blame stands alone, then
its facts are taken one by one, and only the fact to blame is set aside. Redriving goes the same careful way.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from . import parking
from .arrivals import Arrivals
from .checkpoints import Fenced
from .database import is_transient
from .ordering import DONE, Aside, Page, Verdict, arrive, offer
from .parking import TooManyBlocked
from .records import Junk, Received

S = TypeVar("S")
Facts = Mapping[str, Sequence[Received | Junk]]  # By key.

BREATHE_AFTER = 100  # Facts taken before the event loop gets a turn: a group's heartbeat must not wait for a batch.


class Session(Protocol[S]):
    """A work's part in one transaction or savepoint."""

    async def open(self, tx: AsyncConnection, keys: Sequence[str]) -> dict[str, Page[S]]:
        """The keys' rows, made where missing, locked in the order of the keys."""

    def take(self, state: S, fact: Received) -> S:
        """The state after one fact; `state` is left as it was. Raising sets the fact aside."""

    async def write(self, tx: AsyncConnection, pages: Sequence[Page[S]]) -> None:
        """The pages' rows, and what follows from their facts."""

    def committed(self) -> None:
        """The transaction is known to have committed."""


class Handling(Protocol[S]):
    """What a work does with facts whose turn it is."""

    @property
    def lazily(self) -> bool:
        """Whether a commit that a crash of PostgreSQL undoes does no harm: offsets and rows are lost together."""

    @property
    def arrivals(self) -> Arrivals:
        """Those who wait for this work."""

    async def prepare(self) -> None:
        """Make the tables that the work needs besides the chassis' own. Several processes may do so at once."""

    def session(self) -> AbstractAsyncContextManager[Session[S]]:
        """Left without `committed`, it leaves nothing behind in memory."""


@dataclass(frozen=True)
class Sifting(Generic[S]):
    """Applies facts within a transaction that somebody else began."""

    work: str
    version: int
    handling: Handling[S]
    most_blocked: int

    async def sifted(self, tx: AsyncConnection, session: Session[S], facts: Facts) -> Sequence[Page[S]]:
        """The keys' pages after their facts; nothing but the rows' locks has touched the tables yet."""
        pages = await session.open(tx, sorted(facts))
        await parking.read(tx, self.work, self.version, pages, facts)
        taken = 0
        for key, page in pages.items():
            for fact in facts[key]:
                if isinstance(fact, Junk):
                    page.put_aside(Aside(fact, Verdict.UNDECODABLE), str(fact.source))
                else:
                    arrive(page, fact, session.take)
                taken += 1
                if taken % BREATHE_AFTER == 0:
                    await asyncio.sleep(0)
        return list(pages.values())

    async def set_aside(self, tx: AsyncConnection, pages: Sequence[Page[S]]) -> None:
        """Write what the pages have set aside, released and blocked. Raises TooManyBlocked."""
        await parking.write(tx, self.work, self.version, pages, self.most_blocked)

    async def halving(self, tx: AsyncConnection, facts: Facts) -> Sequence[Page[S]]:
        """All of the keys, or each half of them, or each fact of the one that is refused."""
        try:
            async with self.handling.session() as session, tx.begin_nested():
                pages = await self.sifted(tx, session, facts)
                await session.write(tx, pages)
                await self.set_aside(tx, pages)
                return pages
        except Exception as error:
            if passing(error):
                raise
        keys = sorted(facts)
        if len(keys) == 1:
            return await self.one_by_one(tx, keys[0], facts[keys[0]])
        middle = len(keys) // 2
        first = await self.halving(tx, {key: facts[key] for key in keys[:middle]})
        return [*first, *await self.halving(tx, {key: facts[key] for key in keys[middle:]})]

    async def one_by_one(self, tx: AsyncConnection, key: str, facts: Sequence[Received | Junk]) -> Sequence[Page[S]]:
        """The facts of one key, each in a savepoint, and what waited for one of them likewise."""
        pages: list[Page[S]] = []
        for fact in facts:
            page = await self.alone(tx, key, Aside(fact, Verdict.BEHIND))
            pages.append(page)
            if isinstance(fact, Received) and page.applied and fact.place.source in page.blocked:
                pages.extend(await self.in_turn(tx, key, fact.place.source))
        return pages

    async def in_turn(self, tx: AsyncConnection, key: str, source: str) -> Sequence[Page[S]]:
        """What waits of a source, each in a savepoint, up to the first that still cannot be applied."""
        pages: list[Page[S]] = []
        for aside in await parking.waiting_of(tx, self.work, self.version, key, source):
            page = await self.alone(tx, key, aside)
            pages.append(page)
            if page.kept:
                return pages
        async with self.handling.session() as session:
            page = await self.opened(tx, session, key)
            page.free(source)
            await session.write(tx, [page])
            await self.set_aside(tx, [page])
        return [*pages, page]

    async def alone(self, tx: AsyncConnection, key: str, aside: Aside) -> Page[S]:
        """Apply one fact in a savepoint, or keep it aside with the reason."""
        refused: Exception | None = None
        while True:
            try:
                async with self.handling.session() as session, tx.begin_nested():
                    page = await self.opened(tx, session, key, aside.fact)
                    if refused:
                        aside.reason, aside.cause = Verdict.REFUSED, refused
                    else:
                        waited = aside.id is not None
                        aside.reason, aside.cause = offer(page, aside.fact, session.take, in_turn=waited)
                    note(page, aside)
                    await session.write(tx, [page])
                    await self.set_aside(tx, [page])
                    return page
            except Exception as error:
                if passing(error) or refused:
                    raise
                refused = error

    async def opened(self, tx: AsyncConnection, session: Session[S], key: str, *facts: Received | Junk) -> Page[S]:
        """One key's page under its lock, with what is blocked."""
        pages = await session.open(tx, [key])
        await parking.read(tx, self.work, self.version, pages, {key: facts})
        return pages[key]


def note(page: Page[S], aside: Aside) -> None:
    """Enter into the page what became of a fact that was tried alone."""
    source = str(aside.fact.place.source if isinstance(aside.fact, Received) else aside.fact.source)
    if aside.reason in DONE:
        if aside.id is not None:
            page.released.append(aside)
    elif aside.id is None:
        page.put_aside(aside, source)
    else:
        page.keep_aside(aside, source)


def passing(error: Exception) -> bool:
    """Whether no fact is to blame: the same may succeed later, or must not be tried again at all."""
    return is_transient(error) or isinstance(error, Fenced | TooManyBlocked | MemoryError)
