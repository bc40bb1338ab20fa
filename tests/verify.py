"""Says of each promise whether it is kept: `python -m tests.verify [GROUP]`.

A promise is a sentence in `promises.toml` and the command that proves it. A command that exits 0 keeps it; pytest
that ran nothing, or skipped anything, is NOT RUN, which is never a pass and is said loudly at the end.
Exit 0 only when every promise asked for was kept.
"""

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOTHING_RUN = 5  # pytest's exit code for no tests.
LONGEST_S = 1_800
KEPT, BROKEN, NOT_RUN = "kept", "BROKEN", "NOT RUN"


@dataclass(frozen=True)
class Promise:
    """A sentence, and what proves it. `needs` names commands without which it cannot be tried."""

    group: str
    sentence: str
    command: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    promise: Promise
    found: str
    reason: str
    seconds: float


def promises(path: Path = HERE / "promises.toml") -> list[Promise]:
    """All promises in the order of the file. Raises KeyError or ValueError on a malformed one."""
    found = tomllib.loads(path.read_text("utf-8"))
    return [
        Promise(group, each["sentence"], each["command"], tuple(each.get("needs", ())))
        for group, promised in found.items()
        for each in promised
    ]


def judged(exit_code: int, output: str) -> tuple[str, str]:
    """The verdict and its reason from how a command ended."""
    if exit_code == NOTHING_RUN:
        return NOT_RUN, "no test was found"
    if exit_code:
        lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))] or output.splitlines()
        return BROKEN, lines[-1][:300] if lines else f"exit {exit_code}"
    skipped = re.search(r"(\d+) skipped", output)
    if skipped:
        return NOT_RUN, f"{skipped.group(1)} test(s) skipped"
    return KEPT, ""


def tried(promise: Promise) -> Verdict:
    """Run a promise's command in the checkout, bounded."""
    began = time.monotonic()
    command = shlex.split(promise.command)
    if command[0] == "python":
        command[0] = sys.executable
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, capture_output=True, text=True, timeout=LONGEST_S, check=False, env=os.environ
        )
        found, reason = judged(done.returncode, done.stdout + done.stderr)
    except FileNotFoundError:
        found, reason = NOT_RUN, f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        found, reason = BROKEN, f"not done after {LONGEST_S} s"
    return Verdict(promise, found, reason, time.monotonic() - began)


def main(arguments: Sequence[str]) -> int:
    """Exit codes: 0 all kept, 1 some broken or not run, 2 an unknown group."""
    wanted = arguments[0] if arguments else ""
    chosen = [promise for promise in promises() if wanted in ("", promise.group)]
    if not chosen:
        groups = sorted({promise.group for promise in promises()})
        print(f"no promises about {wanted!r}; there are {', '.join(groups)}", file=sys.stderr)
        return 2
    verdicts = []
    for promise in chosen:
        verdict = tried(promise)
        verdicts.append(verdict)
        reason = f": {verdict.reason}" if verdict.reason else ""
        print(f"{verdict.found:8} {promise.sentence} [{verdict.seconds:.0f} s]{reason}", flush=True)
    counts = {found: sum(v.found == found for v in verdicts) for found in (KEPT, BROKEN, NOT_RUN)}
    print(f"\n{counts[KEPT]} kept, {counts[BROKEN]} broken, {counts[NOT_RUN]} not run")
    for verdict in verdicts:
        if verdict.found == NOT_RUN:
            print(f"NOT RUN: {verdict.promise.sentence} ({verdict.reason})")
    return 0 if counts[KEPT] == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
