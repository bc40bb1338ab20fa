"""The events of one source: appended in one statement, read back as far as the table goes.

A stream is one key's events (a patient's; of access facts a person's), numbered 1, 2, 3 without a gap.

Rules: the primary key (stream, sequence) is the lock. A fact is inserted only after the very fact that its hash
continues. A taken number raises and undoes everything: never ON CONFLICT DO NOTHING on `event`, which would splice
two writers' facts. The statements are in statements.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import uuid5

import asyncpg
import msgspec
from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.event import NO_HASH, Event, attributes, chained, event_of
from contracts.fact import Fact
from contracts.topics import Topic

from .codec import PLAIN, Codec, Unencodable, event_from
from .decider import Ask, Rejected
from .statements import APPEND, APPEND_ALL, KEEP_REPLY, REPLY, TAILS

F = TypeVar("F", bound=Fact)

MAX_VALUE_BYTES = 512 * 1024  # With its headers a fact must fit into one request to Kafka of 1 MiB.
PAGE = 1_000  # Events a stream is read by: bounds what one answer of the database holds.
EVENT_KEY = "event_pkey"

Statement = tuple[Executable, Mapping[str, Any] | Sequence[Mapping[str, Any]]]
Rows = Callable[[Sequence[Event[F]]], Sequence[Statement]]
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CommandKey:
    """A client's name for one command: the same again is answered with the same reply, 30 days long.

    `body_hash` is SHA-256 over all that the client asked. The four names together have at most 2 KiB (an index row).
    """

    issuer: str
    subject: str
    route: str
    key: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a stream, as far as somebody knows."""

    sequence: int = 0
    hash: bytes = NO_HASH
    recorded_at: datetime = NEVER


START = Head()


@dataclass(frozen=True, slots=True)
class Written(Generic[F]):
    """An event in its place, with the bytes that are kept and published."""

    event: Event[F]
    headers: str
    value: bytes


class Outcome(NamedTuple):
    """What became of an append. Only `appended` has changed anything.

    behind: others have appended since. ahead: the table does not hold the event that this continues, so what the
    writer knows is another history. raced: the same key was committed this moment; ask again, its reply is there.
    """

    name: Literal["appended", "replayed", "key_reused", "behind", "ahead", "raced"]
    reply: bytes | None


