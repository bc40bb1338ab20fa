"""The timeline: for every fact a line that a person can read, under a kind by which they can filter.

A line says what happened and nothing that depends on the day it is read. What a message said, and what was said in
a session, is not in the facts and so not here.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, assert_never, cast, get_args

from contracts import notifications, patients, prescribing, scheduling, therapy
from contracts.clinical import (
    AllergyNoted,
    BirthDateNoted,
    Check,
    ConditionNoted,
    Dose,
    Noted,
    RiskFlagNoted,
    RuleRef,
    Schedule,
    TimeZoneNoted,
)
from contracts.event import Event
from contracts.fact import Fact
from contracts.notifications import NotificationsFact
from contracts.patients import PatientsFact
from contracts.prescribing import PrescribingFact
from contracts.scheduling import OrderNoted, ReviewNoted, SchedulingFact
from contracts.therapy import TherapyFact

from . import words
from .words import said

Kind = Literal[
    "medication",
    "therapy",
    "measure",
    "safety",
    "follow_up",
    "appointment",
    "message",
    "patient",
    "agreement",
    "noted",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Row = tuple[Kind, str]

PATIENTS, PRESCRIBING, THERAPY = get_args(PatientsFact), get_args(PrescribingFact), get_args(TherapyFact)
SCHEDULING, NOTIFICATIONS = get_args(SchedulingFact), get_args(NotificationsFact)
TYPES: frozenset[str] = frozenset(
    fact.TYPE for union in (PATIENTS, PRESCRIBING, THERAPY, SCHEDULING, NOTIFICATIONS) for fact in union
)


def entries(event: Event[Fact]) -> Iterator[Row]:
    """Rows of the timeline, each a kind and a line. The chassis adds the event's id, times, actor and place."""
    fact = event.fact
    if isinstance(fact, PATIENTS):
        row = of_patients(cast(PatientsFact, fact))
    elif isinstance(fact, PRESCRIBING):
        row = of_prescribing(cast(PrescribingFact, fact))
    elif isinstance(fact, THERAPY):
        row = of_therapy(cast(TherapyFact, fact))
    elif isinstance(fact, SCHEDULING):
        row = of_scheduling(cast(SchedulingFact, fact))
    elif isinstance(fact, NOTIFICATIONS):
        row = of_notifications(cast(NotificationsFact, fact))
    else:
        return
    yield row


def of_patients(fact: PatientsFact) -> Row:  # noqa: PLR0911, PLR0912 (one branch a fact)
    match fact:
        case patients.PatientEnrolled(given_name=given, family_name=family, clinic=clinic):
            return "patient", f"Enrolled: {given} {family}, record {fact.record_number}, clinic {clinic}"
        case patients.AllergyRecorded(kind=kind, substance=substance, reaction=reaction, severity=severity):
            return "patient", f"{kind.capitalize()} recorded: {substance.text}, {reaction}, {severity}"
        case patients.AllergyRefuted(reason=reason):
            return "patient", f"Allergy found not to be one: {reason}"
        case patients.ConditionRecorded(icd10cm=code, label=label):
            return "patient", f"Diagnosed: {label} ({code})"
        case patients.ConditionResolved(resolved_on=on):
            return "patient", f"Diagnosis resolved on {words.day(on)}"
        case patients.ContactPointSet(channel=channel, address=address, confidential=confidential):
            asked = ", to be kept confidential" if confidential else ""
            return "patient", f"May be reached by {said(channel, words.CHANNELS)} at {address}{asked}"
        case patients.ContactPointRemoved():
            return "patient", "May no longer be reached at an address on record"
        case patients.CareTeamMemberAssigned(name=name, role=role):
            return "patient", f"{name} joined the care team as {said(role)}"
        case patients.CareTeamMemberReleased(role=role, reason=reason):
            return "patient", f"The {said(role)} left the care team: {reason}"
        case patients.ConsentGranted(scope=scope, address=address, purposes=purposes):
            to = f" to {address}" if address else ""
            purpose = f" for {words.listed([said(purpose) for purpose in purposes])}" if purposes else ""
            return "agreement", f"Consent given: {said(scope, words.CHANNELS)}{to}{purpose}"
        case patients.ConsentWithdrawn(scope=scope, address=address):
            to = f" to {address}" if address else ""
            return "agreement", f"Consent withdrawn: {said(scope, words.CHANNELS)}{to}"
        case patients.TreatmentApproachChosen(approach=approach, reason=reason, decided_together=together):
            how = "chosen together" if together else "chosen"
            return "agreement", f"Treatment {how}: {said(approach, words.APPROACHES)}. {reason}"
        case _:
            assert_never(fact)


