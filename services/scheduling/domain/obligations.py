"""What is owed after a change: which obligations it opens, answers and takes back.

Each order of an antidepressant has a review clock, which a rise of the dose starts anew; an answered review plans the
next until the clock has run out. While risk is raised, reviews come weekly and must ask about it. When nothing else
with a date is open and an order is in force, the floor rule opens: nobody in treatment is without a dated obligation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, assert_never
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from contracts.scheduling import FollowUpFulfilled, FollowUpPlanned, FollowUpWithdrawn, SchedulingFact

from .days import age_on, local_day, start_of_day, zone_named
from .rules import STARTED, Rule, Rules
from .state import Answer, Change, FlagChange, FollowUps, Order, OrderChange, absorbed, counts, without

OBLIGATIONS = UUID("5d3b6f0e-8f0a-5c53-9c1e-3b0f5f1c7a52")  # The namespace of obligations' ids.
DAY = timedelta(days=1)
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass
class Draft:
    """A decision in the making: the state so far, and the facts that led there. It never leaves its decision."""

    rules: Rules
    grace_days: int  # How late is late, where a rule's source does not say.
    state: FollowUps
    facts: list[SchedulingFact] = field(default_factory=list)

    @property
    def zone(self) -> ZoneInfo:
        """The patient's; only asked for once it is known. Raises Rejected for a name that is none."""
        return zone_named(self.state.time_zone or "")

    def plan(self, owed: FollowUpPlanned) -> None:
        self.state = replace(self.state, open={**self.state.open, owed.obligation_id: owed})
        self.facts.append(owed)

    def fulfil(self, owed: FollowUpPlanned, by: UUID) -> None:
        self.state = without(self.state, owed.obligation_id)
        self.facts.append(FollowUpFulfilled(obligation_id=owed.obligation_id, by=by, rule=owed.rule))

    def withdraw(self, owed: FollowUpPlanned, reason: Literal["superseded", "cause_ended"], by: UUID) -> None:
        self.state = without(self.state, owed.obligation_id)
        self.facts.append(FollowUpWithdrawn(obligation_id=owed.obligation_id, reason=reason, by=by))


def follow(draft: Draft, change: Change) -> None:
    """Take in one change, and draft all that comes of it."""
    draft.state = absorbed(draft.rules.floor, draft.state, change)
    match change:
        case OrderChange():
            order_changed(draft, change)
        case FlagChange():
            risk_changed(draft, change)
        case Answer():
            answered(draft, change)
        case _:
            assert_never(change)
    keep_the_floor(draft, change.cause)


def order_changed(draft: Draft, change: OrderChange) -> None:
    order_id = change.order.order_id
    order = draft.state.orders.get(order_id)
    if order is None:
        for owed in open_reviews(draft, order_id):
            draft.withdraw(owed, "cause_ended", change.cause)
    elif order.antidepressant and order.clock_cause == change.cause:
        start_clock(draft, order_id, order)


def start_clock(draft: Draft, order_id: UUID, order: Order) -> None:
    """The first review of a start or of a risen dose. It takes the place of the review that was open.

    A weekly review for raised risk stays: it is due as soon, and asks for more.
    """
    if any(weekly(draft, owed) for owed in open_reviews(draft, order_id)):
        return
    for owed in open_reviews(draft, order_id):
        draft.withdraw(owed, "superseded", order.clock_cause)
    rule = clock_rule(draft, order)
    due_on = local_day(order.clock_from, draft.zone) + rule.due_after_days * DAY
    review = planned(draft, rule, order.clock_cause, order_id, due_on, rule.window_days)
    draft.plan(while_at_risk(draft, order_id, order.clock_from, order.clock_cause, due_on) or review)


def risk_changed(draft: Draft, change: FlagChange) -> None:
    """Raised risk turns the open reviews into weekly ones. A closed flag does not turn them back: a review does."""
    if not change.flag.open:
        return
    for owed in in_order(draft):
        if owed.order_id is None or weekly(draft, owed):
            continue
        turn_at = draft.state.noted.get(owed.cause, BEFORE_ALL)
        sooner = while_at_risk(draft, owed.order_id, turn_at, owed.cause, owed.due_on)
        if sooner:
            draft.withdraw(owed, "superseded", change.cause)
            draft.plan(sooner)


def answered(draft: Draft, answer: Answer) -> None:
    for owed in in_order(draft):
        if admitted(draft, owed, answer):
            draft.fulfil(owed, answer.cause)
            order = draft.state.orders.get(owed.order_id) if owed.order_id else None
            if owed.order_id and order:
                next_turn(draft, owed, owed.order_id, order, answer)


def admitted(draft: Draft, owed: FollowUpPlanned, answer: Answer) -> bool:
    """Whether the obligation's rule lets this answer close it.

    It must have been done by the right person in the right form, after what it answers and not before the window. A
    late answer is an answer: what was overdue has been done.
    """
    rule = draft.rules.executed.get(owed.rule.rule_id)
    return (
        rule is not None
        and counts(rule, answer)
        and answer.at > draft.state.noted.get(owed.cause, BEFORE_ALL)
        and local_day(answer.at, zone_named(owed.time_zone)) >= owed.window_from_on
        and (owed.order_id is None or answer.orders is None or owed.order_id in answer.orders)
    )


