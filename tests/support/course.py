"""One patient's course as scheduling is told it, happening by happening, with every fact that came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid5

from chassis.decider import Decider
from contracts.scheduling import (
    FollowUpFulfilled,
    FollowUpPlanned,
    FollowUpWithdrawn,
    SchedulingFact,
)
from services.scheduling.domain.commands import (
    NoteEnrolment,
    NoteOrder,
    NoteReview,
    NoteRiskFlag,
    NoteSession,
    RecordContact,
    SchedulingCommand,
)
from services.scheduling.domain.state import FollowUps
from tests.reference.follow_up_calendar import Happening
from tests.support.scenario import CORRELATION, ask_for, event_of

CHANGES: dict[str, Any] = {"start": "started", "raise": "raised", "lower": "lowered", "stop": "ended"}


def named(thing: str) -> UUID:
    """The id of an order or a flag that a test calls by a letter."""
    return uuid5(CORRELATION, thing)


@dataclass
class Course:
    """Asks and evolves; ids of events are as the chassis makes them."""

    decider: Decider[FollowUps, SchedulingCommand, SchedulingFact]
    state: FollowUps = field(default_factory=FollowUps)
    facts: list[SchedulingFact] = field(default_factory=list)
    asked: int = 0

    def ask(self, command: SchedulingCommand, at: datetime, **attributes: Any) -> Sequence[SchedulingFact]:
        """What comes of a command; a reaction's command has a cause of its own each time unless one is given."""
        self.asked += 1
        cause = uuid5(CORRELATION, f"cause {self.asked}")
        given = {"id": uuid5(cause, "ask"), "causation_id": cause, "now": at, "occurred_at": at, **attributes}
        ask = ask_for(command, **given)
        found = self.decider.decide(self.state, ask)
        for nth, fact in enumerate(found, start=1):
            event = event_of(
                fact,
                len(self.facts) + 1,
                id=uuid5(ask.id, f"fact {nth}"),
                occurred_at=ask.occurred_at,
                actor_role=ask.actor_role,
                on_behalf_of=ask.on_behalf_of,
                causation_id=ask.causation_id,
            )
            self.state = self.decider.evolve(self.state, event)
            self.facts.append(fact)
        return found

    def enrol(self, birth: date, zone: str, at: datetime) -> Sequence[SchedulingFact]:
        command = NoteEnrolment(birth_date=birth, sex="female", time_zone=zone, clinic="north")
        return self.ask(command, at, actor_role="clerk")

    def happen(self, one: Happening, **attributes: Any) -> Sequence[SchedulingFact]:
        return self.ask(
            command_for(one),
            one.at,
            actor_role=one.role,
            on_behalf_of="dr-okafor" if one.delegated else None,
            **attributes,
        )

    @property
    def planned(self) -> list[FollowUpPlanned]:
        return [fact for fact in self.facts if isinstance(fact, FollowUpPlanned)]

    @property
    def owed(self) -> list[FollowUpPlanned]:
        return list(self.state.open.values())

    def ended(self, obligation: UUID) -> str | None:
        """How an obligation ended: fulfilled, or the reason of its withdrawal."""
        for fact in self.facts:
            match fact:
                case FollowUpFulfilled(obligation_id=ended) if ended == obligation:
                    return "fulfilled"
                case FollowUpWithdrawn(obligation_id=ended, reason=reason) if ended == obligation:
                    return reason
                case _:
                    continue
        return None


def command_for(one: Happening) -> SchedulingCommand:
    match one.what:
        case "start" | "raise" | "lower" | "stop":
            classes = ("antidepressant", "ssri") if one.antidepressant else ("mood_stabiliser",)
            return NoteOrder(order_id=named(one.thing), classes=classes, change=CHANGES[one.what])
        case "review":
            form: Any = one.form
            return NoteReview(
                review_id=uuid5(CORRELATION, f"review {one.at}"),
                contact=form,
                orders=tuple(named(order) for order in one.orders),
                risk_asked=one.risk_asked,
                risk_clinically_important=one.important,
            )
        case "contact":
            channel: Any = one.form
            return RecordContact(channel=channel, reached=one.reached, risk_asked=one.risk_asked)
        case "session":
            return NoteSession(session_id=uuid5(CORRELATION, f"session {one.at}"), remote=False)
        case "flag":
            return NoteRiskFlag(flag_id=named(one.thing), tier="moderate")
        case "unflag":
            return NoteRiskFlag(flag_id=named(one.thing), tier=None)
        case _:
            raise ValueError(one.what)
