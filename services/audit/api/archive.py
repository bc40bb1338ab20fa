"""The archive: what is written for every fact that arrives, and how it is searched.

Rule: a row is added and never changed. A fact whose hash does not continue the one before it is kept like any other,
and alarmed; which of the two is wrong is for a person to find out.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from prometheus_client import Gauge
from sqlalchemy import Executable, text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.archiving import Archived
from chassis.database import DATABASE_ERRORS
from chassis.logs import failure, log
from contracts.access import AccessRefused, RecordRead
from contracts.event import instant

NAME, VERSION = "archive", 1  # Of the work that fills it, as in the tables of the chassis.
WATCH_S = 5.0
MOST_SEQUENCE = 2**63  # PostgreSQL's bigint ends before it.
BROKEN_LINKS = Gauge("audit_broken_links", "Facts in the archive whose hash does not continue the one before")

KEEP = text("""
    INSERT INTO archive (source, key, sequence, hash, headers, value, patients)
    VALUES (:source, :key, :sequence, :hash, CAST(:headers AS jsonb), :value, CAST(:patients AS text[]))
    ON CONFLICT ON CONSTRAINT archive_pkey DO NOTHING""")  # The hash is part of it: the very same fact, told again.

CHECK_LINKS = text("""
    INSERT INTO broken_link (source, key, sequence, hash)
    SELECT a.source, a.key, a.sequence, a.hash
    FROM unnest(CAST(:sources AS text[]), CAST(:keys AS text[]), CAST(:sequences AS bigint[]),
                CAST(:hashes AS bytea[])) AS n(source, key, sequence, hash)
    JOIN archive AS a USING (source, key, sequence, hash)
    WHERE NOT EXISTS (
        SELECT FROM (SELECT p.hash FROM archive AS p
                     WHERE p.source = a.source AND p.key = a.key AND p.sequence = a.sequence - 1
                     UNION ALL SELECT decode(repeat('00', 32), 'hex') WHERE a.sequence = 1) AS before(hash)
        WHERE fact_hash(before.hash, a.headers, a.value) = a.hash)
    ON CONFLICT ON CONSTRAINT broken_link_pkey DO NOTHING""")

BROKEN = text("SELECT count(*) FROM broken_link")

SEARCH = """
    SELECT source, key, sequence, hash, headers, value, recorded FROM archive
    WHERE {conditions}
    ORDER BY recorded DESC, source DESC, key DESC, sequence DESC, hash DESC LIMIT :limit"""
CONDITIONS = {
    "patient": "(key = :patient OR patients @> ARRAY[CAST(:patient AS text)])",
    "actor": "actor = :actor",
    "type": "type = :type",
    "since": "recorded >= :since",
    "until": "recorded < :until",
    "before": "(recorded, source, key, sequence, hash) < (:b_recorded, :b_source, :b_key, :b_sequence, :b_hash)",
}


def kept(arrived: Sequence[Archived]) -> Sequence[tuple[Executable, Any]]:
    """The statements that keep these facts and check that each continues the one before it."""
    if not arrived:
        return []
    rows = [row_of(one) for one in arrived]
    places = {
        "sources": [row["source"] for row in rows],
        "keys": [row["key"] for row in rows],
        "sequences": [row["sequence"] for row in rows],
        "hashes": [row["hash"] for row in rows],
    }
    return [(KEEP, rows), (CHECK_LINKS, places)]


def row_of(arrived: Archived) -> dict[str, Any]:
    place = arrived.received.place
    return {
        "source": place.source,
        "key": place.key,
        "sequence": place.sequence,
        "hash": place.hash,
        "headers": msgspec.json.encode(arrived.received.headers).decode(),
        "value": arrived.received.value,
        "patients": patients_shown(arrived),
    }


def patients_shown(arrived: Archived) -> list[str] | None:
    """Of an access fact, whose records it is about; its key is the person who acted."""
    match arrived.event.fact if arrived.event else None:
        case RecordRead(patients=patients) | AccessRefused(patients=patients):
            return [str(patient) for patient in patients]
        case _:
            return None


@dataclass(frozen=True)
class Search:
    """What is looked for in the archive; None: any. `since` counts, `until` does not; both by recorded time."""

    patient: UUID | None = None
    actor: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        return {
            "patient": self.patient and str(self.patient),
            "actor": self.actor,
            "type": self.type,
            "since": self.since and instant(self.since),
            "until": self.until and instant(self.until),
        }


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last fact of a page; the next begins after it."""

    recorded: str
    source: str
    key: str
    sequence: int
    hash: bytes

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises ValueError for what is no cursor, also for one that PostgreSQL could not compare with."""
        try:
            found = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (ValueError, msgspec.MsgspecError) as error:  # binascii.Error is a ValueError.
            raise ValueError("not a cursor") from error
        if not 0 < found.sequence < MOST_SEQUENCE or "\0" in found.recorded + found.source + found.key:
            raise ValueError("not a cursor")
        return found


@dataclass(frozen=True)
class Found:
    """A page of facts, newest first, and where the next begins; None: this was the last."""

    facts: Sequence[Mapping[str, Any]]
    patients: Sequence[UUID]
    next: str | None


class Archive:
    """Reads the archive, and watches over it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def find(self, search: Search, limit: int, before: Cursor | None = None) -> Found:
        """At most `limit` facts, newest first."""
        asked = {name: value for name, value in search.parameters().items() if value is not None}
        conditions = [CONDITIONS[name] for name in asked]
        if before:
            conditions.append(CONDITIONS["before"])
            asked |= {f"b_{name}": getattr(before, name) for name in before.__struct_fields__}
        statement = text(SEARCH.format(conditions=" AND ".join(conditions) or "true"))
        async with self.engine.connect() as connection:
            rows = (await connection.execute(statement, {**asked, "limit": limit + 1})).all()
        page = rows[:limit]
        last = page[-1] if len(rows) > limit else None
        following = str(Cursor(last.recorded, last.source, last.key, last.sequence, last.hash)) if last else None
        facts = [told(row) for row in page]
        return Found(facts, concerned(facts), following)

    async def watch(self) -> NoReturn:
        """Tells Prometheus and the log of links that were broken when they arrived."""
        known = 0
        while True:
            try:
                async with self.engine.connect() as connection:
                    found = await connection.scalar(BROKEN) or 0
            except DATABASE_ERRORS as error:
                log.warning("archive_watch_interrupted", **failure(error))
            else:
                BROKEN_LINKS.set(found)
                if found > known:
                    log.error("chain_broken", links=found)
                known = found
            await asyncio.sleep(WATCH_S)


