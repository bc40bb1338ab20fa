"""A stack of real servers, as seen by whoever wants one: start it, find it, hurt it, end it.

A `Stack` holds no process and no connection. What runs is written down in the state folder, so
any number of programs may use one stack at once, and one started yesterday is found today.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .control import Answer, Refused, Say, request
from .jars import fetch
from .own_parts import SMTP_PORT, issuer_secret
from .places import CHECKOUT, DEFAULT_STATE, SHARED_JARS, Places
from .ports import HOST, Ports
from .postgres import address as postgres_address
from .processes import KILLED_WITHIN_S, Identity, Program, Record, last_lines, records
from .supervisor import FOLDER_TAKEN, PARTS, SUPERVISOR, TOKEN

SUPERVISOR_UP_S = 20
STARTED_WITHIN_S = 300  # A first start on a slow disk; the parts have tighter bounds of their own.
STOPPED_WITHIN_S = 60  # Houses and parts have 15 s each before they are killed.
LOOK_AGAIN_S = 0.02
# What a shell may hold that would bend a server started from it.
NOT_INHERITED = re.compile(
    r"(PG|KAFKA_|TANDEM_|SMTP_|LC_|DATABASE_URL$|CLASSPATH$|_?JAVA_|JDK_JAVA_|PYTHONDONTWRITEBYTECODE$)"
)


class NotRunning(Exception):
    """No stack runs in this state folder."""


def silent(_: str) -> None:
    """For those who want no progress."""


@dataclass(frozen=True)
class Addresses:
    """Where a stack's servers listen, by the names that programs read from their environment."""

    environment: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.environment[name]


