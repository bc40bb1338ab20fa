"""Visits: agreed at a time that the clock on the patient's wall really shows, once, and only one at a time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from chassis.decider import Ask, Rejected
from contracts.scheduling import AppointmentBooked, FollowUpPlanned, Kind, Staff

from .commands import BookAppointment
from .days import local_day, zone_named
from .state import FollowUps

# Visits that will answer a follow-up of a kind, though nobody said so when they were booked.
ANSWERING: Mapping[Kind, Sequence[str]] = {
    "medication_review": ("medication_review",),
    "contact": ("medication_review", "evaluation"),
}
FURTHEST = timedelta(days=731)  # Two years: further ahead, a typing error is likelier than a plan.


def book(state: FollowUps, ask: Ask[object], command: BookAppointment) -> list[AppointmentBooked]:
    """The visit. A clinician who is taken at that time is refused by the database, which sees all patients."""
    appointment_id = command.appointment_id or ask.new_id("appointment")
    starts_at = start_of(command)
    booked = AppointmentBooked(
        appointment_id=appointment_id,
        kind=command.kind,
        clinician=Staff(person=command.clinician.person, role=command.clinician.role),
        starts_at=starts_at,
        wall_time=starts_at.astimezone(zone_named(command.time_zone))
        .replace(tzinfo=None)
        .isoformat(timespec="minutes"),
        time_zone=command.time_zone,
        minutes=command.minutes,
        place=command.place,
        remote=command.remote,
        serves=command.serves,
    )
    known = state.appointments.get(appointment_id)
    if known == booked:
        return []  # Asked twice: it is agreed already.
    if known:
        raise Rejected("appointment_id_already_used", "This visit exists at another time or with another clinician.")
    if starts_at <= ask.now:
        raise Rejected("appointment_in_the_past", "Choose a time that is still to come.")
    if starts_at > ask.now + FURTHEST:
        raise Rejected("appointment_too_far_ahead", "Choose a time within the next two years.")
    if any(overlap(booked, other) for other in state.appointments.values()):
        raise Rejected("patient_already_booked", "The patient has another visit at that time: choose another time.")
    for obligation_id in command.serves:
        if obligation_id in state.closed:
            raise Rejected("follow_up_already_closed", "Leave out the follow-up that no longer needs an answer.")
        if obligation_id not in state.open:
            raise Rejected("unknown_follow_up", "Name follow-ups of this patient only, by their ids.")
    return [booked]


def start_of(command: BookAppointment) -> datetime:
    """The instant, in UTC, at which the visit starts. Raises Rejected when the times given do not name one."""
    zone = zone_named(command.time_zone)
    if command.starts_at:
        starts_at = within_years(command.starts_at).astimezone(UTC)
        if command.wall_time and starts_at.astimezone(zone).replace(tzinfo=None) != command.wall_time:
            raise Rejected(
                "wall_time_contradicts_start",
                "The clock there shows another time at that instant: correct one of them.",
            )
        return starts_at
    assert command.wall_time is not None, "the command's model asks for one of the two"
    wall = within_years(command.wall_time)
    found = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    shown = sorted(at for at in found if at.astimezone(zone).replace(tzinfo=None) == wall)
    if not shown:
        raise Rejected("wall_time_does_not_exist", "The clock skips that time on that day: choose another.")
    if len(shown) > 1:
        raise Rejected("wall_time_comes_twice", "The clock shows that time twice on that day: give starts_at as well.")
    return shown[0]


def within_years(at: datetime) -> datetime:
    """`at`, away from the ends of the calendar, where adding hours would leave it."""
    if not 1900 <= at.year <= 9000:
        raise Rejected("appointment_too_far_ahead", "Choose a time within the next two years.")
    return at


def serves(visit: AppointmentBooked, owed: FollowUpPlanned) -> bool:
    """Whether the visit is there to answer: it was booked for it, or it is of the kind that answers, and in time."""
    on = local_day(visit.starts_at, zone_named(owed.time_zone))
    in_time = owed.window_from_on <= on <= owed.overdue_after_on
    return owed.obligation_id in visit.serves or (visit.kind in ANSWERING.get(owed.kind, ()) and in_time)


def overlap(one: AppointmentBooked, other: AppointmentBooked) -> bool:
    return one.starts_at < end_of(other) and other.starts_at < end_of(one)


def end_of(booked: AppointmentBooked) -> datetime:
    return booked.starts_at + timedelta(minutes=booked.minutes)
