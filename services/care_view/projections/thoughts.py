"""What needs thought: a pure function of the view and the moment, most pressing first, each with its reason.

A thought tells people and opens nothing: what is owed is scheduling's, and so is who is called when nobody acts.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from . import words
from .document import CareView
from .moments import zone_of
from .parts import Part
from .words import said

Kind = Literal["risk", "overdue", "due", "message"]
PRESSING: tuple[Kind, ...] = ("risk", "overdue", "due", "message")
TIERS = ("imminent", "moderate", "low")


class Thought(Part, frozen=True):
    """Something to think about: why, by which rule, since when, and under which kind of the timeline its facts are."""

    kind: Kind
    alarming: bool
    sentence: str
    since: datetime
    timeline: str
    rule_id: str | None = None
    version: str | None = None
    unverified: bool = False


def thoughts(view: CareView, now: datetime) -> Sequence[Thought]:
    """All of them, most pressing first: by kind, then risks by their tier, the rest by how long they have waited."""
    waited = sorted([*late(view, now), *unsent(view)], key=lambda one: one.since)
    return sorted([*risks(view), *waited], key=lambda one: PRESSING.index(one.kind))


def risks(view: CareView) -> Iterator[Thought]:
    """Risk flags that no safety action has closed."""
    zone = zone_of(view)
    for flag in sorted(view.therapy.flags.values(), key=lambda flag: (TIERS.index(flag.tier), flag.raised_at)):
        yield Thought(
            kind="risk",
            alarming=True,
            sentence=f"A risk flag is open, {flag.tier}: {flag.measure} item {flag.item}, "
            f"answered on {words.day(flag.raised_at.astimezone(zone))}. Only a recorded safety action closes it.",
            since=flag.raised_at,
            timeline="safety",
            rule_id=flag.rule_id,
            version=flag.version,
            unverified=flag.unverified,
        )


def late(view: CareView, now: datetime) -> Iterator[Thought]:
    """Follow-ups whose day has come."""
    for one in view.follow_ups.open.values():
        if now < one.due_at:
            continue
        overdue = now >= one.overdue_at
        what = said(one.kind, words.FOLLOW_UPS).capitalize()
        line = view.medications.active.get(one.order_id) if one.order_id else None
        of_what = f" of {line.medication}" if line else ""
        when = f"was due on {words.day(one.due_on)}"
        by = f"; the last day was {words.day(one.overdue_after_on)}" if overdue else ""
        yield Thought(
            kind="overdue" if overdue else "due",
            alarming=overdue,
            sentence=f"{what}{of_what} {when}{by}. Nothing has answered it. Owed by the {said(one.owner_role)}.",
            since=one.overdue_at if overdue else one.due_at,
            timeline="follow_up",
            rule_id=one.rule_id,
            version=one.version,
            unverified=one.unverified,
        )


def unsent(view: CareView) -> Iterator[Thought]:
    """Messages that will not be tried again by themselves."""
    for message in view.messages.last.values():
        if message.state == "failed" and not message.will_retry:
            yield Thought(
                kind="message",
                alarming=False,
                sentence=f"A message to the patient ({said(message.purpose)}) could not be delivered: "
                f"{said(message.reason or 'unknown')}. Reach them in another way.",
                since=message.at,
                timeline="message",
            )