def of_prescribing(fact: PrescribingFact) -> Row:
    match fact:
        case prescribing.PatientNoted(noted=noted):
            return "noted", f"Prescribing took note: {of_noted(noted)}"
        case prescribing.DosePrescribed(medication=medication, indication=indication):
            taken = f"{regimen(fact.dose, fact.schedule)}, {said(fact.route, words.ROUTES)}"
            return "medication", f"{medication.name} {taken}, prescribed for {indication}{warned(fact.checks)}"
        case prescribing.WarningOverridden(rule=rule, reason_code=reason, text=text):
            return "medication", f"Warning overridden ({said(reason)}): {text}. {ruled(rule)}"
        case prescribing.DoseAdjusted(medication=medication, direction=direction, reason=reason):
            before = regimen(fact.from_dose, fact.from_schedule)
            after = regimen(fact.to_dose, fact.to_schedule)
            why = f"for {said(reason)}{warned(fact.checks)}"
            return "medication", f"{medication.name} {direction} from {before} to {after}, {why}"
        case prescribing.MedicationDiscontinued(medication=medication, last_dose_on=on, reason=reason):
            why = said(reason, words.STOPPED_FOR)
            return "medication", f"{medication.name} stopped, last dose {words.day(on)}: {why}"
        case prescribing.MedicationReviewCompleted(effectiveness=effect, tolerability=tolerability):
            risk = "risk asked" if fact.risk_asked else "risk not asked"
            if fact.risk_clinically_important:
                risk = "risk asked and clinically important"
            counts = Counter(said(order.decision) for order in fact.orders)
            decided = words.listed([f"{decision} {count}" for decision, count in counts.items()])
            decisions = f"; decided: {decided}" if decided else ""
            return "medication", f"Medication review: effect {effect}, tolerability {tolerability}, {risk}{decisions}"
        case _:
            assert_never(fact)


