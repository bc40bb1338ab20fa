"""Decisions as values: a command with its attributes goes in, facts come out. Pure; no clock, no I/O.

A *command* is what is asked; an *ask* is a command with its attributes: who, when, why. So a fact relates to its
event as a command to its ask.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID, uuid5

from contracts.event import Event
from contracts.fact import Fact

C_co = TypeVar("C_co", covariant=True)
S = TypeVar("S")
C = TypeVar("C")
F = TypeVar("F", bound=Fact)

Detail = str | int | bool | None | Sequence[str]


class Rejected(Exception):
    """A refusal: an answer, never a fault. `reason` is stable snake case, `sentence` says what to do instead."""

    def __init__(self, reason: str, sentence: str, **details: Detail) -> None:
        super().__init__(reason, sentence)
        self.reason = reason
        self.sentence = sentence
        self.details: Mapping[str, Detail] = details


@dataclass(frozen=True)
class Ask(Generic[C_co]):
    """A command with its attributes. `key` names the stream, `now` is the deployment's clock, both times aware.

    `id` is new for a person's command and uuid5 of the cause for a reaction's, so that a rerun yields the same ids.
    """

    command: C_co
    key: str
    id: UUID
    now: datetime
    occurred_at: datetime
    actor: str
    actor_role: str
    reason: str
    correlation_id: UUID
    causation_id: UUID | None = None
    on_behalf_of: str | None = None

    @property
    def patient_id(self) -> UUID:
        """The stream's key where the stream is a patient's."""
        return UUID(self.key)

    def new_id(self, name: str) -> UUID:
        """An id for something that this ask brings into being; the same name gives the same id."""
        return uuid5(self.id, name)


@dataclass(frozen=True)
class Decider(Generic[S, C, F]):
    """One kind of stream: its state before any fact, what a command does to it, what an event does to it.

    `decide` returns the facts in order, none when there is nothing to do (asked twice), or raises Rejected and
    nothing else. `evolve` never validates, logs or fails on an old fact.
    """

    initial: S
    decide: Callable[[S, Ask[C]], Sequence[F]]
    evolve: Callable[[S, Event[F]], S]


@dataclass(frozen=True)
class Reaction(Generic[C_co]):
    """A command that somebody else's event calls for. `key` is the stream it goes to, mostly the event's own."""

    command: C_co
    key: str
    occurred_at: datetime | None = None  # None: when the cause occurred.
