"""The main job as a user runs it: exit 0 only when all that is expected was seen; then its record is tampered with."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import Stack

WITHIN_S = 280


def demo(state: Path, *arguments: str, zone: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.main", "demo", "--once", "--state", str(state), *arguments]
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=WITHIN_S, check=False, env={**surroundings, "TZ": zone}
    )


def left_running(state: Path) -> list[str]:
    """Command lines of processes that speak of the state folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(state) in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One demonstration, and the folder that holds what it recorded."""
    state = tmp_path_factory.mktemp("played") / "demo"
    return state, demo(state, zone="Pacific/Kiritimati")


@pytest.mark.timeout(WITHIN_S + 20)
def test_six_months_of_twelve_patients_end_as_expected(
    played: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    state, done = played
    print(done.stdout[-6_000:], done.stderr[-2_000:])
    assert done.returncode == 0
    assert "as expected" in done.stdout
    assert not left_running(state)


@pytest.fixture(scope="module")
def record(played: tuple[Path, subprocess.CompletedProcess[str]]) -> Iterator[Stack]:
    """What the demonstration left on disk, with its servers up again and no house."""
    stack = Stack(played[0])
    stack.up(parts=["kafka", "postgres"], with_me=True)
    yield stack
    stack.down()


def verified(stack: Stack) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.main", "audit", "verify", "--state", str(stack.places.state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


async def tampered(stack: Stack, house: str, *statements: str) -> None:
    """As superuser, with every trigger and constraint's trigger off."""
    address = stack.addresses()["DATABASE_URL"].replace("+asyncpg", "").rpartition("/")[0]
    connection = await asyncpg.connect(f"{address}/{house}")
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                assert not (await connection.execute(statement)).endswith(" 0"), "nothing was tampered with"
    finally:
        await connection.close()


ARCHIVED = "(SELECT key FROM archive WHERE source = '/therapy' AND sequence = 3 ORDER BY key LIMIT 1)"
WRITTEN = "(SELECT stream FROM event WHERE sequence = 5 ORDER BY stream LIMIT 1)"
FLIPPED = "set_byte(value, 9, get_byte(value, 9) # 1)"
TAMPERINGS = {
    "one byte in the archive": (
        (
            "audit",
            f"UPDATE archive SET value = {FLIPPED} WHERE source = '/therapy' AND sequence = 3 AND key = {ARCHIVED}",
        ),
        "/therapy",
        3,
    ),
    "one row of a house": (
        ("prescribing", f"UPDATE event SET value = {FLIPPED} WHERE sequence = 2 AND stream = {WRITTEN}"),
        "/prescribing",
        2,
    ),
    "the order of two rows": (
        (
            "patients",
            f"UPDATE event SET sequence = 999999 WHERE sequence = 2 AND stream = {WRITTEN}",
            f"UPDATE event SET sequence = 2 WHERE sequence = 3 AND stream = {WRITTEN}",
            f"UPDATE event SET sequence = 3 WHERE sequence = 999999 AND stream = {WRITTEN}",
        ),
        "/patients",
        2,
    ),
}


def test_the_demonstrations_record_is_whole_until_it_is_tampered_with_and_then_the_fact_is_named(record: Stack) -> None:
    whole = verified(record)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert whole.stdout.startswith("Whole")
    for what, ((house, *statements), source, sequence) in TAMPERINGS.items():
        asyncio.run(tampered(record, house, *statements))
        found = verified(record)
        print(what, found.stdout)
        assert found.returncode == 1, what
        first = found.stdout.partition("First: ")[2]  # Each source sorts before the one tampered with before it.
        assert f" {source} " in first, what
        assert f" number {sequence}, " in first, what


@pytest.mark.timeout(WITHIN_S + 20)
def test_with_a_house_left_out_the_demonstration_fails_and_says_what_was_missed(tmp_path: Path) -> None:
    done = demo(tmp_path / "demo", "--without", "notifications", zone="America/St_Johns")
    print(done.stdout[-6_000:], done.stderr[-2_000:])
    assert done.returncode == 1
    assert "NOT as expected" in done.stdout
    assert "reminder" in done.stdout
    assert not left_running(tmp_path)
