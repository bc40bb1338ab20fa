"""A view as a fold: one bounded document per key, and rows for what grows, written where the offsets are.

A version has tables of its own, in the schema `<name>_v<version>`; the table `projection` names the version that
readers use. A fold that is run again writes the same rows again, and can send nothing.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.catalogue import FACTS, without_version
from contracts.event import Event, Undecodable
from contracts.fact import Fact
from contracts.topics import Topic

from . import metrics
from .arrivals import Arrivals, Look, Standing
from .checkpoints import Checkpoints
from .codec import PLAIN, Codec, UnknownVersion, event_from
from .ordering import Page
from .receiving import MOST_BLOCKED, Receiving
from .records import Received
from .seen import columns, locked, marks, standing

if TYPE_CHECKING:
    from .documents import Documents

D = TypeVar("D")
NAME = re.compile(r"[a-z][a-z_]{0,40}", re.ASCII)  # Of a projection: it becomes a schema's name.
BATCH_SIZE = 1_000


class Entry(NamedTuple):
    """One line of the timeline; the chassis adds the event's id, place, times, type and actor."""

    kind: str
    line: str


@dataclass(frozen=True)
class Projection(Generic[D]):
    """A fold and how its documents are kept. `project` is pure; what it raises sets the fact aside.

    `types` are the wire types that `project` or `entries` know: others are recorded as skipped, undecoded, and a
    rebuild is due once a version knows them.
    """

    name: str
    version: int
    topics: Sequence[Topic]
    initial: D
    project: Callable[[D, Event[Fact]], D]
    types: frozenset[str]
    encode: Callable[[D], bytes]
    decode: Callable[[bytes], D]
    entries: Callable[[Event[Fact]], Iterable[Entry]] | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name a schema")
        if unknown := self.types - FACTS.keys():
            raise ValueError(f"no such fact: {min(unknown)}")

    @property
    def schema(self) -> str:
        """Where this version's tables are."""
        return f"{self.name}_v{self.version}"


class TimelineRow(NamedTuple):
    """A row of the table `entry`, in the order of its columns."""

    key: str
    occurred_at: datetime
    source: str
    sequence: int
    nth: int
    event_id: UUID
    recorded_at: datetime
    kind: str
    line: str
    type: str
    actor: str
    actor_role: str
    correlation_id: UUID


TABLES = (
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    # The document is bytes, not jsonb: only our fold reads it, and equal documents are equal bytes.
    """
    CREATE TABLE IF NOT EXISTS {schema}.document (
        key text COLLATE "C" CONSTRAINT document_pkey PRIMARY KEY,
        document bytea,
        seen jsonb NOT NULL DEFAULT '{{}}',
        stale_since timestamptz,
        updated_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 70)""",
    """
    CREATE TABLE IF NOT EXISTS {schema}.entry (
        key text COLLATE "C" NOT NULL,
        occurred_at timestamptz NOT NULL,
        source text COLLATE "C" NOT NULL,
        sequence bigint NOT NULL,
        nth int NOT NULL,
        event_id uuid NOT NULL,
        recorded_at timestamptz NOT NULL,
        kind text NOT NULL,
        line text NOT NULL,
        type text NOT NULL,
        actor text NOT NULL,
        actor_role text NOT NULL,
        correlation_id uuid NOT NULL,
        CONSTRAINT entry_pkey PRIMARY KEY (key, occurred_at, source, sequence, nth))""",
)
ALONE = text("SELECT pg_advisory_xact_lock(hashtext(:schema))")  # CREATE … IF NOT EXISTS may still collide.
FIRST = text("INSERT INTO projection (name, live_version) VALUES (:name, :version) ON CONFLICT DO NOTHING")
SKIPPED = text("""
    INSERT INTO skipped_type (work, version, type) VALUES (:work, :version, :type)
    ON CONFLICT ON CONSTRAINT skipped_type_pkey DO NOTHING""")


class Statements:
    """What is said to one version's tables; a schema's name cannot be a parameter."""

    def __init__(self, schema: str) -> None:
        def of(statement: str) -> TextClause:
            return text(statement.format(schema=schema))

        self.lock = of("""
            SELECT key, document, CAST(seen AS text) AS seen, stale_since FROM {schema}.document
            WHERE key = ANY(:keys) ORDER BY key FOR UPDATE""")
        self.make = of("""
            INSERT INTO {schema}.document (key)
            SELECT n.key FROM unnest(CAST(:keys AS text[])) AS n(key) ORDER BY n.key
            ON CONFLICT ON CONSTRAINT document_pkey DO NOTHING""")
        self.write = of("""
            UPDATE {schema}.document AS d
            SET document = n.document, seen = CAST(n.seen AS jsonb), stale_since = n.stale_since, updated_at = now()
            FROM unnest(CAST(:keys AS text[]), CAST(:documents AS bytea[]), CAST(:seen AS text[]),
                        CAST(:stale_since AS timestamptz[])) AS n(key, document, seen, stale_since)
            WHERE d.key = n.key""")
        self.look = of(
            "SELECT key, CAST(seen AS text) AS seen, stale_since FROM {schema}.document WHERE key = ANY(:keys)"
        )


