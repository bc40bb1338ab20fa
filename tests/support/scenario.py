"""Given, when, then for deciders: what had happened, what is asked, what comes of it.

Ids and times are fixed, and whole facts are compared. The outcome is None until `when`, so that a test which
forgets to ask fails, and *nothing happened* is an outcome of its own that `then` with no fact does not accept.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid5

from chassis.decider import Ask, Decider, Rejected
from contracts.event import NO_HASH, Event
from contracts.fact import Fact

S = TypeVar("S")
C = TypeVar("C")
F = TypeVar("F", bound=Fact)

PATIENT = UUID("9b2e0000-0000-4000-8000-000000000001")
CLINICIAN = "c1000000-0000-4000-8000-000000000001"
CORRELATION = UUID("c0000000-0000-4000-8000-000000000001")
ASKED = UUID("a0000000-0000-4000-8000-000000000001")  # The id of every first ask; see `when` for another.
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # A Monday.


def event_of(fact: F, sequence: int = 1, **attributes: Any) -> Event[F]:
    """A fact as the event that tests stand on: `sequence` places it, `attributes` replace the fixed ones."""
    fixed: dict[str, Any] = {
        "id": uuid5(CORRELATION, f"event {sequence}"),
        "source": f"/{fact.TYPE.split('.')[0]}",
        "key": str(PATIENT),
        "sequence": sequence,
        "hash": NO_HASH,
        "occurred_at": NOW,
        "recorded_at": NOW,
        "actor": CLINICIAN,
        "actor_role": "prescriber",
        "reason": "TREAT",
        "correlation_id": CORRELATION,
    }
    return Event(fact=fact, **{**fixed, **attributes})


def ask_for(command: C, **attributes: Any) -> Ask[C]:
    """A command as the ask that tests make; `attributes` replace the fixed ones. `now` moves `occurred_at` along."""
    fixed: dict[str, Any] = {
        "key": str(PATIENT),
        "id": ASKED,
        "now": NOW,
        "occurred_at": attributes.get("now", NOW),
        "actor": CLINICIAN,
        "actor_role": "prescriber",
        "reason": "TREAT",
        "correlation_id": CORRELATION,
    }
    return Ask(command=command, **{**fixed, **attributes})


class Scenario(Generic[S, C, F]):
    """One stream and what is asked of it. The steps return nothing: each stands on a line of its own."""

    def __init__(self, decider: Decider[S, C, F], **asked_by: Any) -> None:
        """`asked_by` are attributes of every ask, such as `actor_role`; `when` may replace them once more."""
        self.decider = decider
        self.asked_by = asked_by
        self.state = decider.initial
        self.sequence = 0
        self.asked: Ask[C] | None = None
        self.outcome: Sequence[F] | Rejected | None = None

    def given(self, *facts: F, **attributes: Any) -> None:
        """These facts happened, after those given before."""
        for fact in facts:
            self.sequence += 1
            self.state = self.decider.evolve(self.state, event_of(fact, self.sequence, **attributes))

    def when(self, command: C, **attributes: Any) -> None:
        """Somebody asks. Everything but a refusal propagates."""
        self.asked = ask_for(command, **{**self.asked_by, **attributes})
        self.outcome = self.decided(self.asked)

    def when_asked_again(self, **attributes: Any) -> None:
        """What came of `when` happened, and the same command is asked under another ask id."""
        assert self.asked is not None, "nothing was asked: call when() first"
        assert isinstance(self.outcome, Sequence), f"the first time was refused: {self.outcome!r}"
        self.given(*self.outcome)
        self.when(self.asked.command, **{"id": uuid5(self.asked.id, "again"), **attributes})

    def then(self, *facts: F) -> None:
        """Exactly these facts come of it, in this order."""
        assert facts, "say then_nothing() when nothing is to happen"
        assert list(self.decisions()) == list(facts)

    def then_nothing(self) -> None:
        """It was accepted, and there was nothing to do."""
        assert list(self.decisions()) == []

    def then_rejected(self, reason: str) -> Rejected:
        """It was refused for this reason; the refusal is returned for a look at its sentence and details."""
        assert self.outcome is not None, "nothing was asked: call when() first"
        assert isinstance(self.outcome, Rejected), f"accepted: {self.outcome!r}"
        assert self.outcome.reason == reason, f"refused for {self.outcome.reason}: {self.outcome.sentence}"
        assert self.outcome.sentence.endswith("."), "a refusal says in a sentence what to do instead"
        return self.outcome

    def decisions(self) -> Sequence[F]:
        """The facts that came of it; fails when it was refused or never asked."""
        assert self.outcome is not None, "nothing was asked: call when() first"
        assert not isinstance(self.outcome, Rejected), f"refused: {self.outcome!r}"
        return self.outcome

    def decided(self, ask: Ask[C]) -> Sequence[F] | Rejected:
        try:
            return self.decider.decide(self.state, ask)
        except Rejected as refusal:
            return refusal
