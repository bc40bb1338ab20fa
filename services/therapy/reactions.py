"""What therapy does about other houses' facts: it notes, in its own stream, what its decisions stand on.

Allergies, conditions, addresses, care teams, consents and the choice of treatment are asked for in no decision here.
"""

from collections.abc import Iterator

from chassis.decider import Reaction
from contracts.clinical import BirthDateNoted
from contracts.event import Event
from contracts.fact import Fact
from contracts.patients import PatientEnrolled

from .domain.commands import NotePatient, TherapyCommand

REACTS_TO = frozenset({PatientEnrolled.TYPE})


def react(event: Event[Fact]) -> Iterator[Reaction[TherapyCommand]]:
    match event.fact:
        case PatientEnrolled(birth_date=birth_date, sex=sex):
            yield Reaction(NotePatient(noted=BirthDateNoted(birth_date=birth_date, sex=sex)), event.key)
