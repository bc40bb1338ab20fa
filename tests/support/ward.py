"""Several houses at work for one test: people who ask over HTTP, a clock that can be moved, the facts in the tables."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import httpx2

from ops.clinic import person_id
from ops.tokens import operator_token
from tests.support.eventually import WITHIN_S
from tests.support.houses import Houses, Staff, enrolment
from tests.support.servers import Servers

T = TypeVar("T")

Who = tuple[str, str]
PRESCRIBER, NURSE, THERAPIST = ("dr-ward", "prescriber"), ("n-ward", "nurse"), ("t-ward", "therapist")
CLERK, SUPERVISOR = ("c-ward", "clerk"), ("s-ward", "supervisor")
TEAM = (PRESCRIBER, NURSE, THERAPIST)
ON_THE_TEAM = f"patients:{1 + len(TEAM)}"  # The position at which all of them are.
NUMBERS = count(1)


@dataclass
class Ward:
    """The houses of one test, and what can be done with them."""

    servers: Servers
    houses: Houses
    staff: Staff
    ending: AsyncExitStack
    databases: dict[str, asyncpg.Connection] = field(default_factory=dict)

    async def post(
        self, house: str, path: str, body: object, who: Who = PRESCRIBER, *, key: str = "", **options: Any
    ) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north", key=key or str(uuid4()))
        return await self.staff.http.post(self.houses.address(house) + path, json=body, headers=headers, **options)

    async def done(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The reply to a command that is accepted."""
        answer = await self.post(*arguments, **options)
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def refused(self, reason: str, *arguments: Any, **options: Any) -> None:
        """A command that is refused with this reason, in a document that says what to do."""
        answer = await self.post(*arguments, **options)
        assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
        assert answer.json()["reason"] == reason, answer.text
        assert answer.json()["detail"].endswith("."), answer.text

    async def enrol(self, **different: object) -> UUID:
        """A patient with the team assigned; `different` is what their enrolment says instead."""
        patient = uuid4()
        await self.done("patients", "/patients", {**enrolment(patient, next(NUMBERS)), **different}, CLERK)
        for name, role in TEAM:
            member = {"person": str(person_id(name)), "name": name, "role": role, "from_on": "2020-01-01"}
            await self.done("patients", f"/patients/{patient}/care-team", member, SUPERVISOR)
        return patient

    async def move(self, to: datetime) -> None:
        """Simulated time, in every house that runs."""
        token = await operator_token(self.staff.http, self.servers.issuer_url, self.servers.client_secret)
        for house in self.houses.started:
            answer = await self.staff.http.put(
                f"{self.houses.address(house)}/clock",
                json={"now": to.isoformat()},
                headers={"Authorization": f"Bearer {token}"},
            )
            assert answer.status_code == httpx2.codes.OK, answer.text

    async def database(self, house: str) -> asyncpg.Connection:
        """A house's own tables, for looking at."""
        if house not in self.databases:
            url = self.servers.database_url.replace("+asyncpg", "").rpartition("/")[0]
            connection = await asyncpg.connect(f"{url}/{self.houses.prefix}{house}")
            self.ending.push_async_callback(connection.close)
            self.databases[house] = connection
        return self.databases[house]

    async def facts(self, house: str, patient: UUID, *types: str) -> list[dict[str, Any]]:
        """A patient's facts in one house, those of the given types; each with its `type`, `id` and `at` beside."""
        rows = await (await self.database(house)).fetch(
            "SELECT headers, value FROM event WHERE stream = $1 ORDER BY sequence", str(patient)
        )
        named = [(json.loads(headers), json.loads(value)) for headers, value in rows]
        return [
            {**value, "type": found["ce_type"], "id": found["ce_id"], "at": datetime.fromisoformat(found["ce_time"])}
            for found, value in named
            if not types or found["ce_type"] in types
        ]


async def come_true(check: Callable[[], Awaitable[T]], within_s: float = WITHIN_S) -> T:
    """What is found as soon as something is. Raises TimeoutError when nothing ever is."""
    async with asyncio.timeout(within_s):
        while not (found := await check()):  # noqa: ASYNC110  Other processes do it: nobody tells us.
            await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def ward(servers: Servers, prefix: str, houses: Iterable[str], *, simulated: bool = False) -> AsyncIterator[Ward]:
    """These houses, for as long as the context lasts."""
    running = Houses(servers, prefix, simulated=simulated)
    async with AsyncExitStack() as ending:
        ending.callback(running.stop)
        for house in houses:
            running.start(house)
        http = await ending.enter_async_context(httpx2.AsyncClient(timeout=WITHIN_S))
        yield Ward(servers, running, Staff(http, servers), ending)
