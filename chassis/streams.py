"""What one process remembers of streams, and whose turn it is with each. Neither is needed for correctness.

The table decides; memory saves reading, and turns save collisions: without them sixteen writers starve one busy
patient.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from contracts.event import Event
from contracts.fact import Fact

from .database import Busy
from .decider import Decider
from .store import START, Head, head_after

S = TypeVar("S")
F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Known(Generic[S]):
    """A stream's state, and how far it goes."""

    head: Head
    state: S


def nothing_known(decider: Decider[S, Any, Any]) -> Known[S]:
    """A stream before its first event."""
    return Known(START, decider.initial)


def evolved(decider: Decider[S, Any, F], known: Known[S], events: Sequence[Event[F]]) -> Known[S]:
    """What is known once these events have followed."""
    if not events:
        return known
    state = known.state
    for event in events:
        state = decider.evolve(state, event)
    return Known(head_after(events[-1]), state)


class Memory(Generic[S]):
    """The states of the streams that were last in use, `size` of them at most.

    Rule: a state that is behind does no harm, one that is ahead of the table would. So it is taken out while it is in
    use and put back after a commit that is known: whatever goes wrong in between, it is forgotten.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.known: OrderedDict[str, Known[S]] = OrderedDict()

    def take(self, stream: str) -> Known[S] | None:
        """What is known of a stream, which is forgotten until it is put back."""
        return self.known.pop(stream, None)

    def look(self, stream: str) -> Known[S] | None:
        """What is known of a stream, for somebody who only reads."""
        return self.known.get(stream)

    def put(self, stream: str, known: Known[S]) -> None:
        """Remember what the table is known to hold."""
        self.known[stream] = known
        self.known.move_to_end(stream)
        while len(self.known) > self.size:
            self.known.popitem(last=False)


class Turn:
    """A lock and how many hold it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class Turns:
    """One after the other per stream; no more locks are kept than there are streams in use."""

    def __init__(self) -> None:
        self.turns: dict[str, Turn] = {}

    @asynccontextmanager
    async def of(self, stream: str, wait_s: float) -> AsyncIterator[None]:
        """Hold the stream's turn. Raises Busy when it does not come within `wait_s`."""
        turn = self.turns.setdefault(stream, Turn())
        turn.waiting += 1
        try:
            try:
                async with asyncio.timeout(wait_s):
                    await turn.lock.acquire()
            except TimeoutError:
                raise Busy("others are waiting for the same stream") from None
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self.turns[stream]
