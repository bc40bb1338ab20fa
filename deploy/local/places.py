"""Where the embedded stack keeps things.

Everything lies under one state folder, `.local/` in the checkout unless another is named; several
stacks run side by side when each has a folder of its own. Only Kafka's jars are shared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_STATE = CHECKOUT / ".local"
SHARED_JARS = DEFAULT_STATE / "kafka-jars"

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class Places:
    """The folders and files of one stack."""

    state: Path
    jars: Path = SHARED_JARS

    @property
    def run(self) -> Path:
        """One JSON file per running process: its pid, when it started, its address."""
        return self.state / "run"

    @property
    def log(self) -> Path:
        return self.state / "log"

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def ports(self) -> Path:
        """Ports once picked, so that an address stays valid over a restart."""
        return self.state / "ports.json"

    def create(self) -> None:
        """Make the folders that are missing. What is not for others is closed to them."""
        self.state.mkdir(parents=True, exist_ok=True)
        for folder in (self.run, self.log, self.data, self.secrets):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def write_privately(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only: a reader sees the old or the new text."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
