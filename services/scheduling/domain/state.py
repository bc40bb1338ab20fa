"""What scheduling knows of one patient, and what each of its facts does to that.

Orders, reviews and risk flags count once birth date and time zone are known, since no day can be named before. Until
then they wait, in the order in which they were noted: topics have no mutual order, and nothing may be lost by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import assert_never
from uuid import UUID

from contracts.clinical import AllergyNoted, BirthDateNoted, ConditionNoted, RiskFlagNoted, TimeZoneNoted
from contracts.event import Event
from contracts.scheduling import (
    AppointmentBooked,
    ContactMade,
    FollowUpDue,
    FollowUpFulfilled,
    FollowUpOverdue,
    FollowUpPlanned,
    FollowUpWithdrawn,
    OrderNoted,
    PatientNoted,
    ReviewNoted,
    SchedulingFact,
)

from .rules import INCREASED, STARTED, AnsweredWith, Form, Rule

ANTIDEPRESSANT = "antidepressant"  # A class of prescribing's drug data.


@dataclass(frozen=True)
class OrderChange:
    """Prescribing changed an order. `cause` is its event."""

    cause: UUID
    at: datetime
    order: OrderNoted


@dataclass(frozen=True)
class Answer:
    """Something that was done with the patient and may answer what is owed. `cause` is the event that says so."""

    cause: UUID
    at: datetime
    answered_with: AnsweredWith
    form: Form
    role: str
    delegated: bool  # Done on behalf of somebody named.
    risk_asked: bool = False
    risk_clinically_important: bool | None = None
    orders: frozenset[UUID] | None = None  # None: not about orders in particular.


@dataclass(frozen=True)
class FlagChange:
    """Therapy raised or closed a risk flag."""

    cause: UUID
    at: datetime
    flag: RiskFlagNoted


Change = OrderChange | Answer | FlagChange


@dataclass(frozen=True)
class Order:
    """An order in force. Its review clock runs from the start, and anew from each rise of the dose."""

    antidepressant: bool
    started_at: datetime
    clock: str  # The trigger of the rules by which the clock runs.
    clock_from: datetime
    clock_cause: UUID


@dataclass(frozen=True)
class Flag:
    """A risk flag, open until `closed_at`."""

    cause: UUID
    raised_at: datetime
    closed_at: datetime | None = None

    def stood_after(self, at: datetime) -> bool:
        return self.closed_at is None or self.closed_at > at


@dataclass(frozen=True)
class FollowUps:
    """One patient's obligations, and what they stand on."""

    birth_date: date | None = None
    time_zone: str | None = None
    waiting: tuple[Change, ...] = ()
    noted: Mapping[UUID, datetime] = field(default_factory=dict)  # Events noted, and when they happened.
    tiers: Mapping[UUID, RiskFlagNoted] = field(default_factory=dict)  # As each flag was last noted.
    orders: Mapping[UUID, Order] = field(default_factory=dict)
    flags: Mapping[UUID, Flag] = field(default_factory=dict)
    reviewed_at: datetime | None = None  # The last review by anybody of the team.
    open: Mapping[UUID, FollowUpPlanned] = field(default_factory=dict)
    closed: frozenset[UUID] = frozenset()
    called_due: frozenset[UUID] = frozenset()
    called_overdue: frozenset[UUID] = frozenset()
    appointments: Mapping[UUID, AppointmentBooked] = field(default_factory=dict)
    contacts: Mapping[UUID, ContactMade] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether days can be named for this patient."""
        return self.birth_date is not None and self.time_zone is not None


def evolve(floor: Rule, state: FollowUps, event: Event[SchedulingFact]) -> FollowUps:  # noqa: PLR0911  One case each.
    """The state after one more event. `floor` says what counts as a review by anybody of the team."""
    match event.fact:
        case PatientNoted() as fact:
            return noted_after(floor, remembered(state, cause_of(event), event.occurred_at), event, fact)
        case FollowUpPlanned() as fact:
            return replace(state, open={**state.open, fact.obligation_id: fact})
        case FollowUpDue(obligation_id=due):
            return replace(state, called_due=state.called_due | {due})
        case FollowUpOverdue(obligation_id=overdue):
            return replace(state, called_overdue=state.called_overdue | {overdue})
        case FollowUpFulfilled(obligation_id=ended) | FollowUpWithdrawn(obligation_id=ended):
            return without(state, ended)
        case ContactMade() as fact:
            made = replace(state, contacts={**state.contacts, fact.contact_id: fact})
            contact = spoken(fact, event.id, event.occurred_at, event.actor_role, event.on_behalf_of)
            return taken_in(floor, remembered(made, event.id, event.occurred_at), contact) if contact else made
        case AppointmentBooked() as fact:
            return replace(state, appointments={**state.appointments, fact.appointment_id: fact})
        case _:
            assert_never(event.fact)


def noted_after(floor: Rule, state: FollowUps, event: Event[SchedulingFact], fact: PatientNoted) -> FollowUps:
    """The state that knows of what was noted."""
    cause, at = cause_of(event), event.occurred_at
    match fact.noted:
        case BirthDateNoted() as noted:
            return settled(floor, replace(state, birth_date=noted.birth_date))
        case TimeZoneNoted() as noted:
            return settled(floor, replace(state, time_zone=noted.time_zone))
        case OrderNoted() as noted:
            return taken_in(floor, state, OrderChange(cause, at, noted))
        case ReviewNoted() as noted:
            return taken_in(floor, state, reviewed(noted, cause, at, event.actor_role, event.on_behalf_of))
        case RiskFlagNoted() as noted:
            known = replace(state, tiers={**state.tiers, noted.flag_id: noted})
            return taken_in(floor, known, FlagChange(cause, at, noted))
        case AllergyNoted() | ConditionNoted():
            return state  # No rule of scheduling stands on them.
        case _:
            assert_never(fact.noted)


def taken_in(floor: Rule, state: FollowUps, change: Change) -> FollowUps:
    """The state that knows of a change, or lets it wait."""
    return absorbed(floor, state, change) if state.known else replace(state, waiting=(*state.waiting, change))


def settled(floor: Rule, state: FollowUps) -> FollowUps:
    """The state in which nothing waits any longer, if days can now be named."""
    if not state.known:
        return state
    waiting, state = state.waiting, replace(state, waiting=())
    for change in waiting:
        state = absorbed(floor, state, change)
    return state


def absorbed(floor: Rule, state: FollowUps, change: Change) -> FollowUps:
    match change:
        case OrderChange():
            return replace(state, orders=orders_after(state.orders, change))
        case FlagChange():
            return replace(state, flags=flags_after(state.flags, change))
        case Answer():
            if not counts(floor, change):
                return state
            return replace(state, reviewed_at=max(state.reviewed_at or change.at, change.at))
        case _:
            assert_never(change)


def orders_after(orders: Mapping[UUID, Order], change: OrderChange) -> Mapping[UUID, Order]:
    order_id, known = change.order.order_id, orders.get(change.order.order_id)
    match change.order.change:
        case "started" if known is None:
            antidepressant = ANTIDEPRESSANT in change.order.classes
            return {**orders, order_id: Order(antidepressant, change.at, STARTED, change.at, change.cause)}
        case "raised" if known:
            return {**orders, order_id: replace(known, clock=INCREASED, clock_from=change.at, clock_cause=change.cause)}
        case "ended":
            return {other: order for other, order in orders.items() if other != order_id}
        case "started" | "raised" | "lowered" | "rescheduled":
            return orders
        case _:
            assert_never(change.order.change)


def flags_after(flags: Mapping[UUID, Flag], change: FlagChange) -> Mapping[UUID, Flag]:
    flag_id, known = change.flag.flag_id, flags.get(change.flag.flag_id)
    if change.flag.open:
        return flags if known else {**flags, flag_id: Flag(change.cause, change.at)}
    return {**flags, flag_id: replace(known, closed_at=change.at)} if known and known.closed_at is None else flags


def counts(rule: Rule, answer: Answer) -> bool:
    """Whether somebody of the right role did the right thing in the right form. Days are not looked at."""
    return any(
        answer.answered_with == closer.answered_with
        and (answer.role in closer.roles or (answer.delegated and answer.role in closer.delegates))
        and answer.form in closer.forms
        and (answer.risk_asked or not closer.risk_asked)
        for closer in rule.closers
    )


def reviewed(noted: ReviewNoted, cause: UUID, at: datetime, role: str, on_behalf_of: str | None) -> Answer:
    return Answer(
        cause=cause,
        at=at,
        answered_with="medication_review",
        form=noted.contact,
        role=role,
        delegated=on_behalf_of is not None,
        risk_asked=noted.risk_asked,
        risk_clinically_important=noted.risk_clinically_important,
        orders=frozenset(noted.orders),
    )


def spoken(contact: ContactMade, cause: UUID, at: datetime, role: str, on_behalf_of: str | None) -> Answer | None:
    """A contact as an answer; an attempt without one answers nothing."""
    if not contact.reached:
        return None
    return Answer(
        cause=cause,
        at=at,
        answered_with="contact",
        form=contact.channel,
        role=role,
        delegated=on_behalf_of is not None,
        risk_asked=contact.risk_asked,
    )


def remembered(state: FollowUps, cause: UUID, at: datetime) -> FollowUps:
    return replace(state, noted={**state.noted, cause: at})


def cause_of(event: Event[SchedulingFact]) -> UUID:
    """The other house's event that was noted."""
    return event.causation_id or event.id


def without(state: FollowUps, ended: UUID) -> FollowUps:
    still = {obligation_id: fact for obligation_id, fact in state.open.items() if obligation_id != ended}
    return replace(state, open=still, closed=state.closed | {ended})
