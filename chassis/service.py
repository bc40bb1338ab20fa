"""Runs a house: first what it stands on, then the parts that this process's roles name, until it is told to stop.

A part that dies ends the process, so that whoever supervises it starts it anew: a process that lives on without one
looks healthy and does nothing.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NoReturn

from aiokafka.errors import KafkaError
from fastapi import APIRouter, FastAPI

from . import health
from .access import COPY, Access, CopyOfTheLog
from .commanding import purge_commands
from .consuming import Consumers, Work
from .database import ensure_database, is_transient
from .house import House
from .http.description import RESPONSES
from .http.plumbing import Plumbing
from .http.problems import install
from .kafka import create_topics
from .logs import configure, failure, log, unheard
from .migrations import migrate
from .progress import Progress
from .projecting import projecting
from .relay import Relay
from .store import EventStore
from .timers import Timers

__all__ = ["House", "serve"]

START_S = 60.0  # Kafka, PostgreSQL and the houses start together, in any order.
START_AGAIN_S = 0.5
STOP_S = 20.0  # As long as FastStream may take to finish a batch; a pod's grace must be longer.
EX_SOFTWARE = 70

Loop = Callable[[], Awaitable[None]]


def serve(
    house: House,
    access: Access,
    *,
    routes: Sequence[APIRouter],
    works: Sequence[Work] = (),
    loops: Mapping[str, Loop] | None = None,
    timers: Timers[Any] | None = None,
    stores: Sequence[EventStore] = (),
    due: Mapping[str, health.Count] | None = None,
    upcoming: Sequence[health.Upcoming] = (),
    shown: Mapping[str, str | int | bool] | None = None,
) -> FastAPI:
    """The house as an ASGI application.

    `loops` run in role `worker` and never return: senders, for one. `due` counts what they have still to do and
    `upcoming` tells when more will be, for `GET /settled`; `shown` is told by `GET /ready`. The access copy and the
    relay are started without being named.
    """
    configure(house.name, house.settings.log_level)
    running = Running(house, access, works, loops or {}, timers, stores)
    vital = health.Vital(house, access, running.consumers, timers, due or {}, upcoming, shown or {})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(unheard)
        running.run("heartbeat", vital.beat)
        try:
            await running.start()
        except Exception as error:  # Raised, it would be logged with its text by the server.
            log.critical("start_failed", **failure(error))
            running.stop_process("start_failed")
        vital.started = True
        log.info("house_started", roles=sorted(house.settings.roles))
        try:
            yield
        finally:
            vital.started = False
            await running.stop()

    app = application(house, lifespan)
    app.state.identity = house.identity
    app.add_middleware(Plumbing)
    install(app)
    app.include_router(health.watched(vital))
    app.include_router(health.operated(vital))
    for router in routes if "api" in house.settings.roles else ():
        app.include_router(router)
    return app


def application(house: House, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    """FastAPI, with what it does by itself switched off."""
    return FastAPI(
        title=f"Tandem: {house.name}",
        openapi_url="/openapi.json" if "api" in house.settings.roles else None,
        docs_url=None,  # Both pages load scripts from elsewhere.
        redoc_url=None,
        redirect_slashes=False,  # A redirected POST is one that some clients send as a GET.
        responses=RESPONSES,
        # FastAPI's own logs and spans carry bodies and exception texts.
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        lifespan=lifespan,
    )


class Running:
    """What runs beside the requests in one process."""

    def __init__(
        self,
        house: House,
        access: Access,
        works: Sequence[Work],
        loops: Mapping[str, Loop],
        timers: Timers[Any] | None,
        stores: Sequence[EventStore],
    ) -> None:
        self.house, self.loops, self.timers = house, loops, timers
        self.stores = (*stores, house.records.store)
        kept = access.copy.documents if isinstance(access.copy, CopyOfTheLog) else None
        self.works = (*((projecting(house.engine, COPY, documents=kept),) if kept else ()), *works)
        settings = house.settings
        kafka, prefix = settings.kafka_bootstrap_servers, settings.prefix
        self.relay = (
            Relay(house.engine, kafka, house.name, prefix=prefix, lease_s=settings.relay_lease_s)
            if "relay" in settings.roles
            else None
        )
        self.consumers = (
            Consumers(kafka, house.name, self.works, prefix=prefix, slot=settings.slot)
            if "worker" in settings.roles
            else None
        )
        self.progress = Progress(house.engine, kafka, self.works, prefix=prefix)
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = False

    async def start(self) -> None:
        """Everything in its order: no part runs before what it stands on. Raises what it cannot get over."""
        await self.stand_on_servers()
        self.house.progress = self.progress
        if self.relay:
            for store in self.stores:
                store.on_append(self.relay.wake)
            self.run("relay", self.relay.run)
        if self.consumers:
            await self.consumers.start()
            self.run("purge", lambda: purge_commands(self.house.engine))
            for name, loop in self.loops.items():
                self.run(name, loop)
            if self.timers:
                self.run("timers", self.timers.run)

    async def stand_on_servers(self) -> None:
        """Database, tables, clock and topics; tried again while a server is not up yet, but not for ever."""
        until = time.monotonic() + START_S
        while True:
            try:
                return await self.prepare()
            except Exception as error:
                # LookupError: a topic just made, of which not every broker has heard.
                comes_up = is_transient(error) or isinstance(error, KafkaError | OSError | LookupError)
                if not comes_up or time.monotonic() > until:
                    raise
                log.warning("server_awaited", **failure(error))
                await asyncio.sleep(START_AGAIN_S)

    async def prepare(self) -> None:
        house, settings = self.house, self.house.settings
        await ensure_database(house.database_url)
        await migrate(house.engine, house.name, house.migrations, simulated=settings.simulated_time)
        await house.clock.start()
        await create_topics(
            settings.kafka_bootstrap_servers, settings.prefix, settings.partitions, replicas=settings.replicas
        )
        for work in self.works:
            await work.prepare()
        await self.progress.start()

    def run(self, name: str, loop: Loop) -> None:
        """Starts a part that must not end before it is told to."""

        async def until_told() -> None:
            try:
                await loop()
                log.critical("part_ended", part=name)
            except Exception as error:
                log.critical("part_died", part=name, **failure(error))
            if not self.stopping:
                self.stop_process(name)

        self.tasks.add(asyncio.create_task(until_told(), name=name))

    async def stop(self) -> None:
        """Lets go in the reverse order, in bounded time: what is cut off is done again at the next start."""
        self.stopping = True
        try:
            async with asyncio.timeout(STOP_S):
                if self.consumers:
                    await self.consumers.stop()
                for task in self.tasks:
                    task.cancel()
                await asyncio.gather(*self.tasks, return_exceptions=True)
                await self.progress.stop()
                await self.house.engine.dispose()
        except Exception as error:
            log.warning("stop_incomplete", **failure(error))
        log.info("house_stopped")

    def stop_process(self, why: str) -> NoReturn:
        """Ends the process at once. An exception would end one task and leave the rest idling."""
        log.critical("process_stopped", why=why)
        sys.stdout.flush()
        os._exit(EX_SOFTWARE)
