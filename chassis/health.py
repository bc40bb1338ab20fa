"""Whether this process lives, is ready, has settled: for Kubernetes, for Prometheus, for a player of simulated time.

Liveness asks the event loop alone: a database that is away is not mended by starting anew. Readiness asks for what
moves, not for what answers a ping.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import text

from .access import Access
from .clock import ClockRefused
from .consuming import Consumers
from .database import DATABASE_ERRORS
from .house import House
from .http import Problem, Viewing
from .logs import log
from .metrics import OUTBOX_AGE, OUTBOX_REFUSED, OUTBOX_ROWS
from .relay import outbox_health
from .timers import Timers, outlook

BEAT_S = 1.0
STUCK_AFTER_S = 15.0  # More than the longest fold that was ever accepted, less than Kafka's session.
DATABASE_S = 2.0
LOOK_AGAIN_S = 0.004  # A player waits for each of its lines; a hop through Kafka takes about 10 ms.
LONGEST_WAIT_S = 10.0  # Less than any client waits for an answer.

Count = Callable[[], Awaitable[int]]
Upcoming = Callable[[], Awaitable[datetime | None]]


@dataclass
class Vital:
    """What can be told of one process."""

    house: House
    access: Access
    consumers: Consumers | None
    timers: Timers[Any] | None
    due: Mapping[str, Count]
    upcoming: Sequence[Upcoming]
    shown: Mapping[str, str | int | bool]
    started: bool = False
    access_known: bool = False
    beaten_at: float = field(default_factory=time.monotonic)

    async def beat(self) -> None:
        """The event loop's heartbeat."""
        while True:
            self.beaten_at = time.monotonic()
            await asyncio.sleep(BEAT_S)

    async def database_answers(self) -> bool:
        try:
            async with asyncio.timeout(DATABASE_S), self.house.engine.connect() as session:
                await session.execute(text("SELECT 1"))
        except (TimeoutError, *DATABASE_ERRORS):
            return False
        return True

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether to send requests here, and what that is judged by."""
        works = {
            health.work: {"claimed": health.claimed, "stalled": health.stalled, "moved_s": round(health.moved_s, 1)}
            for health in (self.consumers.health() if self.consumers else [])
        }
        database = await self.database_answers()
        # Once is enough: later a stale copy refuses what depends on it, and answers the rest.
        self.access_known = self.access_known or "api" not in self.house.settings.roles or await self.access.fresh()
        moving = all(work["claimed"] and not work["stalled"] for work in works.values())
        clock = self.house.clock
        simulated = (await clock.now()).isoformat() if database and self.started and clock.simulated else None
        return self.started and database and moving and self.access_known, {
            "house": self.house.name,
            "roles": sorted(self.house.settings.roles),
            "started": self.started,
            "database": database,
            "access_known": self.access_known,
            "works": works,
            "simulated_time": simulated,
            **self.shown,
        }

    async def measure(self) -> None:
        """What is told when it is asked for, and not before: the outbox belongs to no process alone."""
        try:
            async with asyncio.timeout(DATABASE_S):
                outbox = await outbox_health(self.house.engine)
        except (TimeoutError, *DATABASE_ERRORS):
            return  # The last figures stand, and their age shows in the alarm on a database that does not answer.
        house = self.house.name
        OUTBOX_ROWS.labels(house).set(outbox.rows)
        OUTBOX_AGE.labels(house).set(outbox.oldest_age_s)
        OUTBOX_REFUSED.labels(house).set(outbox.refused)

    async def settled(self, wait_s: float) -> dict[str, int | str | None]:
        """What is still on its way, once nothing is or `wait_s` has passed."""
        until = time.monotonic() + wait_s
        while True:
            left = await self.left_to_do()
            if time.monotonic() > until or not any(left.values()):
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        _, timer_due_at = await outlook(self.house.engine)
        instants = [timer_due_at, *[await when() for when in self.upcoming]]
        next_due_at = min((instant for instant in instants if instant), default=None)
        return {**left, "next_due_at": next_due_at.isoformat() if next_due_at else None}

    async def left_to_do(self) -> dict[str, int]:
        """Asked in the order in which it moves: what is read becomes timers and messages, those become facts, those
        are published."""
        lag = await self.house.progress.lag() if self.house.progress else 0
        timers_due, _ = await outlook(self.house.engine)
        due = {name: await count() for name, count in self.due.items()}
        outbox = await outbox_health(self.house.engine)
        return {"deliveries_due": 0, "lag": lag, "timers_due": timers_due, **due, "outbox": outbox.rows}


class MoveClock(BaseModel):
    """To when simulated time is moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    now: AwareDatetime


def watched(vital: Vital) -> APIRouter:
    """Open to whoever reaches the port: they name no person."""
    router = APIRouter(include_in_schema=False)

    @router.get("/live")
    async def live() -> Response:
        if time.monotonic() - vital.beaten_at > STUCK_AFTER_S:
            raise Problem(503, "event_loop_stuck", "Restart this process.")
        return JSONResponse({"live": True})

    @router.get("/ready")
    async def ready() -> Response:
        is_ready, told = await vital.readiness()
        return JSONResponse({"ready": is_ready, **told}, 200 if is_ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        await vital.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def operated(vital: Vital) -> APIRouter:
    """For operators: the player of simulated time is one."""
    router = APIRouter(tags=["operation"])

    @router.get("/settled")
    async def settled(
        viewing: Viewing, wait_s: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)] = 0
    ) -> dict[str, int | str | None]:
        """What has not come to rest in this house; the answer waits up to `wait_s` for that.

        `next_due_at` is the next instant at which something of its own falls due.
        """
        await vital.access.allow(viewing, "operate", None)
        return await vital.settled(wait_s)

    @router.put("/clock")
    async def clock(viewing: Viewing, move: Annotated[MoveClock, Body()]) -> dict[str, str]:
        """Moves simulated time forward, in a deployment that was created for it."""
        await vital.access.allow(viewing, "operate", None)
        try:
            await vital.house.clock.move(move.now)
        except ClockRefused as refused:
            raise Problem(409, "clock_not_moved", str(refused)) from None
        log.info("clock_moved", to=move.now.isoformat(), by=viewing.caller.person.id)
        if vital.timers:
            vital.timers.wake()
        return {"now": (await vital.house.clock.now()).isoformat()}

    return router
