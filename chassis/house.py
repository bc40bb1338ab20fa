"""The parts that every house is made of before it says what it does."""

import math
from collections.abc import Awaitable, Callable
from pathlib import Path

from contracts.permissions import Known
from contracts.topics import Topic

from .access import COPY, Access, CopyOfTheLog, OwnFacts, Records
from .clock import Clock
from .database import create_engine, house_url
from .documents import Documents
from .identity import Identity
from .progress import Progress
from .settings import Settings
from .store import EventStore


class House:
    """One house in one deployment: its database, its clock, who may enter. Connects to nothing until it is served.

    `migrations` is the house's own folder of that name, None if it has no tables of its own.
    """

    def __init__(self, name: str, settings: Settings, *, migrations: Path | None = None) -> None:
        self.name, self.settings, self.migrations = name, settings, migrations
        self.database_url = house_url(settings.database_url.get_secret_value(), settings.prefix, name)
        self.engine = create_engine(self.database_url, application=f"tandem-{name}")
        self.clock = Clock(self.engine)
        self.identity = Identity(settings.issuer, settings.jwks_url, settings.audience)
        self.records = Records(self.engine, name, self.clock)
        self.progress: Progress | None = None  # Set when the house is served: only then all its works are known.

    def store(self, topic: Topic) -> EventStore:
        """The house's own facts, published to `topic`."""
        return EventStore(self.engine, f"/{self.name}", topic)

    def access(self, known: Callable[[str], Awaitable[Known | None]] | None = None) -> Access:
        """Judges by a copy of the patients' facts; in the house that writes them by `known`, to the tail."""
        single = self.engine.execution_options(isolation_level="AUTOCOMMIT")  # One question: no BEGIN and ROLLBACK.
        copy = OwnFacts(known) if known else CopyOfTheLog(Documents(single, COPY), self.age_of_copy_s)
        return Access(copy, self.records, self.clock, self.settings.time_zone)

    def age_of_copy_s(self) -> float:
        """How far the access copy may be behind; without end while nobody has looked."""
        return self.progress.age_s(COPY.name) if self.progress else math.inf
