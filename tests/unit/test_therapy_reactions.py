"""What therapy takes note of when patients tells something."""

from datetime import date
from typing import Any, get_args

import pytest

from chassis.decider import Reaction
from contracts.clinical import BirthDateNoted
from contracts.patients import PatientEnrolled, PatientsFact
from services.therapy.domain.commands import NotePatient
from services.therapy.reactions import REACTS_TO, react
from tests.support.scenario import PATIENT, event_of

enrolled = PatientEnrolled(
    family_name="Reyes",
    given_name="Ana",
    birth_date=date(2000, 5, 4),
    sex="female",
    language="es-US",
    time_zone="America/New_York",
    clinic="north",
    record_number="N-1001",
)


def test_an_enrolment_is_noted_by_birth_date_and_sex_and_nothing_more() -> None:
    assert list(react(event_of(enrolled))) == [
        Reaction(NotePatient(noted=BirthDateNoted(birth_date=date(2000, 5, 4), sex="female")), str(PATIENT))
    ]


@pytest.mark.parametrize("kind", [kind for kind in get_args(PatientsFact) if kind is not PatientEnrolled])
def test_nothing_else_that_patients_tells_concerns_therapy(kind: type[PatientsFact]) -> None:
    fact: Any = kind.model_construct  # Its fields do not matter, only its type.
    assert list(react(event_of(fact()))) == []


def test_the_reaction_is_told_of_what_it_answers_and_of_nothing_else() -> None:
    """A later version of a fact that does not concern therapy must not hold a patient up here."""
    assert frozenset({PatientEnrolled.TYPE}) == REACTS_TO
