"""Facts put in their places: numbered, and each hash a continuation of the one before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import topics
from contracts.event import CONTENT_TYPE, NO_HASH, Event, attributes, chained
from contracts.fact import Fact
from contracts.topics import Topic

from .telling import (
    TOPIC_OF,
    Told,
)


@dataclass(frozen=True)
class Record:
    """A fact as it is published: its topic, its headers, its exact bytes, and the event they make."""

    topic: Topic
    headers: Mapping[str, str]
    value: bytes
    event: Event[Fact]


def published(told: Iterator[Told]) -> Iterator[Record]:
    """Numbered and chained in the order given."""
    heads: dict[tuple[str, str], tuple[int, bytes]] = {}
    for one in told:
        sequence, previous = heads.get((one.source, one.key), (0, NO_HASH))
        record = next_of(one, sequence + 1, previous)
        heads[one.source, one.key] = sequence + 1, record.event.hash
        yield record


def next_of(told: Told, sequence: int, previous: bytes) -> Record:
    """One fact at its place in its chain."""
    common: dict[str, Any] = {
        "id": told.id,
        "source": told.source,
        "key": told.key,
        "sequence": sequence,
        "occurred_at": told.occurred_at,
        "recorded_at": told.recorded_at,
        "actor": told.actor,
        "actor_role": told.role,
        "reason": "TREAT",
        "correlation_id": told.correlation_id,
        "causation_id": told.causation_id,
        "on_behalf_of": None,
    }
    value = told.fact.model_dump_json().encode()
    named = {**attributes(told.fact, **common), "content-type": CONTENT_TYPE}
    found = chained(previous, named, value)
    return Record(
        topic=TOPIC_OF.get(told.source, topics.ACCESS),
        headers={**named, "ce_hash": found.hex()},
        value=value,
        event=Event(fact=told.fact, hash=found, **common),
    )
