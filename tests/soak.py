"""The full counts: `python -m tests.soak`. Goes on where it stopped; `--again` begins anew.

Each test marked `soak` runs by itself. What passed at this commit is kept under `.local/soak/`; every result is
appended to `soak-results.tsv`, which is committed: date, commit, test, verdict, seconds, what it printed of its seed.
"""

import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PROGRESS = CHECKOUT / ".local" / "soak" / "passed.json"
RESULTS = CHECKOUT / "tests" / "soak-results.tsv"
LONGEST_S = 4 * 3_600


def main(arguments: list[str]) -> int:
    """Exit 0 when every full count has passed at this commit, 130 when interrupted and resumable."""
    commit = output("git", "rev-parse", "--short", "HEAD")
    passed = {} if "--again" in arguments else read_progress()
    wanted = collected()
    left = [test for test in wanted if passed.get(test) != commit]
    print(f"{len(wanted)} full counts at {commit}, {len(wanted) - len(left)} passed before")
    failed = 0
    for number, test in enumerate(left, start=1):
        print(f"[{number}/{len(left)}] {test}", flush=True)
        verdict, seconds, seeds = run(test)
        with RESULTS.open("a", encoding="utf-8") as results:
            day = datetime.now(UTC).date().isoformat()
            results.write(f"{day}\t{commit}\t{test}\t{verdict}\t{seconds:.0f}\t{seeds}\n")
        print(f"    {verdict} after {seconds:.0f} s {seeds}", flush=True)
        if verdict == "passed":
            passed[test] = commit
            PROGRESS.parent.mkdir(parents=True, exist_ok=True)
            PROGRESS.write_text(json.dumps(passed, indent=1), "utf-8")
        else:
            failed += 1
    return 1 if failed else 0


def run(test: str) -> tuple[str, float, str]:
    """Verdict, seconds, and the lines in which the test named its seed and counts."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "soak", test]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        verdict = "passed" if done.returncode == 0 and "skipped" not in done.stdout else "FAILED"
        seeds = "; ".join(line.strip() for line in done.stdout.splitlines() if re.search(r"\bseed\b", line))
        if verdict == "FAILED":
            print(done.stdout[-4_000:])
    except subprocess.TimeoutExpired:
        verdict, seeds = f"not done after {LONGEST_S} s", ""
    return verdict, time.monotonic() - began, seeds


def collected() -> list[str]:
    """The ids of all tests marked soak."""
    listed = output(sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "soak")
    return [line for line in listed.splitlines() if "::" in line]


def output(*command: str) -> str:
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


def read_progress() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(PROGRESS.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return found


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from here.")
        sys.exit(130)
