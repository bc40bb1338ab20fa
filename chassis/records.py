"""A record as it came from Kafka, and what can be said of it before its body is decoded: its place in the sequence.

Reading a record cannot fail: what has no place is junk, with the reason. Nothing here decodes a body.
"""

from dataclasses import dataclass
from hashlib import sha256

import msgspec
from aiokafka import ConsumerRecord

from contracts.event import Place, Undecodable, headers_of, place_of
from contracts.topics import Topic

LONGEST_KEY = 200  # A UUID has 36 characters. An index of PostgreSQL takes no more than 2,700 bytes.
TOO_HIGH = 10**12
LATEST_MS = 4_102_444_800_000  # The year 2100: beyond some date PostgreSQL has no timestamp for it.


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes and where they lay. `topic` is the name in contracts/topics.py, without a deployment's prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None

    def fingerprint(self) -> bytes:
        """SHA-256 over all of it, to tell two records apart that name no hash of their own."""
        return sha256(msgspec.msgpack.encode((self.key, self.headers, self.value))).digest()


@dataclass(frozen=True, slots=True)
class Received:
    """A fact as it came: readable headers, a place in its source's sequence, a body not decoded yet."""

    record: Record
    headers: dict[str, str]
    place: Place
    value: bytes

    @property
    def type(self) -> str:
        """The wire name; empty when the attribute is missing."""
        return self.headers.get("ce_type", "")


@dataclass(frozen=True, slots=True)
class Junk:
    """A record without a place. `key` is Kafka's, if it is text; `source` the topic's only writer, if it has one."""

    record: Record
    key: str | None
    source: str | None
    problem: str


def record_of(fetched: ConsumerRecord, topic: str) -> Record:
    """What was fetched, under the topic's own name."""
    return Record(
        topic,
        fetched.partition,
        fetched.offset,
        fetched.timestamp,
        fetched.key,
        tuple(fetched.headers),
        fetched.value,
    )


def received(record: Record, topic: Topic) -> Received | Junk:
    """The record with its place, or why it has none."""
    try:
        headers = headers_of(record.headers)
        place = place_of(headers)
        if record.value is None:
            raise Undecodable("there is no value")
        if place.source not in topic.writers:
            raise Undecodable("ce_source does not write to this topic")
        if record.key is None or record.key != place.key.encode():
            raise Undecodable("ce_partitionkey is not the record's key")
        if usable(record.key) is None:
            raise Undecodable("ce_partitionkey cannot name a row")
        if place.sequence >= TOO_HIGH:
            raise Undecodable("ce_sequence has more than twelve digits")
    except Undecodable as error:
        source = topic.writers[0] if len(topic.writers) == 1 else None
        return Junk(record, usable(record.key), source, str(error))
    return Received(record, headers, place, record.value)


def plausible_ms(fetched: ConsumerRecord) -> int:
    """A record's own time, which any producer could have set to anything, within what a table can hold."""
    return min(max(0, int(fetched.timestamp)), LATEST_MS)


def usable(key: bytes | None) -> str | None:
    """The key as text that a table and its index can hold, or None."""
    try:
        text = key.decode() if key else None
    except UnicodeDecodeError:
        return None
    return text if text and "\0" not in text and len(text) <= LONGEST_KEY else None