def of_therapy(fact: TherapyFact) -> Row:  # noqa: PLR0911 (one branch a fact)
    match fact:
        case therapy.PatientNoted(noted=noted):
            return "noted", f"Therapy took note: {of_noted(noted)}"
        case therapy.TherapyStarted(modality=modality, planned_sessions=planned):
            return "therapy", f"{modality} started, {planned} sessions planned"
        case therapy.SessionCompleted(modality=modality, kind=kind, format=form):
            minutes = int((fact.ended_at - fact.started_at).total_seconds() // 60)
            where = "remote" if fact.remote else "in person"
            about = words.listed([said(topic) for topic in fact.medication_talked_about])
            talked = f"; medication talked about: {about}" if about else ""
            plan = f". {fact.plan_summary}" if fact.plan_summary else ""
            return "therapy", f"{modality} session ({kind}, {form}), {minutes} minutes, {where}{talked}{plan}"
        case therapy.MeasureRecorded(measure=measure, total=None):
            return "measure", f"{measure} answered in part: no total"
        case therapy.MeasureRecorded(measure=measure, total=total, band=band):
            return "measure", f"{measure} {total}{f', {band}' if band else ''}"
        case therapy.RiskFlagRaised(tier=tier, measure=measure, item=item):
            return "safety", f"Risk flag raised, {tier}: {measure} item {item}. {ruled(fact.rule)}"
        case therapy.RiskFlagClosed(safety_action=action, text=text):
            return "safety", f"Risk flag closed: {said(action, words.SAFETY_ACTIONS)}. {text}"
        case _:
            assert_never(fact)


def of_scheduling(fact: SchedulingFact) -> Row:  # noqa: PLR0911 (one branch a fact)
    match fact:
        case scheduling.PatientNoted(noted=noted):
            return "noted", f"Scheduling took note: {of_noted(noted)}"
        case scheduling.FollowUpPlanned(kind=kind, due_on=on, rule=rule):
            return "follow_up", f"{owed(kind)} planned for {words.day(on)}. {ruled(rule)}"
        case scheduling.FollowUpDue(kind=kind, booked=booked):
            visit = "a visit is booked" if booked else "no visit is booked"
            return "follow_up", f"{owed(kind)} due, {visit}"
        case scheduling.FollowUpOverdue(kind=kind, overdue_after_on=on):
            return "follow_up", f"{owed(kind)} overdue: the last day was {words.day(on)}"
        case scheduling.FollowUpFulfilled(rule=rule):
            return "follow_up", f"Follow-up done. {ruled(rule)}"
        case scheduling.FollowUpWithdrawn(reason=reason):
            return "follow_up", f"Follow-up {said(reason, words.ENDED_AS)}"
        case scheduling.ContactMade(channel=channel, reached=reached, risk_asked=asked):
            outcome = "patient reached" if reached else "patient not reached"
            risk = ", risk asked" if asked else ""
            return "follow_up", f"Contact ({said(channel)}): {outcome}{risk}"
        case scheduling.AppointmentBooked(kind=kind, wall_time=wall, time_zone=zone, minutes=minutes):
            where = "remote" if fact.remote else fact.place or "in person"
            return (
                "appointment",
                f"Booked: {said(kind)} on {words.wall(wall)} ({words.zone(zone)}), {minutes} minutes, {where}",
            )
        case _:
            assert_never(fact)


def of_notifications(fact: NotificationsFact) -> Row:
    match fact:
        case notifications.MessageQueued(purpose=purpose, channel=channel):
            return "message", f"To be sent by {said(channel, words.CHANNELS)}: {said(purpose)}"
        case notifications.MessageSent():
            return "message", "Message sent"
        case notifications.MessageFailed(reason=reason, will_retry=again):
            then = "it is tried again" if again else "a person must look"
            return "message", f"Message failed ({said(reason)}): {then}"
        case notifications.MessageSuppressed(reason=reason):
            return "message", f"Message held back on purpose: {said(reason)}"
        case _:
            assert_never(fact)


def of_noted(noted: Noted | OrderNoted | ReviewNoted) -> str:  # noqa: PLR0911 (one branch a kind)
    match noted:
        case BirthDateNoted(birth_date=born, sex=sex):
            return f"born {words.day(born)}, sex {sex}"
        case TimeZoneNoted(time_zone=zone, clinic=clinic):
            return f"lives in time zone {zone}, cared for at {clinic}"
        case AllergyNoted(substance=substance, active=active):
            return f"allergy or intolerance to {substance}{'' if active else ', refuted'}"
        case ConditionNoted(icd10cm=code, active=active):
            return f"diagnosis {code}{'' if active else ', resolved'}"
        case RiskFlagNoted(tier=tier, open=is_open):
            return f"risk flag ({tier}) {'open' if is_open else 'closed'}"
        case OrderNoted(change=change):
            return f"a medication order was {change}"
        case ReviewNoted(contact=contact, risk_asked=asked):
            return f"medication review ({said(contact)}), {'risk asked' if asked else 'risk not asked'}"
        case _:
            assert_never(noted)


def regimen(dose: Dose, schedule: Schedule) -> str:
    return f"{words.dose(dose)} {words.frequency(schedule)}"


def owed(kind: str) -> str:
    return said(kind, words.FOLLOW_UPS).capitalize()


def ruled(rule: RuleRef) -> str:
    return f"Rule {rule.rule_id} v{rule.version}{', not reviewed' if rule.unverified else ''}"


def warned(checks: tuple[Check, ...]) -> str:
    """What checks said that did not simply pass."""
    found = [check.message or ruled(check.rule) for check in checks if check.outcome != "passed"]
    return f"; warned: {words.listed(found)}" if found else ""
