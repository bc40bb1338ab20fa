"""Which fact of every source was the last that a key has seen: one row per key, whose lock is the key's lock.

A projection keeps it in its document's row; a reaction and an archive in the table `seen`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .arrivals import Standing
from .ordering import Mark, Page

S = TypeVar("S")

LOCK = text("""
    SELECT key, CAST(seen AS text) AS seen, stale_since FROM seen
    WHERE work = :work AND version = :version AND key = ANY(:keys) ORDER BY key FOR UPDATE""")
MAKE = text("""
    INSERT INTO seen (work, version, key)
    SELECT :work, :version, n.key FROM unnest(CAST(:keys AS text[])) AS n(key) ORDER BY n.key
    ON CONFLICT ON CONSTRAINT seen_pkey DO NOTHING""")
WRITE = text("""
    UPDATE seen AS s SET seen = CAST(n.seen AS jsonb), stale_since = n.stale_since
    FROM unnest(CAST(:keys AS text[]), CAST(:seen AS text[]), CAST(:stale_since AS timestamptz[]))
         AS n(key, seen, stale_since)
    WHERE s.work = :work AND s.version = :version AND s.key = n.key""")
LOOK = text("""
    SELECT key, CAST(seen AS text) AS seen, stale_since FROM seen
    WHERE work = :work AND version = :version AND key = ANY(:keys)""")

MARKS = msgspec.json.Decoder(dict[str, tuple[int, str]])


@dataclass(frozen=True)
class Seen:
    """The rows of one work in the table `seen`."""

    engine: AsyncEngine
    work: str
    version: int

    async def open(self, tx: AsyncConnection, keys: Sequence[str], state: S) -> dict[str, Page[S]]:
        """The keys' pages under their locks, each with this state."""
        rows = await locked(tx, LOCK, MAKE, keys, self.named())
        return {row.key: Page(row.key, state, marks(row.seen), row.stale_since) for row in rows}

    async def write(self, tx: AsyncConnection, pages: Sequence[Page[S]]) -> None:
        """The pages' marks."""
        await tx.execute(WRITE, {**self.named(), **columns(pages)})

    async def look(self, keys: Sequence[str]) -> Mapping[str, Standing]:
        """Where these keys stand; one that nothing was seen of is left out."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(LOOK, {**self.named(), "keys": list(keys)})
            return {row.key: standing(marks(row.seen), row.stale_since) for row in rows}

    def named(self) -> dict[str, Any]:
        """The parameters that name rows of this work."""
        return {"work": self.work, "version": self.version}


async def locked(
    tx: AsyncConnection, lock: TextClause, make: TextClause, keys: Sequence[str], named: Mapping[str, Any]
) -> list[Row[Any]]:
    """The keys' rows, made where missing: a row that is not there cannot be locked."""
    rows = list(await tx.execute(lock, {**named, "keys": keys}))
    if missing := sorted(set(keys) - {row.key for row in rows}):
        await tx.execute(make, {**named, "keys": missing})
        rows.extend(await tx.execute(lock, {**named, "keys": missing}))
    return rows


def columns(pages: Sequence[Page[S]]) -> dict[str, Any]:
    """The parameters that hold the pages' marks."""
    return {
        "keys": [page.key for page in pages],
        "seen": [encoded(page.seen) for page in pages],
        "stale_since": [page.stale_since for page in pages],
    }


def marks(stored: str) -> dict[str, Mark]:
    """`{"/patients": [17, "<hash in hex>"]}` as it is in memory."""
    return {source: (sequence, bytes.fromhex(found)) for source, (sequence, found) in MARKS.decode(stored).items()}


def encoded(seen: Mapping[str, Mark]) -> str:
    """The reverse of `marks`."""
    return msgspec.json.encode({source: (sequence, found.hex()) for source, (sequence, found) in seen.items()}).decode()


def standing(seen: Mapping[str, Mark], stale_since: datetime | None) -> Standing:
    """Where a key stands, for those who wait."""
    return Standing({source: sequence for source, (sequence, _) in seen.items()}, stale_since is not None)


def standings(pages: Iterable[Page[S]]) -> dict[str, Standing]:
    """Where the pages' keys stand; of a key with several pages, the last counts."""
    return {page.key: standing(page.seen, page.stale_since) for page in pages}
