"""Starting, recognising and ending processes.

A pid alone proves nothing: the kernel gives it to somebody else once its process is gone. A process
is the one that was started only while its start time agrees too, and only then is it signalled.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .places import write_privately

KILLED_WITHIN_S = 10  # After SIGKILL only the kernel is left to wait for.
PR_SET_PDEATHSIG = 1
_C = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Program:
    """What to run and how to see that it is well.

    `environment` is all the process gets besides the supervisor's own; `health` is an address to
    ask (http, postgresql, kafka or tcp as its scheme), or empty; `restart` brings it back whenever
    it ends by itself or is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    restart: bool = True
    healthy_within_s: float = 60.0  # A cold start on a busy machine; a warm one needs seconds.
    stop_signal: int = signal.SIGTERM
    stops_within_s: float = 15.0
    folder: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Program:
        return cls(**{**found, "command": tuple(found["command"])})


@dataclass(frozen=True)
class Identity:
    """One process and no other: its pid, its start in clock ticks since boot, and which boot."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of a running process; None once it is gone or only waits to be reaped."""
        try:
            # The second field is the command's name in brackets and may hold anything.
            after_name = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = after_name.split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]), boot_id())

    @property
    def runs(self) -> bool:
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> bool:
        """Signal the process if it is still the same one; tells whether it was."""
        if not self.runs:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        until = time.monotonic() + KILLED_WITHIN_S
        while self.runs:
            if time.monotonic() > until:
                raise TimeoutError(f"process {self.pid} does not end after SIGKILL")
            time.sleep(0.01)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


@dataclass(frozen=True)
class Record:
    """What `run/NAME.json` says of a process."""

    name: str
    identity: Identity
    host: str
    port: int

    def write(self, folder: Path) -> None:
        found = {"name": self.name, "host": self.host, "port": self.port, **asdict(self.identity)}
        write_privately(folder / f"{self.name}.json", json.dumps(found) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record | None:
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        identity = Identity(found["pid"], found["started"], found["boot"])
        return cls(found["name"], identity, found["host"], found["port"])


def records(folder: Path) -> list[Record]:
    found = (Record.read(path) for path in sorted(folder.glob("*.json")))
    return [record for record in found if record is not None]


def dies_with_parent() -> Callable[[], None]:
    """For a child, between fork and exec: the kernel kills it when the thread that forked it ends.

    That is the thread, not the process, so children are forked from the main thread only.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if _C.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        if os.getppid() != parent:  # It died before the kernel knew.
            os._exit(1)

    return before_exec


async def spawn(program: Program, log: Path) -> asyncio.subprocess.Process:
    """Start a program with its output appended to a log file."""
    # Appending: the log stays whole when it is shortened while the process writes to it.
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *program.command,
            env=os.environ | dict(program.environment),
            cwd=program.folder or None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal goes to the supervisor, which ends its children in order.
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )
    finally:
        os.close(output)


async def run_to_end(command: list[str], log: Path, within_s: float, folder: Path) -> None:
    """Run a preparing command. Raises RuntimeError with the end of its output when it fails."""
    program = Program(name=Path(command[0]).name, command=tuple(command), folder=str(folder))
    process = await spawn(program, log)
    try:
        code = await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        raise RuntimeError(f"{program.name} did not end in {within_s} s; see {log}") from None
    finally:
        if process.returncode is None:  # Also when the stack is stopped meanwhile.
            process.kill()
            await process.wait()
    if code:
        raise RuntimeError(f"{program.name} ended with {code}:\n{last_lines(log)}")


def last_lines(log: Path, size: int = 2000) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "(it wrote nothing)"
