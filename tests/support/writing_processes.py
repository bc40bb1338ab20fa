"""The write side as processes of their own, for tests that kill them: a relay, a client with its handler.

They are forked from a server that has imported everything, so that one is back within milliseconds of its kill.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from uuid import NAMESPACE_URL, uuid5

import uvloop

from chassis.clock import Clock
from chassis.commanding import Busy, CommandHandler
from chassis.database import create_engine
from chassis.decider import Ask
from chassis.relay import Relay
from chassis.store import EventStore
from contracts import topics
from tests.support.writing import HOUSE, SHELF, SOURCE, Handler, Take, Writing, command_key

LEASE_S = 1.0  # As in the embedded stack.


async def relay(token: str, url: str, bootstrap_servers: str, prefix: str) -> None:
    """Publish until ended; `token` is what its lease bears."""
    engine = create_engine(url, application="test relay", pool_size=2)
    process = Relay(engine, bootstrap_servers, HOUSE, prefix=prefix, lease_s=LEASE_S)
    process.token = token
    await process.run()


async def client(name: str, url: str, streams: str, folder: str) -> None:
    """Work off a list of commands without an end, writing each reply down before the next is asked for.

    Started again, it repeats what it has no reply of.
    """
    engine = create_engine(url, application="test client", pool_size=2)
    clock = Clock(engine)
    store = EventStore(engine, SOURCE, topics.PRESCRIBING)
    house = Writing(url, engine, clock, store)
    await clock.start()
    handler = CommandHandler(SHELF, store, clock)
    replies = Path(folder) / name
    done = replies.read_text("utf-8").count("\n") if replies.exists() else 0
    with replies.open("a", encoding="utf-8") as told:
        for nth in range(done, 1_000_000):
            stream = f"s{Random(f'{name} {nth}').randrange(int(streams))}"  # The same again after a restart.
            thing = f"{name} {nth}"
            ask = await house.ask(Take((thing,)), stream, uuid5(NAMESPACE_URL, f"{url} {thing} {os.getpid()}"))
            answer = await asked(handler, ask, thing)
            told.write(f"{stream} {answer}\n")
            told.flush()
            os.fsync(told.fileno())
            await asyncio.sleep(0.01)  # Hundreds a second of all clients, and time for the kills.


async def asked(handler: Handler, ask: Ask[Take], thing: str) -> str:
    for _ in range(100):
        try:
            return str((await handler.handle(ask, command_key(thing))).reply.decode())
        except Busy:
            await asyncio.sleep(0.05)
    raise AssertionError(f"never accepted: {thing}")


PARTS = {"relay": relay, "client": client}


def run(part: str, arguments: tuple[str, ...]) -> None:
    uvloop.run(PARTS[part](*arguments))


@dataclass
class Process:
    """One process of a test's own, and how to hurt it."""

    part: str
    arguments: tuple[str, ...]
    running: BaseProcess

    @classmethod
    def start(cls, part: str, *arguments: str) -> "Process":
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload([__name__])
        running = forks.Process(target=run, args=(part, arguments), daemon=True)
        running.start()
        return cls(part, arguments, running)

    def signal(self, number: int) -> None:
        assert self.running.pid is not None
        os.kill(self.running.pid, number)

    def end(self) -> None:
        self.running.kill()  # SIGKILL reaches a stopped process too.
        self.running.join()
        assert self.running.exitcode == -signal.SIGKILL, f"{self.part} had ended by itself"

    def kill(self, *arguments: str) -> None:
        """SIGKILL, and another one in its place."""
        self.end()
        self.arguments = arguments or self.arguments
        self.running = Process.start(self.part, *self.arguments).running


@contextmanager
def processes(*several: tuple[str, ...]) -> Iterator[list[Process]]:
    """These processes, for as long as the context lasts."""
    started = [Process.start(*arguments) for arguments in several]
    try:
        yield started
    finally:
        for process in started:
            process.end()
