"""What other houses' facts mean for scheduling: each is noted, and the rules of follow-up say what comes of it."""

from collections.abc import Iterable

from chassis.decider import Reaction
from contracts.event import Event
from contracts.fact import Fact
from contracts.patients import PatientEnrolled
from contracts.prescribing import DoseAdjusted, DosePrescribed, MedicationDiscontinued, MedicationReviewCompleted
from contracts.therapy import RiskFlagClosed, RiskFlagRaised, SessionCompleted

from .domain.commands import NoteEnrolment, NoteOrder, NoteReview, NoteRiskFlag, NoteSession, SchedulingCommand

REACTS_TO = frozenset(
    fact.TYPE
    for fact in (
        PatientEnrolled,
        DosePrescribed,
        DoseAdjusted,
        MedicationDiscontinued,
        MedicationReviewCompleted,
        SessionCompleted,
        RiskFlagRaised,
        RiskFlagClosed,
    )
)


def react(event: Event[Fact]) -> Iterable[Reaction[SchedulingCommand]]:
    """The commands that an event calls for, at most one."""
    command = noted(event.fact)
    return [Reaction(command, event.key)] if command else []


def noted(fact: Fact) -> SchedulingCommand | None:  # noqa: PLR0911  One case each.
    match fact:
        case PatientEnrolled():
            return NoteEnrolment(birth_date=fact.birth_date, sex=fact.sex, time_zone=fact.time_zone, clinic=fact.clinic)
        case DosePrescribed():
            return NoteOrder(order_id=fact.order_id, classes=fact.medication.classes, change="started")
        case DoseAdjusted():
            return NoteOrder(order_id=fact.order_id, classes=fact.medication.classes, change=fact.direction)
        case MedicationDiscontinued():
            return NoteOrder(order_id=fact.order_id, classes=fact.medication.classes, change="ended")
        case MedicationReviewCompleted():
            return NoteReview(
                review_id=fact.review_id,
                contact=fact.contact,
                orders=tuple(reviewed.order_id for reviewed in fact.orders),
                risk_asked=fact.risk_asked,
                risk_clinically_important=fact.risk_clinically_important,
            )
        case SessionCompleted():
            return NoteSession(session_id=fact.session_id, remote=fact.remote)
        case RiskFlagRaised():
            return NoteRiskFlag(flag_id=fact.flag_id, tier=fact.tier)
        case RiskFlagClosed():
            return NoteRiskFlag(flag_id=fact.flag_id, tier=None)
        case _:
            return None
