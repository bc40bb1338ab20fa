"""Who waits until a reader has come as far as a position: woken by the writer in this process, else by a look.

The writer may well be another process, so whoever waits is also looked up, all of them in one query.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .position import Position

LOOK_S = 0.01  # One query on primary keys, and only while somebody waits.


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a key has come: the last sequence of each source. `blocked`: something of it waits for a repair."""

    seen: Mapping[str, int]
    blocked: bool

    def passed(self, after: Sequence[Position]) -> bool:
        """Whether all of these positions have been seen."""
        return all(self.seen.get(position.source, 0) >= position.sequence for position in after)


Look = Callable[[Sequence[str]], Awaitable[Mapping[str, Standing]]]


@dataclass(eq=False, slots=True)
class Waiter:
    after: Sequence[Position]
    answer: asyncio.Future[bool]

    def consider(self, standing: Standing) -> None:
        """Answer if there is something to answer."""
        if self.answer.done():
            return
        if standing.passed(self.after):
            self.answer.set_result(True)
        elif standing.blocked:
            self.answer.set_result(False)


class Arrivals:
    """Those who wait, by key. `look` reads where keys stand; a key without a row may be left out."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.waiting: dict[str, list[Waiter]] = {}
        self.looking: asyncio.Task[None] | None = None

    async def wait(self, key: str, after: Sequence[Position], timeout_s: float) -> bool:
        """Whether the key has passed all positions; False when time is up, and at once when the key is blocked.

        Raises what the first look raises; later ones are repeated until the time is up.
        """
        if not after:
            return True
        waiter = Waiter(after, asyncio.get_running_loop().create_future())
        self.waiting.setdefault(key, []).append(waiter)  # Before the look, or what is written just after it is missed.
        try:
            self.announce(await self.look([key]))
            if not waiter.answer.done() and (self.looking is None or self.looking.done()):
                self.looking = asyncio.create_task(self.keep_looking())
            async with asyncio.timeout(timeout_s):
                return await waiter.answer
        except TimeoutError:
            return False
        finally:
            self.waiting[key].remove(waiter)
            if not self.waiting[key]:
                del self.waiting[key]

    def announce(self, standings: Mapping[str, Standing]) -> None:
        """These keys stand here now: committed, or just read."""
        for key in self.waiting.keys() & standings.keys():
            for waiter in self.waiting[key]:
                waiter.consider(standings[key])

    async def keep_looking(self) -> None:
        """While anybody waits."""
        while self.waiting:
            await asyncio.sleep(LOOK_S)
            with suppress(Exception):  # The database is away: who waits runs out of time, or it comes back.
                self.announce(await self.look(list(self.waiting)))
