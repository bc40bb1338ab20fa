"""Tells one patient's care on the terminal as it unfolds: each fact, which house said it, how soon it was seen.

The milliseconds are measured: from the reply to the command until the care view answered a request that waits for
that very fact.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx2
from pydantic import AwareDatetime, BaseModel

from .clinic import PersonLine
from .playing import Played
from .tokens import Tokens

PAGE = 200  # Lines a request; between two commands of one patient far fewer come.


class Told(BaseModel):
    """A line of the timeline, as the care view gives it."""

    id: str
    source: str
    kind: str
    line: str
    occurred_at: AwareDatetime


class Story:
    """Follows one patient through the care view, as a member of the care team sees it."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        care_view: str,
        patient: str,
        reader: PersonLine,
        tokens: Tokens,
        say: Callable[[str], None],
    ) -> None:
        self._http = http
        self._view = f"{care_view}/patients/{patient}"
        self._patient = patient
        self._reader = reader
        self._tokens = tokens
        self._say = say
        self._told: set[str] = set()
        self.shown_after_ms: list[float] = []

    async def shown(self, played: Played) -> float | None:
        """Wait until the view has seen what a command did; milliseconds since its reply. None: nothing to wait for."""
        if played.token is None or played.asked.patient != self._patient or played.repeated:
            return None
        answer = await self._http.get(self._view, params={"after": played.token}, headers=await self._headers())
        if answer.status_code != httpx2.codes.OK:
            return None  # Nobody of the reader's kind may look yet: the team is not assigned.
        taken_ms = (asyncio.get_running_loop().time() - played.answered_at) * 1_000
        self.shown_after_ms.append(taken_ms)
        return taken_ms

    async def tell(self, played: Played, taken_ms: float | None) -> None:
        """Print what is new on the timeline. `taken_ms` belongs to the facts of the command's own house."""
        answer = await self._http.get(f"{self._view}/timeline", params={"limit": PAGE}, headers=await self._headers())
        if answer.status_code != httpx2.codes.OK:
            return
        for told in reversed([Told.model_validate(entry) for entry in answer.json()["entries"]]):
            if told.id not in self._told:
                self._told.add(told.id)
                own = told.source == f"/{played.asked.line.house}"
                self._say(line(told, taken_ms if own else None, played.asked.line.at))

    async def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {await self._tokens.of(self._reader)}", "Accept": "application/json"}


def line(told: Told, taken_ms: float | None, at: datetime) -> str:
    """One fact: local time, house, what happened, how soon the care view showed it."""
    local = told.occurred_at.astimezone(at.tzinfo or ZoneInfo("UTC"))
    shown = f"  (seen after {taken_ms:.0f} ms)" if taken_ms is not None else ""
    return f"{local:%d %b %H:%M}  {told.source.lstrip('/'):14} {told.line}{shown}"
