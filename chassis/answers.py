"""What an accepted command is answered with; the same bytes again when the same is asked again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from contracts.event import Event
from contracts.fact import Fact

from .store import EventStore, Outcome
from .streams import Known


class KeyReused(Exception):
    """The same idempotency key came with another command."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`position` is where the stream ended, such as `prescribing:17`; `reply` is the JSON to be sent.

    `events` are those appended now: none when an earlier reply is repeated, or when there was nothing to do.
    """

    position: str
    events: tuple[Event[Fact], ...]
    replayed: bool
    reply: bytes


def answered(store: EventStore, known: Known[Any], events: Sequence[Event[Fact]]) -> Answer:
    """The answer to a command that led to these events and to this end of its stream."""
    position = f"{store.house}:{known.head.sequence}"
    facts = [
        {
            "id": str(event.id),
            "type": event.fact.TYPE,
            "subject": event.fact.subject(event.key),
            "sequence": event.sequence,
        }
        for event in events
    ]
    return Answer(position, tuple(events), False, msgspec.json.encode({"position": position, "facts": facts}))


def replayed(outcome: Outcome) -> Answer:
    """The earlier reply, as it was. Raises KeyReused when the key belongs to another command."""
    if outcome.name == "key_reused" or outcome.reply is None:
        raise KeyReused
    return Answer(msgspec.json.decode(outcome.reply)["position"], (), True, outcome.reply)
