"""Facts that could not be applied, kept in order per source and key until they can be.

Rules: they are set aside in the transaction that moves the offset past them, so none is lost. Whoever applies facts
of a key, worker or redrive, holds the lock of its row first and reads what is blocked after that.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.event import headers_of, place_of

from . import metrics
from .logs import failure
from .ordering import Aside, Page, Verdict
from .records import Junk, Received, Record

S = TypeVar("S")

BLOCKED = text("""
    SELECT key, source, reason FROM blocked WHERE work = :work AND version = :version AND key = ANY(:keys)""")
BLOCK = text("""
    INSERT INTO blocked (work, version, key, source, reason)
    SELECT :work, :version, n.key, n.source, n.reason
    FROM unnest(CAST(:keys AS text[]), CAST(:sources AS text[]), CAST(:reasons AS text[])) AS n(key, source, reason)
    ON CONFLICT ON CONSTRAINT blocked_pkey DO UPDATE SET reason = excluded.reason""")
FREE = text("""
    DELETE FROM blocked AS b USING unnest(CAST(:keys AS text[]), CAST(:sources AS text[])) AS n(key, source)
    WHERE b.work = :work AND b.version = :version AND b.key = n.key AND b.source = n.source""")
LATELY_BLOCKED = text("""
    SELECT count(DISTINCT key) FROM blocked
    WHERE work = :work AND version = :version AND since > now() - interval '60 seconds'""")

WAITING = text("""
    SELECT id, key, source, reason, topic, part, record_offset, timestamp_ms, record_key, headers, value
    FROM parked
    WHERE work = :work AND version = :version AND key = ANY(:keys) AND sequence IS NOT NULL
    ORDER BY sequence, id""")
PARK = text("""
    INSERT INTO parked (work, version, key, source, sequence, hash, topic, part, record_offset, timestamp_ms,
                        record_key, headers, value, reason)
    VALUES (:work, :version, :key, :source, :sequence, :hash, :topic, :part, :record_offset, :timestamp_ms,
            :record_key, :headers, :value, :reason)
    ON CONFLICT DO NOTHING""")
LEFT = text("SELECT count(*) FROM parked WHERE work = :work AND version = :version AND key = :key")
RELEASE = text("DELETE FROM parked WHERE id = ANY(:ids)")
KEEP = text("UPDATE parked SET attempts = attempts + 1, reason = :reason WHERE id = :id")

HEADERS = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...])

log = structlog.get_logger()


class TooManyBlocked(Exception):
    """So many patients were blocked within a minute that it must be our own fault: better to stop than to go on."""


async def read(
    tx: AsyncConnection,
    work: str,
    version: int,
    pages: Mapping[str, Page[S]],
    facts: Mapping[str, Sequence[Received | Junk]],
) -> None:
    """Tell the pages what is blocked, and what waits wherever one of `facts` may be the one that was missing."""
    named = {"work": work, "version": version}
    rows = (await tx.execute(BLOCKED, {**named, "keys": list(pages)})).all()
    if not rows:
        return
    for row in rows:
        pages[row.key].blocked[row.source] = Verdict(row.reason)
    keys = [key for key, page in pages.items() if page.blocked]
    for key in keys:
        pages[key].blocked_before = dict(pages[key].blocked)
    closing = [key for key in keys if any(closes(pages[key], fact) for fact in facts.get(key, ()))]
    if closing:
        await read_waiting(tx, work, version, {key: pages[key] for key in closing})


def closes(page: Page[S], fact: Received | Junk) -> bool:
    """Whether this fact is the next one of a source that is blocked."""
    if isinstance(fact, Junk) or fact.place.source not in page.blocked:
        return False
    last = page.seen[fact.place.source][0] if fact.place.source in page.seen else 0
    return fact.place.sequence == last + 1


async def read_waiting(tx: AsyncConnection, work: str, version: int, pages: Mapping[str, Page[S]]) -> None:
    """Tell the pages all that waits, of every source, in order."""
    found = await tx.execute(WAITING, {"work": work, "version": version, "keys": list(pages)})
    waiting: dict[str, dict[str, list[Aside]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        waiting[row.key][row.source].append(aside_of(row))
    for key, page in pages.items():
        page.waiting = dict(waiting[key])


async def waiting_of(tx: AsyncConnection, work: str, version: int, key: str, source: str) -> Sequence[Aside]:
    """What waits of one source of one key, in order. The key's row is locked."""
    found = await tx.execute(WAITING, {"work": work, "version": version, "keys": [key]})
    return [aside_of(row) for row in found if row.source == source]


async def count(tx: AsyncConnection, work: str, version: int, key: str) -> int:
    """How many records wait that bear this key, junk among them."""
    return int((await tx.execute(LEFT, {"work": work, "version": version, "key": key})).scalar_one())


