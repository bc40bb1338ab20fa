"""The process that starts all others of a stack, watches them, and ends them.

It is the only parent: whoever asks for a stack talks to it, and the kernel kills its children when
it is killed itself. One supervisor per state folder, by a lock that the kernel releases.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

from . import kafka, own_parts, postgres
from .control import Answer, Say, listen
from .keeping import Kept
from .places import Places, write_privately
from .ports import HOST, Ports
from .processes import Identity, Program, Record, records

SUPERVISOR = "supervisor"
TOKEN = "supervisor"  # noqa: S105  The name of a file.
LOG_LIMIT = 16 << 20  # Bytes; one older file of the same size is kept.
HOUSEKEEPING_S = 0.25  # How soon an owner's death is seen.
FOLDER_TAKEN = 3  # Exit code: another supervisor has this state folder.
PORT_TRIES = 3  # Another program may take a port between our look and our server's.

Prepare = Callable[[Places, Ports, Say], Awaitable[Program]]
PARTS: Mapping[str, Prepare] = {
    "kafka": kafka.prepare,
    "postgres": postgres.prepare,
    "issuer": own_parts.prepare_issuer,
    "mailbox": own_parts.prepare_mailbox,
}


class Supervisor:
    """Everything one stack runs. Used from one thread: that is what its children are tied to."""

    def __init__(self, places: Places, owner: Identity | None) -> None:
        self._places = places
        self._ports = Ports(places.ports)
        self._owner = owner
        # Of these nobody is told another port later: whoever asked may be listening there by now.
        self._handed_out: set[str] = set()
        self._kept: dict[str, Kept] = {}
        self._starting = asyncio.Lock()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until told to stop by a signal, by a request, or by the death of the owner."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        end_leftovers(self._places)
        token = secrets.token_hex(16)
        write_privately(self._places.secrets / TOKEN, token)
        server = await listen(token, self.answer)
        me = Identity.of(os.getpid())
        assert me is not None
        Record(SUPERVISOR, me, HOST, server.sockets[0].getsockname()[1]).write(self._places.run)
        try:
            while not self._stop.is_set() and (self._owner is None or self._owner.runs):
                shorten_logs(self._places.log)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), HOUSEKEEPING_S)
        finally:
            server.close()
            await self.end_all()
            (self._places.run / f"{SUPERVISOR}.json").unlink(missing_ok=True)

    async def answer(self, request: Mapping[str, Any], say: Say) -> Answer:
        """One request. Each raises RuntimeError with a sentence when it cannot be met."""
        answer: Answer = {}
        match request["do"]:
            case "parts":
                await self.start_parts(request["names"], say)
            case "port":
                answer["port"] = self._port_for(request["name"])
            case "start":
                await self.start(Program.from_json(request["program"]))
            case "resume":
                await self.start(self.named(request["name"]).program)
            case "await":
                await self.named(request["name"]).until_healthy(endings_allowed=True)
            case "hold":
                await self.named(request["name"]).hold(request["signal"])
            case "status":
                answer = {name: kept.describe() for name, kept in self._kept.items()}
            case other:
                raise RuntimeError(f"the supervisor does not know how to {other!r}")
        return answer

    def _port_for(self, name: str) -> int:
        if name not in self._handed_out:
            self._ports.keep_or_pick(name)
            self._handed_out.add(name)
        return self._ports.picked(name)

    async def start_parts(self, names: list[str], say: Say) -> None:
        """Start parts side by side, each prepared first. All are up, or it raises."""
        async with self._starting:  # Two who ask at once must not both create a cluster.
            outcomes = await asyncio.gather(*(self.start_part(name, say) for name in names), return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if len(failed) > 1:
            raise RuntimeError("\n".join(str(failure) for failure in failed))
        if failed:
            raise failed[0]

    async def start_part(self, name: str, say: Say) -> None:
        if name in self._kept and self._kept[name].tended:
            await self._kept[name].until_healthy(endings_allowed=True)
            return
        began = time.monotonic()
        for remaining in reversed(range(PORT_TRIES)):
            program = await PARTS[name](self._places, self._ports, say)
            try:
                await self.start(program)
            except RuntimeError:
                if not remaining or self._ports.all_free(name):
                    raise
            else:
                break
        say(f"{name}: up on port {program.port} after {time.monotonic() - began:.1f} s")

    async def start(self, program: Program) -> None:
        """Start a program and wait until it is healthy. A running one of that name is left."""
        if self._stop.is_set():
            raise RuntimeError("the stack is being stopped")
        kept = self._kept.get(program.name)
        if kept and kept.tended:
            if kept.program != program:
                raise RuntimeError(f"{program.name} runs already, started differently; stop it")
            await kept.until_healthy(endings_allowed=True)
            return
        if kept and kept.task:
            await kept.task  # It is just being ended.
        kept = self._kept[program.name] = Kept(program, self._places, kept.starts if kept else 0)
        await kept.start()

    def named(self, name: str) -> Kept:
        if name not in self._kept:
            raise RuntimeError(f"nothing named {name!r} was started here")
        return self._kept[name]

    async def end_all(self) -> None:
        """Houses first: they still talk to the parts while they finish."""
        houses = [kept for name, kept in self._kept.items() if name not in PARTS]
        parts = [kept for name, kept in self._kept.items() if name in PARTS]
        for those in (houses, parts):
            await asyncio.gather(*(kept.hold(kept.program.stop_signal) for kept in those))


def end_leftovers(places: Places) -> None:
    """Kill what an earlier supervisor of this folder wrote down and could not end."""
    for record in records(places.run):
        if record.identity.pid != os.getpid():
            record.identity.kill()
        (places.run / f"{record.name}.json").unlink(missing_ok=True)


def shorten_logs(folder: Path) -> None:
    """Move what a log holds into NAME.log.1 once it is too long. Its writers append, and go on."""
    for log in folder.glob("*.log"):
        if log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def run(places: Places, owner: Identity | None, discard: bool) -> int:
    """The supervisor's whole life; answers its exit code."""
    places.create()
    lock = os.open(places.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        print(f"another supervisor has {places.state}", file=sys.stderr)
        return FOLDER_TAKEN
    try:
        asyncio.run(Supervisor(places, owner).run())
    finally:
        if discard:
            shutil.rmtree(places.state)
    return 0
