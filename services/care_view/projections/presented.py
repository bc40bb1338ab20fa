"""A view as it is shown at a moment: what joins the sections, and what depends on *now*, is worked out here.

Pure: the moment is given. Nothing of it is stored, so an obligation falls due without a fact having to say so.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from contracts.topics import DECIDING

from .document import CareView, Medications, Patient, Section, Therapy
from .moments import zone_of
from .parts import Appointment, Closed, Contact, Line, Message, Obligation, Override, Part
from .thoughts import Thought, thoughts

State = Literal["planned", "open", "due", "overdue"]


class Owed(Part, frozen=True):
    """An open obligation at a moment. `days` is until it is due; once it is overdue, since its last day."""

    obligation_id: UUID
    kind: str
    state: State
    days: int
    window_from_on: str
    due_on: str
    overdue_after_on: str
    owner_role: str
    rule_id: str
    version: str
    unverified: bool
    cause: UUID
    medication: str | None
    booked_for: datetime | None


class Heard(Part, frozen=True):
    """How far a source has been heard: the number and the moment of its last fact. None: nothing of this patient."""

    position: int | None
    recorded_at: datetime | None


class Medicine(Part, frozen=True):
    """A medicine in force, with the warnings that were overridden for it."""

    order_id: UUID
    line: Line
    overrides: tuple[Override, ...]


class Presented(Part, frozen=True):
    """The view at `as_of`, by the deployment's clock."""

    patient_id: str
    as_of: datetime
    simulated_time: bool
    age: int | None
    seen: Mapping[str, int]  # By house, the number of its last fact that this view stands on.
    heard: Mapping[str, Heard]
    stale_since: datetime | None
    not_yet_seen: Sequence[str]  # Positions that were asked for and did not arrive in time.
    needs_thought: Sequence[Thought]
    patient: Patient
    medicines: Sequence[Medicine]
    medications: Medications
    therapy: Therapy
    follow_ups: Sequence[Owed]
    follow_ups_closed: Sequence[Closed]
    appointments: Sequence[Appointment]
    past_appointments: Sequence[Appointment]
    contacts: Sequence[Contact]
    messages: Sequence[Message]


def presented(
    patient_id: str,
    view: CareView,
    now: datetime,
    *,
    seen: Mapping[str, int],
    simulated_time: bool,
    stale_since: datetime | None = None,
    not_yet_seen: Sequence[str] = (),
) -> Presented:
    """What is shown of a patient. `seen` is by source, as the document's row has it."""
    positions = {source.removeprefix("/"): sequence for source, sequence in seen.items()}
    scheduled, messages = view.follow_ups, view.messages
    follow_ups = owed(view, now)
    return Presented(
        patient_id=patient_id,
        as_of=now,
        simulated_time=simulated_time,
        age=age(view, now),
        seen=positions,
        heard={house: Heard(positions.get(house), section(view, house).recorded_at) for house in DECIDING},
        stale_since=stale_since,
        not_yet_seen=not_yet_seen,
        needs_thought=thoughts(view, now),
        patient=view.patient,
        medicines=medicines(view),
        medications=view.medications,
        therapy=view.therapy,
        follow_ups=follow_ups,
        follow_ups_closed=tuple(reversed(scheduled.closed)),
        appointments=[one for one in scheduled.appointments if ends(one) > now],
        past_appointments=[one for one in reversed(scheduled.appointments) if ends(one) <= now],
        contacts=tuple(reversed(scheduled.contacts)),
        messages=tuple(reversed(messages.last.values())),
    )


def section(view: CareView, house: str) -> Section:
    """The section that a house writes."""
    return {
        "patients": view.patient,
        "prescribing": view.medications,
        "therapy": view.therapy,
        "scheduling": view.follow_ups,
        "notifications": view.messages,
    }[house]


def age(view: CareView, now: datetime) -> int | None:
    """In whole years, where the patient lives. Born on 29 February, they turn a year older on 1 March."""
    if (identity := view.patient.identity) is None:
        return None
    born, today = identity.birth_date, now.astimezone(zone_of(view)).date()
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def medicines(view: CareView) -> list[Medicine]:
    """In force, in the order in which they were begun."""
    in_turn = sorted(view.medications.active.items(), key=lambda item: item[1].since)
    return [Medicine(order_id, line, view.medications.overrides.get(order_id, ())) for order_id, line in in_turn]


def owed(view: CareView, now: datetime) -> list[Owed]:
    """What is owed, the most pressing first."""
    today = now.astimezone(zone_of(view)).date()
    visits = {
        obligation_id: visit.starts_at
        for visit in reversed(view.follow_ups.appointments)
        if ends(visit) > now
        for obligation_id in visit.serves
    }
    found = []
    for obligation_id, one in view.follow_ups.open.items():
        state = state_of(one, now)
        days = (today - one.overdue_after_on).days if state == "overdue" else (one.due_on - today).days
        line = view.medications.active.get(one.order_id) if one.order_id else None
        found.append(
            Owed(
                obligation_id=obligation_id,
                kind=one.kind,
                state=state,
                days=days,
                window_from_on=one.window_from_on.isoformat(),
                due_on=one.due_on.isoformat(),
                overdue_after_on=one.overdue_after_on.isoformat(),
                owner_role=one.owner_role,
                rule_id=one.rule_id,
                version=one.version,
                unverified=one.unverified,
                cause=one.cause,
                medication=line.medication if line else None,
                booked_for=visits.get(obligation_id),
            )
        )
    return sorted(found, key=lambda one: (one.due_on, str(one.obligation_id)))


def state_of(one: Obligation, now: datetime) -> State:
    """By the instants that the rule gave; its window is counted in days of UTC, a few hours being of no weight."""
    if now >= one.overdue_at:
        return "overdue"
    if now >= one.due_at:
        return "due"
    return "open" if now.date() >= one.window_from_on else "planned"


def ends(visit: Appointment) -> datetime:
    return visit.starts_at + timedelta(minutes=visit.minutes)
