"""Waiting for what must come true, without saying how soon."""

import time
from collections.abc import Callable

WITHIN_S = 30.0  # Generous: a busy machine is no failure.


def eventually(check: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Ask until the answer is yes. Raises AssertionError when it never is."""
    until = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < until, f"not within {within_s:.0f} s"
        time.sleep(0.02)
