"""Moves a simulated deployment's time, and waits until everything that follows from it has happened.

Between two lines of a clinic's days timers fall due. Time is moved to each of them in turn, so that a follow-up is
due at its own minute and not at that of the next line.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import httpx2
from pydantic import AwareDatetime, BaseModel

LOOK_AGAIN_S = 0.004
SETTLED_WITHIN_S = 60.0  # A rebalance after a kill takes seconds; a minute without rest is a fault.


class Unsettled(Exception):
    """The deployment did not come to rest. `args[0]` says which house had what to do."""


class Rest(BaseModel):
    """What a house has still to do, and how many facts it has appended in all."""

    outbox: int
    timers_due: int
    deliveries_due: int
    lag: int
    appended: int
    next_due_at: AwareDatetime | None = None

    @property
    def busy(self) -> bool:
        return any((self.outbox, self.timers_due, self.deliveries_due, self.lag))


class SimulatedTime:
    """The one clock of a deployment that was created for it."""

    def __init__(self, http: httpx2.AsyncClient, addresses: Mapping[str, str], token: str) -> None:
        self._http = http
        self._addresses = addresses
        self._headers = {"Authorization": f"Bearer {token}"}
        self._now: datetime | None = None
        self._next: datetime | None = None

    def occurred(self, at: datetime) -> datetime | None:
        return None  # The deployment's own clock says so.

    async def reach(self, at: datetime) -> None:
        """Bring every house to `at`, stopping at each instant at which something falls due on the way."""
        if self._now is not None and at <= self._now:
            return
        if self._now is None:
            await self._settle()
        while self._next is not None and self._next < at:
            await self._move(self._next)
        await self._move(at)

    async def settled(self) -> None:
        """Wait until nothing is left to do at the present instant."""
        await self._settle()

    async def _move(self, to: datetime) -> None:
        answers = await asyncio.gather(
            *(
                self._http.put(f"{address}/clock", json={"now": to.isoformat()}, headers=self._headers)
                for address in self._addresses.values()
            )
        )
        for answer in answers:
            answer.raise_for_status()
        self._now = to
        await self._settle()

    async def _settle(self) -> None:
        """Two rounds in a row that find no work and no new fact: what one round missed, the next one sees."""
        before: dict[str, int] | None = None
        rest: dict[str, Rest] = {}
        try:
            async with asyncio.timeout(SETTLED_WITHIN_S):
                while True:
                    rest = await self._rest()
                    now = {house: found.appended for house, found in rest.items()}
                    if any(found.busy for found in rest.values()):
                        before = None
                        await asyncio.sleep(LOOK_AGAIN_S)
                    elif now == before:
                        break
                    else:
                        before = now
        except TimeoutError:
            busy = {house: found.model_dump(mode="json") for house, found in rest.items() if found.busy}
            raise Unsettled(f"not at rest after {SETTLED_WITHIN_S:.0f} s: {busy}") from None
        self._next = min((r.next_due_at for r in rest.values() if r.next_due_at), default=None)

    async def _rest(self) -> dict[str, Rest]:
        answers = await asyncio.gather(
            *(self._http.get(f"{address}/settled", headers=self._headers) for address in self._addresses.values())
        )
        for answer in answers:
            answer.raise_for_status()
        found = (Rest.model_validate_json(answer.content) for answer in answers)
        return dict(zip(self._addresses, found, strict=True))
