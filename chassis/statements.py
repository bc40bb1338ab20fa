"""The SQL of the event store, tried under faults: change nothing here without running tests/faults.

What is sent carries no comments: a collision would put them, with the whole statement, into the server's log.
"""

from dataclasses import dataclass
from typing import Self

from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg


@dataclass(frozen=True)
class Positional:
    """A statement in the driver's own form, `$1` and so on, and the names of its parameters in that order."""

    sql: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, named: str) -> Self:
        """From a statement with `:name` parameters."""
        compiled = text(named).compile(dialect=PGDialect_asyncpg())  # type: ignore[no-untyped-call]
        return cls(str(compiled), tuple(compiled.positiontup or ()))


# Who lost several races to one stream claims it: everybody else's append then waits, and fails, so that the next number
# is free. An append takes the same lock shared, which costs microseconds and keeps out nobody but a claim. Without it
# a process whose rivals know the stream's end by heart, having just moved it, would lose for ever.
CLAIM = text("SELECT pg_advisory_xact_lock(1, hashtext(:stream))")
CLAIM_ALL = text("""
SELECT pg_advisory_xact_lock(1, hashtext(h.stream))
FROM (SELECT stream FROM unnest(CAST(:streams AS text[])) AS s(stream) ORDER BY stream COLLATE "C") AS h""")

# seen: this key's earlier reply. head: the writer's idea of the stream's end against the table's. keyed: DO NOTHING
# waits for a rival under the same key, and then says nothing ("raced"). queued: sorted before it is numbered, so that
# positions rise with the sequence. The outcome: an earlier reply comes before all else, for the state may be old
# because of it.
APPEND = Positional.of("""
WITH seen AS (
    SELECT body_hash, reply FROM command
    WHERE issuer = :issuer AND subject = :subject AND route = :route AND key = :key
), head AS (
    SELECT CAST(:head AS bigint) = 0 OR EXISTS (SELECT FROM event
                                WHERE stream = :stream AND sequence = :head AND hash = :head_hash) AS known,
           EXISTS (SELECT FROM event WHERE stream = :stream AND sequence = :head + 1) AS passed
    FROM (SELECT pg_advisory_xact_lock_shared(1, hashtext(:stream))) AS unclaimed
), keyed AS (
    INSERT INTO command (issuer, subject, route, key, body_hash, reply)
    SELECT :issuer, :subject, :route, :key, :body_hash, :reply
    FROM head WHERE known AND NOT passed AND NOT EXISTS (SELECT FROM seen)
    ON CONFLICT ON CONSTRAINT command_pkey DO NOTHING RETURNING key
), appended AS (
    INSERT INTO event (stream, sequence, id, headers, value, hash)
    SELECT :stream, :head + nth, f.id, f.headers, f.value, f.hash
    FROM keyed, unnest(CAST(:ids AS uuid[]), CAST(:headers AS jsonb[]), CAST(:values AS bytea[]),
                       CAST(:hashes AS bytea[])) WITH ORDINALITY AS f(id, headers, value, hash, nth)
    RETURNING sequence
), queued AS (
    INSERT INTO outbox (stream, sequence, topic)
    SELECT :stream, sequence, :topic FROM appended ORDER BY sequence
)
SELECT CASE WHEN seen.body_hash = :body_hash THEN 'replayed'
            WHEN seen.body_hash IS NOT NULL THEN 'key_reused'
            WHEN NOT head.known THEN 'ahead'
            WHEN head.passed THEN 'behind'
            WHEN EXISTS (SELECT FROM keyed) THEN 'appended'
            ELSE 'raced' END AS name, seen.reply
FROM head LEFT JOIN seen ON true""")

# The same without a key, for many streams: all of them, or none when one has moved. Rows are locked in the order of
# their streams, as everywhere. MATERIALIZED: or the planner would lock the streams that have moved only.
APPEND_ALL = text("""
WITH heads AS MATERIALIZED (
    SELECT stream, head, hash, pg_advisory_xact_lock_shared(1, hashtext(stream))
    FROM unnest(CAST(:streams AS text[]), CAST(:heads AS bigint[]), CAST(:head_hashes AS bytea[]))
         AS h(stream, head, hash)
), moved AS (
    SELECT h.stream FROM heads AS h
    WHERE (h.head > 0 AND NOT EXISTS (SELECT FROM event AS e
                                      WHERE e.stream = h.stream AND e.sequence = h.head AND e.hash = h.hash))
       OR EXISTS (SELECT FROM event AS e WHERE e.stream = h.stream AND e.sequence = h.head + 1)
), appended AS (
    INSERT INTO event (stream, sequence, id, headers, value, hash)
    SELECT f.stream, f.sequence, f.id, f.headers, f.value, f.hash
    FROM unnest(CAST(:event_streams AS text[]), CAST(:sequences AS bigint[]), CAST(:ids AS uuid[]),
                CAST(:headers AS jsonb[]), CAST(:values AS bytea[]), CAST(:hashes AS bytea[]))
         AS f(stream, sequence, id, headers, value, hash)
    WHERE NOT EXISTS (SELECT FROM moved)
    ORDER BY f.stream COLLATE "C", f.sequence
    RETURNING stream, sequence
), queued AS (
    INSERT INTO outbox (stream, sequence, topic)
    SELECT stream, sequence, :topic FROM appended ORDER BY stream, sequence
)
SELECT stream FROM moved""")

# From the last known event on, itself included: whether it is still there, with the same hash, is the question.
TAILS = text("""
SELECT h.stream, e.sequence, e.hash, e.headers, e.value
FROM unnest(CAST(:streams AS text[]), CAST(:heads AS bigint[])) AS h(stream, head)
CROSS JOIN LATERAL (SELECT sequence, hash, headers, value FROM event
                    WHERE stream = h.stream AND sequence >= h.head ORDER BY sequence LIMIT :page) AS e
ORDER BY h.stream COLLATE "C", e.sequence""")

REPLY = text("""
SELECT body_hash, reply FROM command
WHERE issuer = :issuer AND subject = :subject AND route = :route AND key = :key""")
KEEP_REPLY = text("""
INSERT INTO command (issuer, subject, route, key, body_hash, reply)
VALUES (:issuer, :subject, :route, :key, :body_hash, :reply)
ON CONFLICT ON CONSTRAINT command_pkey DO NOTHING RETURNING key""")
