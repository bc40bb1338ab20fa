"""`python -m deploy.local up|down|status|env [--state DIR]`: the embedded stack by hand."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import supervisor
from .control import Refused
from .jars import JarsRefused, fetch, freshly_resolved
from .places import DEFAULT_STATE, SHARED_JARS, Places
from .processes import Identity
from .stack import NotRunning, Stack

INTERRUPTED = 130  # As a shell says it.


def main() -> int:
    asked = read_arguments()
    try:
        return carry_out(asked)
    except (JarsRefused, NotRunning, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def carry_out(asked: argparse.Namespace) -> int:
    stack = Stack(asked.state, asked.jars)
    match asked.verb:
        case "fetch":
            fetch(asked.jars)
        case "resolve":
            print(freshly_resolved(), end="")
        case "up":
            began = time.monotonic()
            stack.up(progress=print)
            print(f"up after {time.monotonic() - began:.1f} s")
        case "down":
            stack.down()
        case "status":
            for name, found in sorted(stack.status().items()):
                state = f"pid {found['pid']}, port {found['port']}" if found["runs"] else "down"
                print(f"{name:20} {state}, started {found['starts']} times")
        case "env":
            for name, value in stack.addresses().environment.items():
                print(f"{name}={value}")
        case "supervise":
            owner = Identity.of(asked.owner) if asked.owner else None
            if asked.owner and owner is None:
                return 0  # Who wanted it has gone already.
            return supervisor.run(Places(asked.state, asked.jars), owner, asked.discard)
    return 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("verb", choices=["fetch", "resolve", "up", "down", "status", "env", "supervise"])
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder")
    parser.add_argument("--jars", type=Path, default=SHARED_JARS, help="folder of Kafka's jars")
    parser.add_argument("--owner", type=int, help="supervise until this process ends")
    parser.add_argument("--discard", action="store_true", help="remove the state folder at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