def aside_of(row: Row[Any]) -> Aside:
    record = Record(
        row.topic,
        row.part,
        row.record_offset,
        row.timestamp_ms,
        row.record_key,
        HEADERS.decode(row.headers),
        row.value,
    )
    headers = headers_of(record.headers)  # It had a place when it was set aside.
    return Aside(Received(record, headers, place_of(headers), row.value), Verdict(row.reason), row.id)


async def write(tx: AsyncConnection, work: str, version: int, pages: Sequence[Page[S]], most_blocked: int) -> None:
    """Bring the tables to where the pages are. Raises TooManyBlocked."""
    named = {"work": work, "version": version}
    if ids := [aside.id for page in pages for aside in page.released if aside.id is not None]:
        await tx.execute(RELEASE, {"ids": ids})
    if kept := [aside for page in pages for aside in page.kept if aside.id is not None]:
        await tx.execute(KEEP, [{"id": aside.id, "reason": aside.reason} for aside in kept])
    if new := [(page.key, aside) for page in pages for aside in still_aside(page)]:
        await tx.execute(PARK, [{**named, **row_of(key, aside)} for key, aside in new])
    freed = [(page.key, source) for page in pages for source in page.blocked_before.keys() - page.blocked.keys()]
    if freed:
        await tx.execute(FREE, {**named, "keys": [key for key, _ in freed], "sources": [source for _, source in freed]})
    blocked = [
        (page.key, source, reason)
        for page in pages
        for source, reason in page.blocked.items()
        if page.blocked_before.get(source) != reason
    ]
    if blocked:
        keys, sources, reasons = zip(*blocked, strict=True)
        await tx.execute(BLOCK, {**named, "keys": keys, "sources": sources, "reasons": [str(one) for one in reasons]})
        lately = (await tx.execute(LATELY_BLOCKED, named)).scalar_one()
        if lately > most_blocked:
            raise TooManyBlocked(f"{lately} within a minute")


def still_aside(page: Page[S]) -> list[Aside]:
    """What this batch set aside and did not apply after all."""
    released = {id(aside) for aside in page.released}
    return [aside for aside in page.set_aside if id(aside) not in released]


def row_of(key: str | None, aside: Aside) -> dict[str, Any]:
    """A row of `parked`, but for the work that it belongs to."""
    fact = aside.fact
    record = fact.record
    return {
        "key": key,
        "source": fact.place.source if isinstance(fact, Received) else fact.source,
        "sequence": fact.place.sequence if isinstance(fact, Received) else None,
        "hash": fact.place.hash if isinstance(fact, Received) else record.fingerprint(),
        "topic": record.topic,
        "part": record.partition,
        "record_offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "record_key": record.key,
        "headers": msgspec.msgpack.encode(record.headers),
        "value": record.value,
        "reason": str(aside.reason),
    }


async def keep_junk(tx: AsyncConnection, work: str, version: int, junk: Sequence[Junk]) -> None:
    """Set aside, by their place, records of which nobody can tell whom they concern. They block nobody."""
    rows = [row_of(one.key, Aside(one, Verdict.UNDECODABLE)) for one in junk]
    await tx.execute(PARK, [{"work": work, "version": version, **row} for row in rows])


def tell(work: str, pages: Sequence[Page[S]], junk: Sequence[Junk]) -> None:
    """Counters and log lines, once it is known that the transaction has committed."""
    metrics.APPLIED.labels(work).inc(sum(page.applied for page in pages))
    if repeated := sum(page.repeated for page in pages):
        metrics.DUPLICATES.labels(work).inc(repeated)
    for one in junk:
        metrics.PARKED.labels(work, "undecodable").inc()
        log.error("record_parked", work=work, problem=one.problem, **place_told(one))
    for page in pages:
        for aside in still_aside(page):
            metrics.PARKED.labels(work, str(aside.reason)).inc()
            if aside.reason is Verdict.GAP:
                metrics.GAPS.labels(work).inc()
            say = log.info if aside.reason is Verdict.BEHIND else log.error  # An alarm is for the first of them.
            say("fact_parked", work=work, reason=str(aside.reason), **place_told(aside.fact), **told(aside.cause))
        for source in page.blocked_before.keys() - page.blocked.keys():
            log.info("source_unblocked", work=work, stream=page.key, source=source)


def place_told(fact: Received | Junk) -> dict[str, Any]:
    """Ids and places only."""
    record = fact.record
    lay = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if isinstance(fact, Junk):
        return {**lay, "stream": fact.key}
    return {**lay, "stream": fact.place.key, "source": fact.place.source, "sequence": fact.place.sequence}


def told(cause: Exception | None) -> dict[str, str]:
    """Type and place of what a function of ours raised."""
    return failure(cause) if cause else {}
