"""The main job as a user runs it: exit 0 only when all that is expected was seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.timeout(WITHIN_S + 20)
def test_six_months_of_twelve_patients_end_as_expected(tmp_path: Path) -> None:
    done = demo(tmp_path / "demo", zone="Pacific/Kiritimati")
    print(done.stdout[-6_000:], done.stderr[-2_000:])
    assert done.returncode == 0
    assert "as expected" in done.stdout
    assert not left_running(tmp_path)


@pytest.mark.timeout(WITHIN_S + 20)
def test_with_a_house_left_out_the_demonstration_fails_and_says_what_was_missed(tmp_path: Path) -> None:
    done = demo(tmp_path / "demo", "--without", "notifications", zone="America/St_Johns")
    print(done.stdout[-6_000:], done.stderr[-2_000:])
    assert done.returncode == 1
    assert "NOT as expected" in done.stdout
    assert "reminder" in done.stdout
    assert not left_running(tmp_path)