def next_turn(draft: Draft, owed: FollowUpPlanned, order_id: UUID, order: Order, answer: Answer) -> None:
    """The review after an answered one: weekly until risk is cleared, then by the clock, until that has run out."""
    answered_on = local_day(answer.at, draft.zone)
    if stays_weekly(draft, owed, order, answer):
        rule = weekly_rule(draft)
        due_on = answered_on + (rule.repeat_every_days or rule.due_after_days) * DAY
        draft.plan(planned(draft, rule, answer.cause, order_id, due_on, rule.repeat_window_days))
        return
    rule = clock_rule(draft, order)
    review: FollowUpPlanned | None = None
    if rule.repeat_every_days is not None:
        due_on = answered_on + rule.repeat_every_days * DAY
        clock_on = local_day(order.clock_from, draft.zone)
        if rule.until_days is None or due_on <= clock_on + rule.until_days * DAY:
            review = planned(draft, rule, answer.cause, order_id, due_on, rule.repeat_window_days)
    review = while_at_risk(draft, order_id, answer.at, answer.cause, review.due_on if review else None) or review
    if review:
        draft.plan(review)


def stays_weekly(draft: Draft, owed: FollowUpPlanned, order: Order, answer: Answer) -> bool:
    """Whether this answer leaves open that the risk is clinically important, where the rule asks to have it cleared."""
    rule = draft.rules.executed[owed.rule.rule_id]
    first = owed.cause == order.clock_cause
    asks = rule.needs_risk_cleared and (rule.raised_risk or first)
    return bool(answer.risk_clinically_important or (asks and answer.risk_clinically_important is None))


def while_at_risk(
    draft: Draft, order_id: UUID, turn_at: datetime, cause: UUID, due_on: date | None
) -> FollowUpPlanned | None:
    """The weekly review that a risk flag asks for in the turn that began at `turn_at`; None when there is no flag.

    It is never due later than the one whose place it takes. Its cause is the turn's or the flag's, whichever came
    later, so that it does not depend on which of the two was noted first.
    """
    flags = [flag for flag in draft.state.flags.values() if flag.stood_after(turn_at)]
    if not flags:
        return None
    flag = min(flags, key=lambda one: (one.raised_at, one.cause))
    rule = weekly_rule(draft)
    soon = local_day(max(turn_at, flag.raised_at), draft.zone) + rule.due_after_days * DAY
    due = min(due_on, soon) if due_on else soon
    return planned(draft, rule, flag.cause if flag.raised_at > turn_at else cause, order_id, due, rule.window_days)


def keep_the_floor(draft: Draft, cause: UUID) -> None:
    """Open the floor obligation where nothing else with a date is open; take it back where it is not needed."""
    rule = draft.rules.floor
    floors = [owed for owed in in_order(draft) if owed.rule.rule_id == rule.id]
    in_treatment, others = bool(draft.state.orders), len(draft.state.open) > len(floors)
    if in_treatment and not others and not floors:
        since = min(order.started_at for order in draft.state.orders.values())
        since = max(since, draft.state.reviewed_at or since)
        due_on = local_day(since, draft.zone) + rule.due_after_days * DAY
        draft.plan(planned(draft, rule, cause, None, due_on, rule.window_days))
    elif others or not in_treatment:
        for owed in floors:
            draft.withdraw(owed, "superseded" if others else "cause_ended", cause)


def planned(
    draft: Draft, rule: Rule, cause: UUID, order_id: UUID | None, due_on: date, window_days: int
) -> FollowUpPlanned:
    """An obligation. Of the same cause, rule and order it is always the same one."""
    zone = draft.zone
    overdue_after_on = due_on + (draft.grace_days if rule.grace_days is None else rule.grace_days) * DAY
    return FollowUpPlanned(
        obligation_id=uuid5(OBLIGATIONS, f"{cause}|{rule.id}|{order_id or ''}"),
        kind=rule.kind,
        cause=cause,
        order_id=order_id,
        rule=rule.ref,
        window_from_on=due_on - window_days * DAY,
        due_on=due_on,
        overdue_after_on=overdue_after_on,
        due_at=start_of_day(due_on, zone),
        overdue_at=start_of_day(overdue_after_on + DAY, zone),
        owner_role=rule.owner_role,
        time_zone=zone.key,
    )


def clock_rule(draft: Draft, order: Order) -> Rule:
    """The rule by which an order's clock runs, at the age on the day it was started, while no risk is raised."""
    birth_date = draft.state.birth_date or date.min  # Only asked for once it is known.
    age = age_on(birth_date, local_day(order.clock_from, draft.zone))
    return draft.rules.matching(order.clock, age, raised_risk=False)


def weekly_rule(draft: Draft) -> Rule:
    return draft.rules.matching(STARTED, 0, raised_risk=True)  # At any age.


def weekly(draft: Draft, owed: FollowUpPlanned) -> bool:
    return owed.rule.rule_id == weekly_rule(draft).id


def open_reviews(draft: Draft, order_id: UUID) -> Sequence[FollowUpPlanned]:
    return [owed for owed in in_order(draft) if owed.order_id == order_id]


def in_order(draft: Draft) -> Sequence[FollowUpPlanned]:
    return sorted(draft.state.open.values(), key=lambda owed: (owed.due_on, owed.obligation_id))
