"""Reading a projection: a key's document, its timeline, and waiting until it has seen a position."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from .arrivals import Arrivals
from .position import Position
from .projecting import Projection, looking
from .seen import marks

D = TypeVar("D")

DOCUMENT = (
    "SELECT key, document, CAST(seen AS text) AS seen, stale_since, updated_at FROM {schema}.document WHERE key = :key"
)
ENTRIES = """
    SELECT occurred_at, source, sequence, nth, event_id, recorded_at, kind, line, type, actor, actor_role,
           correlation_id
    FROM {schema}.entry
    WHERE key = :key {before} {kind}
    ORDER BY occurred_at DESC, source DESC, sequence DESC, nth DESC LIMIT :limit"""
BEFORE = "AND (occurred_at, source, sequence, nth) < (:occurred_at, :source, :sequence, :nth)"
KIND = "AND kind = :kind"
LIVE = text("SELECT live_version FROM projection WHERE name = :name")


class NotLive(Exception):
    """Readers are to use another version of this projection than the one that this process was built with."""


@dataclass(frozen=True)
class Document(Generic[D]):
    """A key's document. `seen` is the last sequence of each source; `stale_since` tells that some facts wait."""

    key: str
    document: D
    seen: Mapping[str, int]
    stale_since: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class TimelineEntry:
    """A line of a key's timeline, with the event that it comes from."""

    event_id: UUID
    source: str
    sequence: int
    kind: str
    line: str
    type: str
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    actor_role: str
    correlation_id: UUID


@dataclass(frozen=True)
class TimelinePage:
    """Newest first. `before` asks for the next page; None when there is none."""

    entries: Sequence[TimelineEntry]
    before: str | None


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """The last line that a page showed."""

    occurred_at: datetime
    source: str
    sequence: int
    nth: int


class Documents(Generic[D]):
    """Readers of one projection, in the version that this process was built with."""

    def __init__(self, engine: AsyncEngine, projection: Projection[D]) -> None:
        self.engine = engine
        self.projection = projection
        self.arrivals = Arrivals(looking(engine, projection))
        self.one = text(DOCUMENT.format(schema=projection.schema))

    async def get(self, key: str) -> Document[D] | None:
        """The key's document; None when no fact of it has come. Raises NotLive."""
        async with self.engine.connect() as connection:
            await self.check_live(connection)
            row = (await connection.execute(self.one, {"key": key})).one_or_none()
        if row is None:
            return None
        document = self.projection.initial if row.document is None else self.projection.decode(row.document)
        seen = {source: sequence for source, (sequence, _) in marks(row.seen).items()}
        return Document(row.key, document, seen, row.stale_since, row.updated_at)

    async def wait(self, key: str, after: Sequence[Position], timeout_s: float) -> bool:
        """Whether the document has seen all positions; False when time is up, and at once when the key is blocked."""
        return await self.arrivals.wait(key, after, timeout_s)

    async def entries(
        self, key: str, *, before: str | None = None, limit: int = 50, kind: str | None = None
    ) -> TimelinePage:
        """A page of the key's timeline by when it happened. Raises ValueError for a cursor that is none, NotLive."""
        values: dict[str, Any] = {"key": key, "limit": limit + 1}
        if before is not None:
            values.update(msgspec.structs.asdict(cursor(before)))
        if kind is not None:
            values["kind"] = kind
        statement = ENTRIES.format(
            schema=self.projection.schema,
            before=BEFORE if before is not None else "",
            kind=KIND if kind is not None else "",
        )
        async with self.engine.connect() as connection:
            await self.check_live(connection)
            rows = (await connection.execute(text(statement), values)).all()
        shown = rows[:limit]
        return TimelinePage([entry(row) for row in shown], after_last(shown[-1]) if len(rows) > limit else None)

    async def check_live(self, connection: Any) -> None:
        """Raises NotLive when the table names another version."""
        version = (await connection.execute(LIVE, {"name": self.projection.name})).scalar_one_or_none()
        if version != self.projection.version:
            raise NotLive(f"{self.projection.name} is read in version {version}")


def entry(row: Row[Any]) -> TimelineEntry:
    return TimelineEntry(
        row.event_id,
        row.source,
        row.sequence,
        row.kind,
        row.line,
        row.type,
        row.occurred_at,
        row.recorded_at,
        row.actor,
        row.actor_role,
        row.correlation_id,
    )


def after_last(row: Row[Any]) -> str:
    """The cursor behind this row: opaque to whoever holds it."""
    last = Cursor(row.occurred_at, row.source, row.sequence, row.nth)
    return base64.urlsafe_b64encode(msgspec.json.encode(last)).decode()


def cursor(text: str) -> Cursor:
    """The reverse of `after_last`. Raises ValueError."""
    try:
        found = msgspec.json.decode(base64.b64decode(text, altchars=b"-_", validate=True), type=Cursor)
    except (ValueError, msgspec.MsgspecError) as error:  # binascii.Error is a ValueError.
        raise ValueError("not a cursor of this timeline") from error
    if found.occurred_at.tzinfo is None or "\0" in found.source:
        raise ValueError("not a cursor of this timeline")
    return found
