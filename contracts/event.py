"""An event: a fact with its attributes (who, when, why, its place in the sequence).

On the wire it is a CloudEvent 1.0 in Kafka's binary mode: the attributes travel as `ce_*` headers, the fact as
the value. The value's bytes are kept and published as written, never serialised again, or the hash would not hold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Generic, TypeVar
from uuid import UUID

from .fact import SEGMENT_NONE, Fact

F_co = TypeVar("F_co", bound=Fact, covariant=True)

CONTENT_TYPE = "application/json"
NO_HASH = bytes(32)  # What the first fact of a chain continues.
SCHEMA_BASE = "https://schemas.tandem.example/"  # Reserved by RFC 2606 until a deployment names its own.


class Undecodable(Exception):
    """A record that cannot be read as an event. `args[0]` names what is wrong, never what it holds."""


@dataclass(frozen=True, slots=True)
class Place:
    """Who told it and where it stands in that source's chain: what is checked before any decoding."""

    source: str
    key: str
    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Event(Generic[F_co]):
    """A fact with its attributes. Times are aware and in UTC; `hash` is SHA-256, 32 bytes."""

    fact: F_co
    id: UUID
    source: str
    key: str
    sequence: int
    hash: bytes
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    actor_role: str
    reason: str
    correlation_id: UUID
    causation_id: UUID | None = None
    on_behalf_of: str | None = None
    segment: str = SEGMENT_NONE

    @property
    def patient_id(self) -> UUID:
        """The key of every domain stream. Raises ValueError for an access stream of a person."""
        return UUID(self.key)


def attributes(
    fact: Fact,
    *,
    id: UUID,
    source: str,
    key: str,
    sequence: int,
    occurred_at: datetime,
    recorded_at: datetime,
    actor: str,
    actor_role: str,
    reason: str,
    correlation_id: UUID,
    causation_id: UUID | None,
    on_behalf_of: str | None,
    segment: str = SEGMENT_NONE,
) -> dict[str, str]:
    """The `ce_*` attributes of a fact, all but `ce_hash`, as text."""
    found = {
        "ce_specversion": "1.0",
        "ce_id": str(id),
        "ce_source": source,
        "ce_type": fact.TYPE,
        "ce_dataschema": f"{SCHEMA_BASE}{fact.TYPE}.json",
        "ce_subject": fact.subject(key),
        "ce_time": instant(occurred_at),
        "ce_recordedtime": instant(recorded_at),
        "ce_partitionkey": key,
        "ce_sequence": f"{sequence:012d}",
        "ce_actor": actor,
        "ce_actorrole": actor_role,
        "ce_reason": reason,
        "ce_segment": segment,
        "ce_correlationid": str(correlation_id),
    }
    if causation_id:
        found["ce_causationid"] = str(causation_id)
    if on_behalf_of:
        found["ce_onbehalfof"] = on_behalf_of
    return found


def chained(previous: bytes, named: Mapping[str, str], value: bytes) -> bytes:
    """The hash of one event: SHA-256 over the previous hash, each other attribute, the value.

    `named` holds header names and values; of them every `ce_*` but `ce_hash` counts, in the order of the names'
    bytes, each name and value preceded by its length in bytes as 4 bytes, most significant first. The value's
    bytes come last, as they stand. Worked example: contracts/README.md.
    """
    digest = sha256(previous)
    for name in sorted(named):
        if name.startswith("ce_") and name != "ce_hash":
            for text in (name, named[name]):
                encoded = text.encode()
                digest.update(len(encoded).to_bytes(4, "big"))
                digest.update(encoded)
    digest.update(value)
    return digest.digest()


def headers_of(record: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """A Kafka record's headers as text. Raises Undecodable for a null, repeated or non-UTF-8 one."""
    found: dict[str, str] = {}
    for name, value in record:
        if value is None:
            raise Undecodable(f"header {name!r} is null")
        if name in found:
            raise Undecodable(f"header {name!r} is repeated")
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            raise Undecodable(f"header {name!r} is not UTF-8") from None
    return found


def place_of(headers: Mapping[str, str]) -> Place:
    """Where an event stands. Raises Undecodable when an attribute is missing or malformed."""
    try:
        sequence = int(headers["ce_sequence"])
        found = bytes.fromhex(headers["ce_hash"])
        place = Place(headers["ce_source"], headers["ce_partitionkey"], sequence, found)
    except KeyError as missing:
        raise Undecodable(f"attribute {missing} is missing") from None
    except ValueError:
        raise Undecodable("ce_sequence or ce_hash is malformed") from None
    if sequence < 1 or len(found) != len(NO_HASH):
        raise Undecodable("ce_sequence or ce_hash is out of bounds")
    return place


def event_of(headers: Mapping[str, str], fact: Fact) -> Event[Fact]:
    """The event that headers and a decoded fact make. Raises Undecodable."""
    place = place_of(headers)
    try:
        cause = headers.get("ce_causationid")
        return Event(
            fact=fact,
            id=UUID(headers["ce_id"]),
            source=place.source,
            key=place.key,
            sequence=place.sequence,
            hash=place.hash,
            occurred_at=datetime.fromisoformat(headers["ce_time"]),
            recorded_at=datetime.fromisoformat(headers["ce_recordedtime"]),
            actor=headers["ce_actor"],
            actor_role=headers["ce_actorrole"],
            reason=headers["ce_reason"],
            correlation_id=UUID(headers["ce_correlationid"]),
            causation_id=UUID(cause) if cause else None,
            on_behalf_of=headers.get("ce_onbehalfof"),
            segment=headers.get("ce_segment", SEGMENT_NONE),
        )
    except KeyError as missing:
        raise Undecodable(f"attribute {missing} is missing") from None
    except ValueError:
        raise Undecodable("an id or a time is malformed") from None


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always 27 characters: text order is time order."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