class Stack:
    """One stack, by its state folder."""

    def __init__(self, state: Path = DEFAULT_STATE, jars: Path = SHARED_JARS) -> None:
        self.places = Places(state.absolute(), jars)
        self._supervisor: subprocess.Popen[bytes] | None = None

    def up(
        self,
        *,
        parts: Iterable[str] = tuple(PARTS),
        with_me: bool = False,
        discard: bool = False,
        progress: Say = silent,
    ) -> Addresses:
        """Start what does not run yet, and wait until all of it serves.

        `with_me` ties a supervisor started here to the calling process: when that ends, by
        whatever cause, the stack ends too. `discard` removes the state folder at the end, for a
        stack that nobody will want again. Raises Refused with the reason when a part fails; then
        nothing started here is left running.
        """
        if "kafka" in (wanted := list(parts)):
            fetch(self.places.jars, progress)
        started_here = not self.runs
        if started_here:
            self._start_supervisor(with_me, discard)
        served = False
        try:
            self._ask({"do": "parts", "names": wanted}, progress, STARTED_WITHIN_S)
            served = True
        finally:
            if started_here and not served:  # Also when somebody lost patience and pressed Ctrl-C.
                self.down()
        return self.addresses()

    def down(self) -> None:
        """End everything this stack runs, in order. Nothing happens when nothing runs."""
        record = self._record()
        if record is None:
            return
        if record.identity.signal(signal.SIGTERM):
            until = time.monotonic() + STOPPED_WITHIN_S
            while record.identity.runs and time.monotonic() < until:
                time.sleep(LOOK_AGAIN_S)
        record.identity.kill()  # Without effect on one that has ended.
        if self._supervisor:
            self._supervisor.wait(KILLED_WITHIN_S)
        for left in records(self.places.run):
            left.identity.kill()
            (self.places.run / f"{left.name}.json").unlink(missing_ok=True)

    @property
    def runs(self) -> bool:
        """Whether a supervisor has this state folder."""
        record = self._record()
        return record is not None and record.identity.runs

    def status(self) -> Mapping[str, Mapping[str, Any]]:
        """Of each program: runs, wanted, pid, host, port, starts, exit_code."""
        found: Mapping[str, Mapping[str, Any]] = self._ask({"do": "status"})
        return found

    def addresses(self) -> Addresses:
        """Where the parts that run listen. Raises NotRunning when none does."""
        if not self.runs:
            raise NotRunning(f"no stack runs in {self.places.state}; `tandem up` starts one")
        ports = {name: part["port"] for name, part in self.status().items() if name in PARTS}
        environment = {}
        if "kafka" in ports:
            environment["KAFKA_BOOTSTRAP_SERVERS"] = f"{HOST}:{ports['kafka']}"
        if "postgres" in ports:
            environment["DATABASE_URL"] = postgres_address(self.places, ports["postgres"])
        if "issuer" in ports:
            issuer = f"http://{HOST}:{ports['issuer']}"
            environment["TANDEM_ISSUER"] = issuer
            environment["TANDEM_JWKS_URL"] = f"{issuer}/jwks.json"
            environment["TANDEM_TOKEN_URL"] = f"{issuer}/token"
            environment["TANDEM_CLIENT_SECRET"] = issuer_secret(self.places)
        if "mailbox" in ports:
            environment["SMTP_HOST"] = HOST
            environment["SMTP_PORT"] = str(Ports(self.places.ports).picked(SMTP_PORT))
            environment["TANDEM_MAILBOX_URL"] = f"http://{HOST}:{ports['mailbox']}"
        return Addresses(environment)

    def port_for(self, name: str) -> int:
        """A free port for a program of that name, the same at every start if it can be had."""
        port: int = self._ask({"do": "port", "name": name})["port"]
        return port

    def start(self, program: Program) -> None:
        """Start a program under the supervisor; returns once it is healthy.

        Raises Refused with the end of its log when it is not. One that runs already is left.
        """
        message = {"do": "start", "program": program.as_json()}
        self._ask(message, timeout_s=program.healthy_within_s + STOPPED_WITHIN_S)

    def hold(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a program by a signal (SIGKILL, to see what a crash does); it stays down."""
        self._ask({"do": "hold", "name": name, "signal": int(number)})

    def resume(self, name: str) -> None:
        """Start a held program again as it was, and wait until it is healthy."""
        self._ask({"do": "resume", "name": name}, timeout_s=STARTED_WITHIN_S)

    def until_healthy(self, name: str) -> None:
        """Wait until a program serves again that was killed and is being restarted."""
        self._ask({"do": "await", "name": name}, timeout_s=STARTED_WITHIN_S)

    def identity(self, name: str) -> Identity:
        """The process that now runs under a name. Raises NotRunning when none does."""
        record = Record.read(self.places.run / f"{name}.json")
        if record is None or not record.identity.runs:
            raise NotRunning(f"{name} does not run in {self.places.state}")
        return record.identity

    def signal(self, name: str, number: int) -> Identity:
        """Signal a program's process, once it is certain to be the one that was started.

        A killed one is brought back by the supervisor. Answers who was signalled.
        """
        identity = self.identity(name)
        if number == signal.SIGKILL:
            identity.kill()  # And gone, so that nobody takes its last answer for its successor's.
        elif not identity.signal(number):
            raise NotRunning(f"{name} has just ended")
        return identity

    def _record(self) -> Record | None:
        return Record.read(self.places.run / f"{SUPERVISOR}.json")

    def _ask(self, message: Answer, say: Say = silent, timeout_s: float = STOPPED_WITHIN_S) -> Any:
        record = self._record()
        if record is None or not record.identity.runs:
            raise NotRunning(f"no stack runs in {self.places.state}; `tandem up` starts one")
        token = (self.places.secrets / TOKEN).read_text("utf-8")
        return request(record.port, token, message, say, timeout_s)

    def _start_supervisor(self, with_me: bool, discard: bool) -> None:
        self.places.create()
        command = [sys.executable, "-m", "deploy.local", "supervise"]
        command += ["--state", str(self.places.state), "--jars", str(self.places.jars)]
        if with_me:
            command += ["--owner", str(os.getpid())]
        if discard:
            command += ["--discard"]
        log = self.places.log / "supervisor.log"
        surroundings = {name: os.environ[name] for name in os.environ if not NOT_INHERITED.match(name)}
        paths = [str(CHECKOUT), *filter(None, [surroundings.get("PYTHONPATH")])]
        with log.open("ab") as output:
            process = self._supervisor = subprocess.Popen(  # noqa: S603  Our own program.
                command,
                cwd=self.places.state,
                env=surroundings | {"PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # It outlives the terminal it was started from.
            )
        until = time.monotonic() + SUPERVISOR_UP_S
        while not self.runs:
            # Two programs may start a stack at once: one gets the folder, both get the stack.
            if process.poll() not in (None, FOLDER_TAKEN):
                raise Refused(f"the supervisor ended at once:\n{last_lines(log)}")
            if time.monotonic() > until:
                process.kill()
                process.wait()
                raise Refused(f"the supervisor did not start:\n{last_lines(log)}")
            time.sleep(LOOK_AGAIN_S)
