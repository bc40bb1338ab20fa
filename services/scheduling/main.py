"""Wires the scheduling service. Nothing is constructed anywhere else."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid5

from fastapi import FastAPI
from sqlalchemy import text

from chassis.commanding import CommandHandler
from chassis.decider import Rejected
from chassis.http import Commands
from chassis.reacting import reacting
from chassis.service import House, serve
from chassis.settings import Settings
from chassis.store import Statement
from chassis.timers import Timer, Timers, set_timer, withdraw_timer
from contracts import topics
from contracts.event import Event
from contracts.scheduling import (
    AppointmentBooked,
    FollowUpFulfilled,
    FollowUpPlanned,
    FollowUpWithdrawn,
    SchedulingFact,
)

from .api import routes
from .domain.commands import CallDue, CallOverdue, SchedulingCommand
from .domain.follow_ups import follow_ups
from .domain.rules import Rules, load_rules
from .reactions import REACTS_TO, react

BOOK = text("""
    INSERT INTO booking (appointment_id, clinician, during)
    VALUES (:appointment_id, :clinician, tstzrange(:starts_at, :ends_at))""")
REFUSALS = {
    "booking_clinician_free": Rejected(
        "clinician_already_booked", "The clinician has another visit at that time: choose another time."
    ),
    "booking_pkey": Rejected("appointment_id_already_used", "This id is another patient's visit: leave it out."),
}


def create_app() -> FastAPI:
    return wire(Settings(), load_rules())


def wire(settings: Settings, rules: Rules) -> FastAPI:
    house = House("scheduling", settings, migrations=Path(__file__).parent / "migrations")
    access = house.access()
    store = house.store(topics.SCHEDULING)
    owed = CommandHandler(follow_ups(rules), store, house.clock, rows=kept_beside, refusals=REFUSALS)
    heard = [topics.PATIENTS, topics.PRESCRIBING, topics.THERAPY]
    notes = reacting(house.engine, "notes", heard, react, owed, house.clock, types=REACTS_TO)
    timers = Timers(house.engine, house.clock, called, owed, actor="scheduling")
    store.on_append(timers.wake)
    waits = dict.fromkeys(("patients", "prescribing", "therapy"), notes.reached)
    commands = Commands(house, owed, access, waits=waits)
    return serve(
        house,
        access,
        routes=[routes(commands)],
        works=[notes],
        timers=timers,
        stores=[store],
        shown={
            "follow_up_rules_executed": len(rules.executed),
            "follow_up_rules_not_executed": len(rules.not_executed),
            "follow_up_rules_signed": False,
        },
    )


def kept_beside(events: Sequence[Event[SchedulingFact]]) -> Sequence[Statement]:
    """What is written in the append's transaction: timers of what is owed, and who is taken when."""
    return [statement for event in events for statement in beside(event)]


def beside(event: Event[SchedulingFact]) -> Sequence[Statement]:
    match event.fact:
        case FollowUpPlanned() as fact:
            due, overdue = timers_of(fact.obligation_id)
            return [
                set_timer(due, event, f"due/{fact.obligation_id}", fact.due_at),
                set_timer(overdue, event, f"overdue/{fact.obligation_id}", fact.overdue_at),
            ]
        case FollowUpFulfilled(obligation_id=ended) | FollowUpWithdrawn(obligation_id=ended):
            return [withdraw_timer(timer) for timer in timers_of(ended)]
        case AppointmentBooked() as fact:
            taken = {
                "appointment_id": fact.appointment_id,
                "clinician": fact.clinician.person,
                "starts_at": fact.starts_at,
                "ends_at": fact.starts_at + timedelta(minutes=fact.minutes),
            }
            return [(BOOK, taken)]
        case _:
            return []


def timers_of(obligation_id: UUID) -> tuple[UUID, UUID]:
    return uuid5(obligation_id, "due"), uuid5(obligation_id, "overdue")


def called(timer: Timer) -> SchedulingCommand:
    """The command that a timer stands for. Raises ValueError for one that we did not set."""
    kind, _, obligation_id = timer.kind.partition("/")
    match kind:
        case "due":
            return CallDue(obligation_id=UUID(obligation_id))
        case "overdue":
            return CallOverdue(obligation_id=UUID(obligation_id))
        case _:
            raise ValueError("a timer of another house")
