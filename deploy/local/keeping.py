"""Keeping one program running: start it, see that it is well, start it again, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import health
from .places import Places
from .processes import Identity, Program, Record, last_lines, spawn

LOOK_AGAIN_S = 0.03  # Between two questions after a server's health.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # Before a process that ended is started again.
SETTLED_S = 10.0  # One that ran this long had not failed to start.


@dataclass
class Kept:
    """A program that is kept running, and the task that does so."""

    program: Program
    places: Places
    starts: int = 0
    wanted: bool = True
    exit_code: int | None = None
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def tended(self) -> bool:
        """Whether it runs, or is about to again."""
        return self.wanted and self.task is not None and not self.task.done()

    async def start(self) -> None:
        """Start it, and wait until it is healthy. Raises RuntimeError, with nothing left running, when it is not."""
        self.task = asyncio.create_task(self._keep())
        try:
            await self.until_healthy()
        except RuntimeError:
            await self.hold(signal.SIGKILL)
            raise

    async def hold(self, number: int) -> None:
        """End it by the signal given, and do not start it again."""
        self.wanted = False
        self.ended.set()
        await self._end(number)
        if self.task:
            await self.task

    async def until_healthy(self, endings_allowed: bool = False) -> None:
        """Bounded. An ending is a failure at a first start, and expected of one just killed."""
        program = self.program
        until = time.monotonic() + program.healthy_within_s
        reason = "it was not asked"
        while time.monotonic() < until:
            if not self.wanted:
                raise RuntimeError(f"{program.name} was stopped meanwhile")
            if self.task and self.task.done():
                self.task.result()  # It could not even be spawned.
            if self.exit_code is not None and not endings_allowed:
                raise RuntimeError(f"{program.name} ended with {self.exit_code} at its start:\n{last_lines(self.log)}")
            if self.runs:
                try:
                    if program.health:
                        await health.ask(program.health)
                    return
                except health.NotYet as not_yet:
                    reason = str(not_yet)
            await asyncio.sleep(LOOK_AGAIN_S)
        raise RuntimeError(
            f"{program.name} is not healthy after {program.healthy_within_s:.0f} s ({reason}):\n{last_lines(self.log)}"
        )

    @property
    def log(self) -> Path:
        return self.places.log / f"{self.program.name}.log"

    @property
    def record(self) -> Path:
        return self.places.run / f"{self.program.name}.json"

    def describe(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "wanted": self.wanted,
            "pid": self.process.pid if self.process and self.runs else None,
            "host": self.program.host,
            "port": self.program.port,
            "starts": self.starts,
            "exit_code": self.exit_code,
        }

    async def _keep(self) -> None:
        """Run it, again and again while it is wanted and meant to be restarted."""
        program = self.program
        pause_s = FIRST_PAUSE_S
        while self.wanted:
            began = time.monotonic()
            self.process = await spawn(program, self.log)
            self.starts += 1
            self.exit_code = None
            identity = Identity.of(self.process.pid)
            if identity:  # None: it ended at once.
                Record(program.name, identity, program.host, program.port).write(self.places.run)
            if not self.wanted:  # It was to be ended while it was being spawned.
                self.process.kill()
            self.exit_code = await self.process.wait()
            note(f"{program.name}, started {self.starts} times, ended with {self.exit_code}")
            self.record.unlink(missing_ok=True)
            if not program.restart:
                return
            settled = time.monotonic() - began > SETTLED_S
            pause_s = FIRST_PAUSE_S if settled else min(pause_s * 2, LONGEST_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), pause_s)

    async def _end(self, number: int) -> None:
        """By the signal given, then, after a bound, by SIGKILL for its whole process group."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # A stopped one would not notice.
        try:
            await asyncio.wait_for(process.wait(), self.program.stops_within_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def note(line: str) -> None:
    """Into the supervisor's own log."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)
