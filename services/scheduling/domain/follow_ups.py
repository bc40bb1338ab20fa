"""One patient's follow-ups and visits: what is owed, when it falls due, what answers it.

Pure: no clock, no new ids, no I/O. Asked twice about the same event of another house, it does nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never
from uuid import UUID

from chassis.decider import Ask, Decider, Rejected
from contracts.clinical import BirthDateNoted, RiskFlagNoted, TimeZoneNoted
from contracts.scheduling import (
    ContactMade,
    FollowUpDue,
    FollowUpOverdue,
    OrderNoted,
    PatientNoted,
    ReviewNoted,
    SchedulingFact,
)

from .appointments import book, end_of, serves
from .commands import (
    BookAppointment,
    CallDue,
    CallOverdue,
    NoteEnrolment,
    NoteOrder,
    NoteReview,
    NoteRiskFlag,
    NoteSession,
    RecordContact,
    SchedulingCommand,
)
from .days import zone_named
from .obligations import Draft, answered, follow
from .rules import Form, Rules
from .state import Answer, Change, FlagChange, FollowUps, OrderChange, evolve, remembered, reviewed, spoken

Asked = Ask[SchedulingCommand]
Facts = Sequence[SchedulingFact]


def follow_ups(rules: Rules, grace_days: int = 0) -> Decider[FollowUps, SchedulingCommand, SchedulingFact]:
    """The decider. `grace_days` is the clinic's own: how late is late where a rule's source does not say."""

    def decide(state: FollowUps, ask: Asked) -> Facts:
        return decided(Draft(rules, grace_days, state), state, ask)

    return Decider(initial=FollowUps(), decide=decide, evolve=partial(evolve, rules.floor))


def decided(draft: Draft, state: FollowUps, ask: Asked) -> Facts:  # noqa: PLR0911  One case each.
    match ask.command:
        case BookAppointment() as command:
            return book(state, ask, command)
        case RecordContact() as command:
            return record(draft, ask, command)
        case CallDue() as command:
            return call_due(state, ask, command)
        case CallOverdue() as command:
            return call_overdue(state, ask, command)
        case NoteSession() as command:
            return attended(draft, ask, command)
        case NoteEnrolment() as command:
            return [] if was_noted(state, ask) else enrolled(draft, ask, command)
        case NoteOrder() as command:
            order = OrderNoted(order_id=command.order_id, classes=command.classes, change=command.change)
            return noted(draft, ask, order, OrderChange(cause_of(ask), ask.occurred_at, order))
        case NoteReview() as command:
            review = ReviewNoted(**dict(command))
            answer = reviewed(review, cause_of(ask), ask.occurred_at, ask.actor_role, ask.on_behalf_of)
            return noted(draft, ask, review, answer)
        case NoteRiskFlag() as command:
            flag = flag_of(state, command)
            return noted(draft, ask, flag, FlagChange(cause_of(ask), ask.occurred_at, flag))
        case _:
            assert_never(ask.command)


def enrolled(draft: Draft, ask: Asked, command: NoteEnrolment) -> Facts:
    """Now days can be named: what was noted before is followed as if it came after."""
    zone_named(command.time_zone)  # Refused now, or every later decision about this patient would be.
    draft.facts.append(PatientNoted(noted=BirthDateNoted(birth_date=command.birth_date, sex=command.sex)))
    draft.facts.append(PatientNoted(noted=TimeZoneNoted(time_zone=command.time_zone, clinic=command.clinic)))
    waiting = draft.state.waiting
    draft.state = replace(draft.state, birth_date=command.birth_date, time_zone=command.time_zone, waiting=())
    for change in waiting:
        follow(draft, change)
    return draft.facts


def noted(draft: Draft, ask: Asked, what: OrderNoted | ReviewNoted | RiskFlagNoted, change: Change) -> Facts:
    """Another house's fact enters this stream; what it asks for follows once days can be named."""
    if was_noted(draft.state, ask):
        return []
    draft.facts.append(PatientNoted(noted=what))
    draft.state = remembered(draft.state, change.cause, change.at)
    if draft.state.known:
        follow(draft, change)
    return draft.facts


def attended(draft: Draft, ask: Asked, command: NoteSession) -> Facts:
    """A therapy session answers what a rule lets it answer: of those executed none, a medication review never."""
    if draft.state.known:
        form: Form = "video" if command.remote else "in_person"
        delegated = ask.on_behalf_of is not None
        session = Answer(cause_of(ask), ask.occurred_at, "therapy_session", form, ask.actor_role, delegated)
        answered(draft, session)
    return draft.facts


def record(draft: Draft, ask: Asked, command: RecordContact) -> Facts:
    contact_id = command.contact_id or ask.new_id("contact")
    made = ContactMade(**{**dict(command), "contact_id": contact_id})
    known = draft.state.contacts.get(contact_id)
    if known == made:
        return []  # Asked twice: it is on record.
    if known:
        raise Rejected("contact_id_already_used", "This contact is on record with other contents: record a new one.")
    if made.risk_asked and not made.reached:
        raise Rejected("risk_asked_of_nobody", "Nobody was reached, so risk was not asked: correct one of them.")
    draft.facts.append(made)
    event_id = ask.new_id("fact 1")  # The chassis's id of an ask's first fact.
    contact = spoken(made, event_id, ask.occurred_at, ask.actor_role, ask.on_behalf_of)
    if contact and draft.state.known:
        draft.state = remembered(draft.state, contact.cause, contact.at)
        follow(draft, contact)
    return draft.facts


def call_due(state: FollowUps, ask: Asked, command: CallDue) -> Facts:
    owed = state.open.get(command.obligation_id)
    if owed is None or owed.obligation_id in state.called_due:
        return []  # Answered or withdrawn in the meantime, or called before.
    if ask.occurred_at < owed.due_at:  # Not by `now`: the timer fires by the database's clock, which ours may trail.
        raise Rejected("not_due_yet", "Wait for the day on which the follow-up falls due.")
    booked = any(end_of(visit) > ask.now and serves(visit, owed) for visit in state.appointments.values())
    return [
        FollowUpDue(obligation_id=owed.obligation_id, kind=owed.kind, due_on=owed.due_on, rule=owed.rule, booked=booked)
    ]


def call_overdue(state: FollowUps, ask: Asked, command: CallOverdue) -> Facts:
    owed = state.open.get(command.obligation_id)
    if owed is None or owed.obligation_id in state.called_overdue:
        return []
    if ask.occurred_at < owed.overdue_at:
        raise Rejected("not_overdue_yet", "Wait until the last day of the follow-up has passed.")
    return [
        FollowUpOverdue(
            obligation_id=owed.obligation_id,
            kind=owed.kind,
            due_on=owed.due_on,
            overdue_after_on=owed.overdue_after_on,
            rule=owed.rule,
        )
    ]


def flag_of(state: FollowUps, command: NoteRiskFlag) -> RiskFlagNoted:
    """The flag as it is to be noted: one that is closed keeps the tier with which it was raised."""
    if command.tier:
        return RiskFlagNoted(flag_id=command.flag_id, tier=command.tier, open=True)
    raised = state.tiers.get(command.flag_id)
    if raised is None:
        raise Rejected("unknown_risk_flag", "Raise the flag before closing it.")
    return raised.model_copy(update={"open": False})


def was_noted(state: FollowUps, ask: Asked) -> bool:
    return cause_of(ask) in state.noted


def cause_of(ask: Asked) -> UUID:
    """The other house's event that is to be noted."""
    return ask.causation_id or ask.id
