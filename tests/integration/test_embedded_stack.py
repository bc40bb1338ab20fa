"""The embedded stack itself: it starts anywhere, survives being killed, and leaves nothing running."""

import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local import Identity, Program, Refused, Stack
from deploy.local.jars import JarsRefused, class_path
from deploy.local.places import CHECKOUT, SHARED_JARS
from tests.support.eventually import eventually

PARTS = ("kafka", "postgres", "issuer", "mailbox")
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root starts PostgreSQL as somebody else")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that only its owner may enter."""
    folder = tmp_path_factory.mktemp("closed")
    folder.chmod(0o700)
    yield folder
    shutil.rmtree(folder)  # Hundreds of megabytes, which pytest would keep for three runs.


@pytest.fixture(scope="module")
def stack(closed: Path) -> Iterator[Stack]:
    """One that was started cold, with a trace of the test in each part."""
    stack = Stack(closed / "state")
    stack.up(with_me=True)
    yield stack
    stack.down()


@pytest.fixture(scope="module")
async def traces(stack: Stack) -> dict[str, object]:
    await leave_traces(stack)
    return await read_traces(stack)


async def leave_traces(stack: Stack) -> None:
    found = stack.addresses()
    connection = await asyncpg.connect(found["DATABASE_URL"].replace("+asyncpg", ""))
    await connection.execute("CREATE TABLE trace (said text); INSERT INTO trace VALUES ('kept')")
    await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=found["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    await admin.create_topics([NewTopic("trace", 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=found["KAFKA_BOOTSTRAP_SERVERS"], acks="all")
    await producer.start()
    await producer.send_and_wait("trace", b"kept")
    await producer.stop()
    with smtplib.SMTP(found["SMTP_HOST"], int(found["SMTP_PORT"])) as sender:
        sender.sendmail("from@example.org", ["to@example.org"], "Subject: kept\r\n\r\nkept")


async def read_traces(stack: Stack) -> dict[str, object]:
    """What each part holds, read as a new client would."""
    found = stack.addresses()
    connection = await asyncpg.connect(found["DATABASE_URL"].replace("+asyncpg", ""))
    rows = [row["said"] for row in await connection.fetch("SELECT said FROM trace")]
    await connection.close()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=found["KAFKA_BOOTSTRAP_SERVERS"], auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([TopicPartition("trace", 0)])
    record = await consumer.getone()
    await consumer.stop()
    return {
        "postgres": rows,
        "kafka": (record.offset, record.value),
        "issuer": get(found["TANDEM_JWKS_URL"]),
        "mailbox": get(found["TANDEM_MAILBOX_URL"] + "/messages"),
    }


def get(address: str) -> object:
    with urlopen(address, timeout=10) as answer:
        return json.load(answer)


def running_in(folder: Path) -> list[str]:
    """The command lines of processes that name a folder or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            works_in = str((process / "cwd").readlink())
        except OSError:
            continue  # It ended while it was looked at, or is another's.
        if str(folder) in command or works_in.startswith(str(folder)):
            found.append(command)
    return found


async def test_data_and_addresses_survive_a_kill_of_every_part(stack: Stack, traces: dict[str, object]) -> None:
    assert traces["postgres"] == ["kept"]
    assert traces["kafka"] == (0, b"kept")
    before = stack.addresses()
    killed = {part: stack.signal(part, signal.SIGKILL) for part in PARTS}
    for part in PARTS:
        stack.until_healthy(part)
    assert stack.addresses() == before
    assert all(stack.identity(part) != killed[part] for part in PARTS)
    assert await read_traces(stack) == traces


async def test_a_second_start_finds_everything_and_other_ports_where_its_own_are_taken(
    stack: Stack, traces: dict[str, object]
) -> None:
    before = stack.addresses()
    stack.down()
    assert running_in(stack.places.state) == []
    said: list[str] = []
    with ExitStack() as squatters:
        for port in json.loads(stack.places.ports.read_text()).values():
            squatter = squatters.enter_context(socket.socket())
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", port))
            squatter.listen()
        stack.up(with_me=True, progress=said.append)
    assert [line for line in said if "formatting" in line or "creating" in line] == []
    assert all(stack.addresses()[name] != before[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"))
    found = await read_traces(stack)
    assert found == traces


async def test_two_stacks_side_by_side_share_nothing(stack: Stack, traces: dict[str, object], closed: Path) -> None:
    other = Stack(closed / "other")
    other.up(with_me=True, discard=True)
    try:
        mine, its = stack.addresses().environment, other.addresses().environment
        assert [name for name in mine if mine[name] == its[name]] == ["SMTP_HOST"]
        assert get(its["TANDEM_JWKS_URL"]) != traces["issuer"]
        assert get(its["TANDEM_MAILBOX_URL"] + "/messages") == []
    finally:
        other.down()
    assert running_in(other.places.state) == []
    assert not other.places.state.exists()
    assert await read_traces(stack) == traces


def test_a_changed_jar_is_refused_by_name(closed: Path) -> None:
    jars = closed / "jars"
    shutil.copytree(SHARED_JARS, jars)
    (changed,) = jars.glob("kafka-clients-*.jar")
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    stack = Stack(closed / "refusing", jars)
    with pytest.raises(Refused, match=rf"{changed.name} differs"):
        stack.up(parts=["kafka"], with_me=True)
    assert not stack.runs
    assert running_in(stack.places.state) == []


def test_a_missing_jar_and_an_added_one_are_refused_by_name(tmp_path: Path) -> None:
    jars = tmp_path / "jars"
    shutil.copytree(SHARED_JARS, jars, copy_function=os.link)
    (missing,) = jars.glob("slf4j-api-*.jar")
    missing.rename(jars / "added.jar")
    with pytest.raises(JarsRefused, match=rf"{missing.name} is missing; added.jar is not on the list"):
        class_path(jars)


def test_a_program_is_brought_back_when_killed_and_stays_away_while_held(stack: Stack, tmp_path: Path) -> None:
    port = stack.port_for("house")
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path), str(port))
    stack.start(Program("house", command, health=f"http://127.0.0.1:{port}/", port=port))
    first = stack.identity("house")
    assert stack.signal("house", signal.SIGKILL) == first
    stack.until_healthy("house")
    assert stack.identity("house") != first
    assert stack.port_for("house") == port
    stack.signal("house", signal.SIGSTOP)
    stack.hold("house", signal.SIGTERM)
    assert not stack.status()["house"]["runs"]
    with pytest.raises(OSError, match="refused"):
        get(f"http://127.0.0.1:{port}/")
    stack.resume("house")
    assert stack.port_for("another") != port
    stack.hold("house", signal.SIGKILL)


def test_a_program_that_cannot_start_is_refused_with_the_end_of_its_log(stack: Stack) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such table')")
    with pytest.raises(Refused, match="no such table"):
        stack.start(Program("broken", command, health="http://127.0.0.1:1/"))
    with pytest.raises(Refused, match="No such file"):
        stack.start(Program("absent", ("/nowhere/to/be/found",)))


def test_nothing_outlives_a_killed_supervisor(closed: Path) -> None:
    stack = Stack(closed / "orphaned")
    with ThreadPoolExecutor() as at_once:  # Both who ask get the one stack.
        list(at_once.map(lambda _: Stack(stack.places.state).up(with_me=True), range(2)))
    parts = {part: stack.identity(part) for part in PARTS}
    stack.identity("supervisor").kill()
    eventually(lambda: not any(part.runs for part in parts.values()))
    eventually(lambda: running_in(stack.places.state) == [])
    assert not stack.runs
    stack.up(parts=["postgres"], with_me=True)
    stack.down()


def test_nothing_outlives_a_killed_owner(closed: Path) -> None:
    state = closed / "owned"
    script = f"""
        import time
        from pathlib import Path
        from deploy.local import Stack
        Stack(Path({str(state)!r})).up(parts=["postgres", "mailbox"], with_me=True, discard=True)
        print("up", flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        supervisor = Stack(state).identity("supervisor")
        owner.kill()
    eventually(lambda: not supervisor.runs)
    assert running_in(state) == []
    assert not state.exists()


def test_a_process_that_only_has_the_same_pid_is_not_signalled() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        found = Identity.of(process.pid)
        assert found is not None
        earlier = Identity(found.pid, found.started - 1, found.boot)
        earlier.kill()
        assert not earlier.signal(signal.SIGKILL)
        assert process.poll() is None
        assert found.signal(signal.SIGKILL)
    assert not found.runs


@needs_root
@pytest.mark.parametrize("folder_of", [0, 4321])
def test_root_without_user_namespaces_runs_postgres_as_somebody_else(
    folder_of: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path_factory.mktemp("closed")
    os.chown(closed, folder_of, folder_of)
    closed.chmod(0o700)
    if folder_of == 0:
        only_setpriv = closed / "bin"
        only_setpriv.mkdir()
        for name in ("setpriv", "test"):
            (only_setpriv / name).symlink_to(str(shutil.which(name)))
        monkeypatch.setenv("PATH", str(only_setpriv))
    stack = Stack(closed / "state")
    for ends_by in (lambda: stack.identity("supervisor").kill(), stack.down):  # Its data stay that user's.
        stack.up(parts=["postgres"], with_me=True)
        owner = Path(f"/proc/{stack.identity('postgres').pid}").stat().st_uid
        assert owner not in (0, folder_of)
        assert closed.stat().st_mode & 0o777 == 0o700
        ends_by()
        eventually(lambda: running_in(stack.places.state) == [])


@needs_root
def test_an_ordinary_user_needs_no_help(closed: Path) -> None:
    state = closed / "ordinary"
    script = f"""
        import os
        from pathlib import Path
        from deploy.local import Stack
        assert os.geteuid() == 1000
        stack = Stack(Path({str(state)!r}))
        stack.up(parts=["postgres"], with_me=True)
        stack.down()
        print("well")
    """
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--", sys.executable, "-c"]
    answer = subprocess.run(
        [*command, textwrap.dedent(script)], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.stdout, answer.returncode) == ("well\n", 0), answer.stderr
    assert running_in(state) == []


def test_the_command_line_starts_a_stack_that_stays_and_ends_it(closed: Path) -> None:
    def say(*arguments: str) -> str:
        command = [sys.executable, "-m", "deploy.local", *arguments, "--state", str(closed / "by hand")]
        answer = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    began = time.monotonic()
    assert "kafka: up on port" in say("up")
    assert time.monotonic() - began < 60
    names = {line.partition("=")[0] for line in say("env").splitlines()}
    assert {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "TANDEM_ISSUER", "SMTP_PORT", "TANDEM_MAILBOX_URL"} <= names
    assert say("status").count("port") == len(PARTS)
    say("down")
    assert running_in(closed / "by hand") == []
