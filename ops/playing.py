"""Plays a clinic's days through the services' own HTTP APIs.

A line is sent under an idempotency key that only its text decides, so a file can be played again, or played on
after a crash, without anything happening twice. A bad line, or one that is refused, is reported by its number and
reason; the rest goes on.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import httpx2

from contracts.topics import TOPICS

from .clinic import Asked, BadLine, PersonLine, read
from .tokens import Tokens

TRIES = 12  # With the pauses below about a minute: longer than any part takes to come back after a kill.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 8.0
TRY_AGAIN = (httpx2.TransportError,)  # Nothing was answered; the key makes a second try harmless.
BUSY = frozenset({409, 429, 503})

READS: Mapping[str, frozenset[str]] = {
    house: frozenset(source for topic in TOPICS if house in topic.readers for source in topic.writers)
    for house in ("prescribing", "therapy", "scheduling")
}


@dataclass(frozen=True)
class Played:
    """What became of one command. `token` is its position, `reply` the document that came back."""

    asked: Asked
    status: int
    reply: Mapping[str, object]
    repeated: bool
    answered_at: float  # The loop's clock, seconds: what came later is measured from here.

    @property
    def token(self) -> str | None:
        position = self.reply.get("position")
        return position if isinstance(position, str) else None

    @property
    def refusal(self) -> str | None:
        """The stable reason of a refusal, None for an accepted command."""
        if self.status < httpx2.codes.BAD_REQUEST:
            return None
        return str(self.reply.get("reason", f"status_{self.status}"))

    @property
    def as_expected(self) -> bool:
        return self.refusal == self.asked.line.expect


class Time(Protocol):
    """How the deployment's time comes to be a line's: by waiting for it, or by being moved there."""

    async def reach(self, at: datetime) -> None: ...
    def occurred(self, at: datetime) -> datetime | None: ...
    def happened(self, house: str) -> None: ...


class RealTime:
    """Waits for what is yet to come; of what has passed it says when it happened."""

    async def reach(self, at: datetime) -> None:
        await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))

    def occurred(self, at: datetime) -> datetime | None:
        return at

    def happened(self, house: str) -> None:
        """Nothing waits for it."""


class Player:
    """Sends commands as the people of the file, each line after the one above it was answered."""

    def __init__(self, http: httpx2.AsyncClient, addresses: Mapping[str, str], tokens: Tokens, time: Time) -> None:
        self._http = http
        self._addresses = addresses
        self._tokens = tokens
        self._time = time
        self._positions: dict[str, dict[str, str]] = defaultdict(dict)  # Patient → source → token.

    async def play(self, lines: Iterable[str]) -> AsyncIterator[Played | BadLine]:
        """One outcome for each line that asks for something."""
        for line in read(lines):
            match line:
                case PersonLine():
                    await self._tokens.introduce(line)
                case BadLine():
                    yield line
                case Asked():
                    await self._time.reach(line.line.at)
                    yield await self.send(line)

    async def send(self, asked: Asked) -> Played | BadLine:
        """Send one command; BadLine when its house cannot be reached at all."""
        address = self._addresses.get(asked.line.house)
        if address is None:
            return BadLine(asked.number, f"{asked.line.house} is not running here")
        self._time.happened(asked.line.house)
        pause_s = FIRST_PAUSE_S
        for remaining in reversed(range(TRIES)):
            try:
                response = await self._http.post(
                    f"{address}{asked.path}",
                    json=asked.body,
                    params={"after": self._awaited(asked)},
                    headers=await self._headers(asked),
                )
            except TRY_AGAIN as error:
                if not remaining:
                    return BadLine(asked.number, f"{asked.line.house} does not answer ({type(error).__name__})")
            else:
                played = self._played(asked, response)
                if response.status_code not in BUSY or not self._passing(played) or not remaining:
                    return played
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise AssertionError("the last try returns")

    def _passing(self, played: Played) -> bool:
        """Whether the same command may well be answered otherwise in a moment."""
        return played.status != httpx2.codes.CONFLICT or played.refusal == "not_yet_known"

    def _played(self, asked: Asked, response: httpx2.Response) -> Played:
        found = response.json() if "json" in response.headers.get("content-type", "") else {}
        repeated = response.headers.get("idempotent-replayed") == "true"
        played = Played(asked, response.status_code, found, repeated, asyncio.get_running_loop().time())
        if played.token and asked.patient:
            self._positions[asked.patient][f"/{asked.line.house}"] = played.token
        return played

    def _awaited(self, asked: Asked) -> list[str]:
        """What the house must have taken note of before it decides: all we know of that it reads."""
        known = self._positions[asked.patient] if asked.patient else {}
        return [token for source, token in known.items() if source in READS.get(asked.line.house, ())]

    async def _headers(self, asked: Asked) -> dict[str, str]:
        occurred = self._time.occurred(asked.line.at)
        return {
            "Authorization": f"Bearer {await self._tokens.of(asked.who)}",
            "Idempotency-Key": asked.key,
            **({"Tandem-Occurred-At": occurred.isoformat()} if occurred else {}),
        }
