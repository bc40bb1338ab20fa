"""What therapy does about other houses' facts: it notes, in its own stream, what its decisions stand on."""

from collections.abc import Iterator
from typing import assert_never

from chassis.decider import Reaction
from contracts.clinical import BirthDateNoted
from contracts.event import Event
from contracts.patients import (
    AllergyRecorded,
    AllergyRefuted,
    CareTeamMemberAssigned,
    CareTeamMemberReleased,
    ConditionRecorded,
    ConditionResolved,
    ConsentGranted,
    ConsentWithdrawn,
    ContactPointRemoved,
    ContactPointSet,
    PatientEnrolled,
    PatientsFact,
    TreatmentApproachChosen,
)

from .domain.commands import NotePatient, TherapyCommand

REACTS_TO = frozenset({PatientEnrolled.TYPE})


def react(event: Event[PatientsFact]) -> Iterator[Reaction[TherapyCommand]]:
    match event.fact:
        case PatientEnrolled(birth_date=birth_date, sex=sex):
            yield Reaction(NotePatient(noted=BirthDateNoted(birth_date=birth_date, sex=sex)), event.key)
        case (
            AllergyRecorded()
            | AllergyRefuted()
            | ConditionRecorded()
            | ConditionResolved()
            | ContactPointSet()
            | ContactPointRemoved()
            | CareTeamMemberAssigned()
            | CareTeamMemberReleased()
            | ConsentGranted()
            | ConsentWithdrawn()
            | TreatmentApproachChosen()
        ):
            return  # Nothing that therapy decides by.
        case _:
            assert_never(event.fact)
