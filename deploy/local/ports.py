"""Free ports, picked once and kept: an address stays valid when its server is killed and restarted.

Ports lie below the range from which the kernel takes the near end of outgoing connections. From
inside that range, a client could sit on the port of a server that is just being restarted.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Collection
from pathlib import Path

from .places import write_privately

HOST = "127.0.0.1"
LOWEST, HIGHEST = 15_000, 32_000
TRIES = 200


class Ports:
    """The ports of one stack by the name of what listens there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._picked: dict[str, int] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def picked(self, name: str) -> int:
        return self._picked[name]

    def keep_or_pick(self, name: str) -> int:
        """The port this name had, if nothing else listens there now; otherwise a new one, written down."""
        if name not in self._picked or not is_free(self._picked[name]):
            self._picked[name] = unused_port(besides=self._picked.values())
            write_privately(self._path, json.dumps(self._picked, indent=1) + "\n")
        return self._picked[name]

    def all_free(self, name: str) -> bool:
        """Whether nothing listens on the ports of this name, nor on those of its parts (`name-…`)."""
        mine = (port for other, port in self._picked.items() if other == name or other.startswith(f"{name}-"))
        return all(is_free(port) for port in mine)


def unused_port(besides: Collection[int] = ()) -> int:
    """A port on which nothing listens now."""
    # Random, not counted up: stacks that start at the same moment must not meet.
    for candidate in random.sample(range(LOWEST, HIGHEST), TRIES):
        if candidate not in besides and is_free(candidate):
            return candidate
    raise RuntimeError(f"no free port among {TRIES} tried between {LOWEST} and {HIGHEST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # A server may bind where connections of its predecessor still linger, so may this.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
