"""Every figure: `python -m tests.bench [--quick | --growth] [MODULE…]`. Ends with status 1 when a bar is missed.

A module beside this one exposes NAME, `measure(servers, quick)` with rows of (what, figure, unit), and BARS: of a row,
whether it is to be at least (`>=`) or at most (`<=`) so much. One with figures that change as the log grows exposes
`growth(servers)` too. Ratios are taken within one run and hold on any machine; absolute figures do not.
"""

import asyncio
import importlib
import json
import pkgutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import uvloop

from tests.support.servers import Servers, running_servers

CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / ".local" / "bench.json"
HOLDS = {">=": float.__ge__, "<=": float.__le__}

Row = tuple[str, float, str]


def main(arguments: list[str]) -> int:
    """Measure what is asked for, print it, and keep it in .local/bench.json."""
    quick, growth = "--quick" in arguments, "--growth" in arguments
    wanted = [argument for argument in arguments if not argument.startswith("--")]
    rows: list[tuple[str, Row, str]] = []
    with running_servers(print) as servers:
        for module in modules(wanted):
            if growth and not hasattr(module, "growth"):
                continue
            began = time.monotonic()
            bars = getattr(module, "BARS", {})
            for row in uvloop.run(figures(module, servers, quick, growth)):
                verdict = judged(row, bars)
                rows.append((module.NAME, row, verdict))
                print(line(module.NAME, row, verdict), flush=True)
            print(f"{module.NAME:<12} took {time.monotonic() - began:.0f} s", flush=True)
    keep(rows, quick, growth)
    return 1 if any(verdict.startswith("MISSED") for *_, verdict in rows) else 0


async def figures(module: ModuleType, servers: Servers, quick: bool, growth: bool) -> list[Row]:
    """What one module measures. Bounded: a figure that takes longer than this is none."""
    async with asyncio.timeout(1_800 if growth else 600):
        found: list[Row] = await (module.growth(servers) if growth else module.measure(servers, quick))
    return found


def modules(wanted: list[str]) -> list[ModuleType]:
    """The modules beside this one, or those that are named."""
    names = sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return [importlib.import_module(f"tests.bench.{name}") for name in wanted or names if name != "__main__"]


def judged(row: Row, bars: dict[str, tuple[str, float]]) -> str:
    """`met`, or by how much it was missed; nothing for a figure without a bar."""
    what, figure, _ = row
    if what not in bars:
        return ""
    sign, bar = bars[what]
    return f"{'met' if HOLDS[sign](float(figure), float(bar)) else 'MISSED'}: {sign} {bar:g}"


def line(name: str, row: Row, verdict: str) -> str:
    what, figure, unit = row
    return f"{name:<12} {what:<58} {figure:>12,.2f} {unit:<10} {verdict}".rstrip()


def keep(rows: list[tuple[str, Row, str]], quick: bool, growth: bool) -> None:
    """Write down what was measured, and at which commit."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()
    found = [
        {"module": name, "what": what, "figure": figure, "unit": unit, "verdict": verdict}
        for name, (what, figure, unit), verdict in rows
    ]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kind = "quick" if quick else "growth" if growth else "full"
    RESULTS.write_text(json.dumps({"commit": commit, "kind": kind, "rows": found}, indent=1), "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