@dataclass(frozen=True, slots=True)
class Folded(Generic[D]):
    """A document after some facts, with the rows and the skipped types that came of them."""

    document: D
    stored: bytes | None  # Its bytes in the table; none before the first fact.
    folded: bool = False  # Since it was loaded.
    rows: tuple[TimelineRow, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folding(Generic[D]):
    """What a projection does with facts whose turn it is."""

    engine: AsyncEngine
    projection: Projection[D]
    codec: Codec
    statements: Statements
    arrivals: Arrivals
    lazily: bool = True
    told: set[str] = field(default_factory=set)  # Skipped types that the table is known to hold.

    async def prepare(self) -> None:
        """Make this version's tables; the first version ever is the one that readers use."""
        schema = self.projection.schema
        async with self.engine.begin() as tx:
            await tx.execute(ALONE, {"schema": schema})
            for statement in TABLES:
                await tx.execute(text(statement.format(schema=schema)))
            await tx.execute(FIRST, {"name": self.projection.name, "version": self.projection.version})

    @asynccontextmanager
    async def session(self) -> AsyncIterator["FoldingSession[D]"]:
        yield FoldingSession(self, self.statements)


@dataclass(frozen=True)
class FoldingSession(Generic[D]):
    """One transaction of a projection."""

    folding: Folding[D]
    statements: Statements
    skipped: set[str] = field(default_factory=set)

    async def open(self, tx: AsyncConnection, keys: Sequence[str]) -> dict[str, Page[Folded[D]]]:
        projection = self.folding.projection
        rows = await locked(tx, self.statements.lock, self.statements.make, keys, {})
        return {
            row.key: Page(
                row.key,
                Folded(projection.initial if row.document is None else projection.decode(row.document), row.document),
                marks(row.seen),
                row.stale_since,
            )
            for row in rows
        }

    def take(self, state: Folded[D], fact: Received) -> Folded[D]:
        projection = self.folding.projection
        if fact.type not in projection.types:
            return replace(state, skipped=(*state.skipped, skippable(fact.type, projection)))
        event = event_from(fact.headers, fact.value, self.folding.codec)
        document = projection.project(state.document, event)
        rows = timeline(event, projection.entries(event)) if projection.entries else ()
        return Folded(document, state.stored, True, (*state.rows, *rows), state.skipped)

    async def write(self, tx: AsyncConnection, pages: Sequence[Page[Folded[D]]]) -> None:
        projection = self.folding.projection
        documents = [
            projection.encode(page.state.document) if page.state.folded else page.state.stored for page in pages
        ]
        await tx.execute(self.statements.write, {**columns(pages), "documents": documents})
        if rows := [row for page in pages for row in page.state.rows]:
            session = (await tx.get_raw_connection()).driver_connection
            assert session is not None
            await session.copy_records_to_table(
                "entry", schema_name=projection.schema, columns=TimelineRow._fields, records=rows
            )
        self.skipped.update(type for page in pages for type in page.state.skipped)
        for type in sorted(self.skipped - self.folding.told):
            await tx.execute(SKIPPED, {"work": projection.name, "version": projection.version, "type": type})

    def committed(self) -> None:
        self.folding.told.update(self.skipped)


def skippable(type: str, projection: Projection[Any]) -> str:
    """The type, if the projection may go past it. Raises UnknownVersion or Undecodable if it may not."""
    if not type:
        raise Undecodable("attribute 'ce_type' is missing")
    if type not in FACTS:
        metrics.UNKNOWN_TYPES.labels(projection.name).inc()
        if without_version(type) in {without_version(known) for known in projection.types}:
            raise UnknownVersion(type)
    return type


def timeline(event: Event[Fact], entries: Iterable[Entry]) -> tuple[TimelineRow, ...]:
    """The rows of one event."""
    return tuple(
        TimelineRow(
            event.key,
            event.occurred_at,
            event.source,
            event.sequence,
            nth,
            event.id,
            event.recorded_at,
            entry.kind,
            entry.line,
            event.fact.TYPE,
            event.actor,
            event.actor_role,
            event.correlation_id,
        )
        for nth, entry in enumerate(entries)
    )


def projecting(
    engine: AsyncEngine,
    projection: Projection[D],
    *,
    documents: "Documents[D] | None" = None,
    codec: Codec = PLAIN,
    batch_size: int = BATCH_SIZE,
    most_blocked: int = MOST_BLOCKED,
) -> Receiving[Folded[D]]:
    """The work that keeps this projection. `documents` are the readers in this process, woken after each commit."""
    arrivals = documents.arrivals if documents else Arrivals(looking(engine, projection))
    folding = Folding(engine, projection, codec, Statements(projection.schema), arrivals)
    checkpoints = Checkpoints(engine, projection.name, projection.version)
    return Receiving(engine, checkpoints, folding, projection.topics, batch_size, most_blocked)


def looking(engine: AsyncEngine, projection: Projection[D]) -> Look:
    """How to see where keys stand in this projection."""
    statement = Statements(projection.schema).look

    async def look(keys: Sequence[str]) -> Mapping[str, Standing]:
        async with engine.connect() as connection:
            rows = await connection.execute(statement, {"keys": list(keys)})
            return {row.key: standing(marks(row.seen), row.stale_since) for row in rows}

    return look