def told(row: Any) -> dict[str, Any]:
    """A fact as it is shown: what its headers say, and its body as it was written, if it is JSON."""
    headers: Mapping[str, str] = row.headers
    return {
        "source": row.source,
        "key": row.key,
        "sequence": row.sequence,
        "hash": row.hash.hex(),
        "id": headers.get("ce_id"),
        "type": headers.get("ce_type"),
        "subject": headers.get("ce_subject"),
        "occurred_at": headers.get("ce_time"),
        "recorded_at": headers.get("ce_recordedtime"),
        "actor": headers.get("ce_actor"),
        "actor_role": headers.get("ce_actorrole"),
        "on_behalf_of": headers.get("ce_onbehalfof"),
        "reason": headers.get("ce_reason"),
        "correlation_id": headers.get("ce_correlationid"),
        "causation_id": headers.get("ce_causationid"),
        "fact": body(row.value),
    }


def body(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None


def concerned(facts: Sequence[Mapping[str, Any]]) -> list[UUID]:
    """The patients whose facts these are: a domain stream's key, and whom an access fact is about."""
    found: dict[UUID, None] = {}
    for fact in facts:
        shown = fact["fact"].get("patients", []) if isinstance(fact["fact"], dict) else []
        for text_of_id in shown if fact["source"].endswith("/access") else [fact["key"]]:
            try:
                found[UUID(text_of_id)] = None
            except (ValueError, AttributeError):
                continue  # A clinician's stream, or a body that is not as it should be.
    return list(found)
