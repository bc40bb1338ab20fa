"""Moves a simulated deployment's time, and waits until everything that follows from it has happened.

Between two lines of a clinic's days timers fall due. Time is moved to each of them in turn, so that a follow-up is
due at its own minute and not at that of the next line.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from graphlib import TopologicalSorter

import httpx2
from pydantic import AwareDatetime, BaseModel

from contracts.topics import DECIDING, HOUSES, READING, TOPICS, Topic

WAIT_S = 5.0  # A house answers as soon as it is at rest, or after this.
LOOKED_AT = "care_view"  # Who looks while the clinic is played looks there.
SETTLED_WITHIN_S = 60.0  # A rebalance after a kill takes seconds; a minute without rest is a fault.


class Unsettled(Exception):
    """The deployment did not come to rest. `args[0]` says which house had what to do."""


class Rest(BaseModel):
    """What a house has still to do, and when more will fall due."""

    outbox: int
    timers_due: int
    deliveries_due: int
    lag: int
    next_due_at: AwareDatetime | None = None

    @property
    def busy(self) -> bool:
        return any((self.outbox, self.timers_due, self.deliveries_due, self.lag))


def in_flow(topics: Iterable[Topic]) -> tuple[str, ...]:
    """The houses in the order in which facts flow: each after all whose facts it reads."""
    reads: dict[str, set[str]] = {house: set() for house in HOUSES}
    for topic in topics:
        for reader in topic.readers:
            reads[reader] |= {writer.split("/")[1] for writer in topic.writers} - {reader}
    return tuple(TopologicalSorter(reads).static_order())


FLOW = in_flow(TOPICS)


class SimulatedTime:
    """The one clock of a deployment that was created for it.

    Before it moves, whatever the last commands brought about has happened. The houses are asked in the order in which
    facts flow: once one is at rest and all before it are, nothing can reach it any more, so each is waited for once.
    Only houses that decide are waited for on the way; what readers show does not depend on when they read it.
    """

    def __init__(self, http: httpx2.AsyncClient, addresses: Mapping[str, str], token: str) -> None:
        self._http = http
        self._addresses = {house: addresses[house] for house in FLOW if house in addresses}
        self._headers = {"Authorization": f"Bearer {token}"}
        self._now: datetime | None = None
        self._next: dict[str, datetime] = {}
        self._first_touched = 0  # In FLOW: what stands before it has been at rest since.

    def occurred(self, at: datetime) -> datetime | None:
        return None  # The deployment's own clock says so.

    def happened(self, house: str) -> None:
        """A house was asked for something: it and what follows from it are not at rest."""
        self._first_touched = min(self._first_touched, FLOW.index(house))

    async def reach(self, at: datetime) -> None:
        """Bring every house to `at`, stopping at each instant at which something falls due on the way."""
        if self._now is not None and at <= self._now:
            return
        await self._settle(DECIDING)
        while self._next and (due := min(self._next.values())) <= at:
            await self._move(due)
            await self._settle(DECIDING)
        if self._now != at:
            await self._move(at)

    async def settled(self, readers: Collection[str] = READING) -> None:
        """Wait until nothing is left to do at the present instant, in these readers too."""
        await self._settle(DECIDING)
        if self._now:
            await self._set(readers, self._now)
        self._first_touched = 0
        await self._settle(readers)

    async def _move(self, to: datetime) -> None:
        await self._set((*DECIDING, LOOKED_AT), to)
        self._now = to
        for house, due in self._next.items():
            if due <= to:
                self.happened(house)

    async def _set(self, houses: Collection[str], to: datetime) -> None:
        """The archive brings nothing about, and nobody looks at it on the way: its clock is set when all is done."""
        answers = await asyncio.gather(
            *(
                self._http.put(f"{address}/clock", json={"now": to.isoformat()}, headers=self._headers)
                for house, address in self._addresses.items()
                if house in houses
            )
        )
        for answer in answers:
            answer.raise_for_status()

    async def _settle(self, houses: Collection[str]) -> None:
        """Wait for each house that may have work, in the order of flow."""
        for house in FLOW[self._first_touched :]:
            if house in houses and house in self._addresses:
                await self._rested(house)
        self._first_touched = len(FLOW)

    async def _rested(self, house: str) -> None:
        until = time.monotonic() + SETTLED_WITHIN_S
        while True:
            answer = await self._http.get(
                f"{self._addresses[house]}/settled", params={"wait_s": WAIT_S}, headers=self._headers
            )
            rest = Rest.model_validate_json(answer.raise_for_status().content)
            if not rest.busy:
                break
            if time.monotonic() > until:
                raise Unsettled(f"{house} is not at rest after {SETTLED_WITHIN_S:.0f} s: {rest.model_dump_json()}")
        if rest.next_due_at:
            self._next[house] = rest.next_due_at
        else:
            self._next.pop(house, None)
