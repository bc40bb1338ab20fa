"""Everything at reduced counts: `python -m tests.everything`. Two runs of pytest side by side, each on its own servers.

Much of what is tested is waiting: for a killed process to come back, for a session to end. Two runs use that time.
What one prints is shown when it has ended; until then a line now and then tells how far both are.
"""

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[1]
NEITHER = "not soak and not bench"
# The one that must keep up a load, tests/faults/test_whole_care_under_kills.py, comes last, when the others are done.
GROUPS = {
    "servers and faults": ("tests/integration", "tests/faults"),
    "everything else": ("tests/architecture", "tests/contracts", "tests/unit", "tests/browser", "tests/end_to_end"),
}
TELL_EVERY_S = 20.0
LONGEST_S = 840.0  # Less than CI waits, so that what is said of the slow one is still heard.


@dataclass
class Run:
    """One pytest, and what it has printed so far."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def printed(self) -> str:
        return Path(self.output.name).read_text("utf-8", "replace")

    def progress(self) -> str:
        found = re.findall(r"\[ *(\d+)%\]", self.printed())
        return f"{self.name} {'done' if self.process.poll() is not None else f'{found[-1] if found else 0} %'}"


def main() -> int:
    """Exit 0 only when both runs passed; a run that collected nothing has not."""
    missing = [folder for folders in GROUPS.values() for folder in folders if not (CHECKOUT / folder).is_dir()]
    others = {path.name for path in (CHECKOUT / "tests").iterdir() if list(path.glob("test_*.py"))}
    left_out = others - {Path(folder).name for folders in GROUPS.values() for folder in folders}
    if missing or left_out:
        print(f"tests/everything.py does not know its folders: missing {missing}, left out {sorted(left_out)}")
        return 2
    with tempfile.TemporaryDirectory(prefix="tandem-tests-") as folder:
        runs = [started(name, folders, Path(folder) / str(nth)) for nth, (name, folders) in enumerate(GROUPS.items())]
        try:
            watch(runs)
        finally:
            for run in runs:
                run.process.terminate()  # Its servers see that it is gone, and end.
        return concluded(runs)


def started(name: str, folders: tuple[str, ...], path: Path) -> Run:
    output = path.open("wb")
    command = [sys.executable, "-m", "pytest", "-m", NEITHER, "--durations=8", *folders]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    return Run(name, process, output)


def watch(runs: list[Run]) -> None:
    """Until both have ended; what each printed is shown then."""
    began = told = time.monotonic()
    shown: set[str] = set()
    while len(shown) < len(runs):
        for run in runs:
            if run.name not in shown and run.process.poll() is not None:
                shown.add(run.name)
                print(f"== {run.name}\n{run.printed()}", flush=True)
        if time.monotonic() - began > LONGEST_S:
            print(f"not done after {LONGEST_S:.0f} s", flush=True)
            return
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            print(f"{told - began:4.0f} s: {', '.join(run.progress() for run in runs)}", flush=True)
        time.sleep(0.2)


def concluded(runs: list[Run]) -> int:
    """One line over both, as pytest words it."""
    last = {run.name: run.printed().strip().rpartition("\n")[2] for run in runs}
    counts = {
        word: sum(int(n) for line in last.values() for n in re.findall(rf"(\d+) {word}", line))
        for word in ("passed", "failed", "error", "skipped")
    }
    print(f"\n{counts['passed']} passed, {counts['failed'] + counts['error']} failed, {counts['skipped']} skipped")
    return 0 if all(run.process.poll() == 0 for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