class EventStore:
    """The streams of one source, in one database."""

    def __init__(self, engine: AsyncEngine, source: str, topic: Topic, *, codec: Codec = PLAIN) -> None:
        """`source` is as in `ce_source`: `/prescribing`, or `/prescribing/access` for access facts."""
        if source not in topic.writers:
            raise ValueError(f"{source} does not write to {topic.name}")
        self.engine = engine
        self.single = engine.execution_options(isolation_level="AUTOCOMMIT")  # For one statement at a time.
        self.source = source
        self.house = source.removeprefix("/")
        self.topic = topic
        self.codec = codec
        self.wakes: list[Callable[[], None]] = []

    def on_append(self, wake: Callable[[], None]) -> None:
        """Have `wake` called after every append that is known to be committed."""
        self.wakes.append(wake)

    def appended(self) -> None:
        """An append was committed: tell those who wait for one."""
        for wake in self.wakes:
            wake()

    def stream(self, key: str) -> str:
        """A key's stream. Access streams have names of their own: a person who acts may be a patient too."""
        return f"access/{key}" if self.source.endswith("/access") else key

    def write(
        self, head: Head, ask: Ask[Any], facts: Sequence[F], now: datetime, traceparent: str | None = None
    ) -> list[Written[F]]:
        """The facts as the events that follow `head`. Raises Rejected for one that may not be kept."""
        written: list[Written[F]] = []
        recorded_at = max(now, head.recorded_at)  # A clock that was set back does not put an event before its cause.
        previous = head.hash
        for nth, fact in enumerate(facts, start=1):
            try:
                value, content_type = self.codec.encode(fact)
                named = self.named(ask, fact, head.sequence + nth, nth, recorded_at)
                previous = chained(previous, named, value)
            except (Unencodable, UnicodeEncodeError):
                raise Rejected("text_not_storable", "Take out the characters that are not readable text.") from None
            if "\0" in "".join(named.values()):
                raise Rejected("text_not_storable", "Take out the characters that are not readable text.")
            if len(value) > MAX_VALUE_BYTES:
                raise Rejected("fact_too_large", "Shorten what is to be recorded; 512 KiB is the most.")
            named["ce_hash"] = previous.hex()
            named["content-type"] = content_type
            event = event_of(named, fact)
            if traceparent:  # Transport: not part of the event, nor of its hash.
                named["traceparent"] = traceparent
            written.append(Written(event, msgspec.json.encode(named).decode(), value))  # type: ignore[arg-type]
        return written

    def named(self, ask: Ask[Any], fact: Fact, sequence: int, nth: int, recorded_at: datetime) -> dict[str, str]:
        return attributes(
            fact,
            id=uuid5(ask.id, f"fact {nth}"),  # Of the same ask always the same, so that a rerun is seen to be one.
            source=self.source,
            key=ask.key,
            sequence=sequence,
            occurred_at=ask.occurred_at,
            recorded_at=recorded_at,
            actor=ask.actor,
            actor_role=ask.actor_role,
            reason=ask.reason,
            correlation_id=ask.correlation_id,
            causation_id=ask.causation_id,
            on_behalf_of=ask.on_behalf_of,
        )

    async def append(
        self,
        session: AsyncConnection,
        stream: str,
        head: Head,
        written: Sequence[Written[Any]],
        key: CommandKey,
        reply: bytes,
    ) -> Outcome:
        """Append under a client's key, within a transaction of the caller's.

        Raises a violation of `event_pkey` when a race is lost at the last moment.
        """
        values = self.appending(stream, head, written, key, reply)
        found: Sequence[Any] = (await session.exec_driver_sql(APPEND.sql, values)).one()
        return Outcome(found[0], found[1])

    async def append_alone(
        self, stream: str, head: Head, written: Sequence[Written[Any]], key: CommandKey, reply: bytes
    ) -> Outcome:
        """The same as a statement of its own.

        It is handed to the driver: to send it through the engine takes longer than all that is new in it.
        """
        values = self.appending(stream, head, written, key, reply)
        async with self.single.connect() as session:
            driver = (await session.get_raw_connection()).driver_connection
            assert driver is not None
            try:
                found = await driver.fetchrow(APPEND.sql, *values)
            except asyncpg.IntegrityConstraintViolationError:
                raise
            except BaseException:  # The engine does not see it: a session that may be broken must not go on.
                await session.invalidate()
                raise
        return Outcome(found[0], found[1])

    def appending(
        self, stream: str, head: Head, written: Sequence[Written[Any]], key: CommandKey, reply: bytes
    ) -> tuple[Any, ...]:
        values = {"stream": stream, "head": head.sequence, "head_hash": head.hash, "topic": self.topic.name}
        values |= {**named_key(key), "reply": reply, **columns(written)}
        return tuple(values[name] for name in APPEND.names)

    async def append_all(
        self, session: AsyncConnection, appends: Mapping[str, tuple[Head, Sequence[Written[Any]]]]
    ) -> set[str]:
        """Append to many streams, or to none of them: the streams that have moved are returned, empty when appended.

        Raises a violation of `event_pkey` when a race is lost at the last moment.
        """
        heads = {
            "streams": list(appends),
            "heads": [head.sequence for head, _ in appends.values()],
            "head_hashes": [head.hash for head, _ in appends.values()],
        }
        written = [one for _, several in appends.values() for one in several]
        places = {
            "event_streams": [stream for stream, (_, several) in appends.items() for _ in several],
            "sequences": [one.event.sequence for one in written],
        }
        values = {**heads, **places, **columns(written), "topic": self.topic.name}
        return set((await session.execute(APPEND_ALL, values)).scalars())

    async def tails(self, session: AsyncConnection, heads: Mapping[str, Head]) -> dict[str, list[Event[Fact]] | None]:
        """What each stream holds after the given head; None when the table does not hold that head."""
        found: dict[str, list[Row[Any]]] = {stream: [] for stream in heads}
        reading = {stream: head.sequence for stream, head in heads.items()}
        while reading:
            values = {"streams": list(reading), "heads": list(reading.values()), "page": PAGE}
            read = (await session.execute(TAILS, values)).all()
            counts = dict.fromkeys(reading, 0)
            for row in read:
                counts[row.stream] += 1
                found[row.stream].append(row)
            reading = {stream: found[stream][-1].sequence + 1 for stream, count in counts.items() if count == PAGE}
        return {stream: self.after(head, found[stream]) for stream, head in heads.items()}

    def after(self, head: Head, rows: Sequence[Row[Any]]) -> list[Event[Fact]] | None:
        """The events that follow `head`, of rows that begin with the head itself."""
        if head.sequence:
            if not rows or (rows[0].sequence, rows[0].hash) != (head.sequence, head.hash):
                return None
            rows = rows[1:]
        return [event_from(row.headers, row.value, self.codec) for row in rows]

    async def earlier_reply(self, session: AsyncConnection, key: CommandKey) -> Outcome | None:
        """What this key was answered with before: `replayed` or `key_reused`."""
        row = (await session.execute(REPLY, named_key(key))).first()
        if row is None:
            return None
        return Outcome("replayed" if row.body_hash == key.body_hash else "key_reused", row.reply)

    async def keep_reply(self, session: AsyncConnection, key: CommandKey, reply: bytes) -> bool:
        """Keep the reply to a command that appended nothing. False when the key was taken this moment."""
        return (await session.execute(KEEP_REPLY, {**named_key(key), "reply": reply})).first() is not None


def named_key(key: CommandKey) -> dict[str, Any]:
    return {
        "issuer": key.issuer,
        "subject": key.subject,
        "route": key.route,
        "key": key.key,
        "body_hash": key.body_hash,
    }


def columns(written: Sequence[Written[Any]]) -> dict[str, list[Any]]:
    return {
        "ids": [one.event.id for one in written],
        "headers": [one.headers for one in written],
        "values": [one.value for one in written],
        "hashes": [one.event.hash for one in written],
    }


def head_after(event: Event[Any]) -> Head:
    """The end of a stream whose last event this is."""
    return Head(event.sequence, event.hash, event.recorded_at)
