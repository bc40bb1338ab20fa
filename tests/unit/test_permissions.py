"""Who may do and see what: nobody, unless a row, a role and a relationship all say so."""

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import reduce
from uuid import UUID

import pytest

from contracts.event import Event
from contracts.fact import Fact
from contracts.patients import CareTeamMemberAssigned, CareTeamMemberReleased, ContactPointRemoved, PatientEnrolled
from contracts.permissions import (
    ANY,
    CLINIC,
    PERMISSIONS,
    SELF,
    TEAM,
    Known,
    Membership,
    Person,
    known,
    refused,
)
from contracts.roles import ROLES, Role
from contracts.topics import HOUSES

PATIENT = "6a1f3c52-8c0e-4c57-9d3e-5b0a4f1e2d77"
TODAY = date(2026, 3, 9)
MORAN = Person("p-moran", "prescriber", ("north",))
ENROLLED = PatientEnrolled(
    family_name="Example",
    given_name="Ada",
    birth_date=date(2001, 3, 14),
    sex="female",
    language="en",
    time_zone="America/Chicago",
    clinic="north",
    record_number="N-1",
)
ASSIGNED = CareTeamMemberAssigned(
    person="p-moran", name="Dr. Moran", role="prescriber", clinic="north", from_on=date(2026, 3, 1)
)


def told(*facts: Fact) -> Known | None:
    """The copy after these facts."""
    return reduce(known, (event(fact) for fact in facts), None)


def event(fact: Fact) -> Event[Fact]:
    at = datetime(2026, 3, 9, tzinfo=UTC)
    id = UUID(int=1)
    return Event(fact, id, "/patients", PATIENT, 1, bytes(32), at, at, "actor", "clerk", "TREAT", id)


def test_a_name_without_a_row_is_refused_to_everybody() -> None:
    for role in ROLES:
        assert refused("patients.burn-record", Person("x", role), PATIENT, Known("north"), TODAY) == "role"


@pytest.mark.parametrize("what", PERMISSIONS)
def test_a_role_without_an_entry_is_refused_whatever_else_holds(what: str) -> None:
    for role in set(ROLES) - set(PERMISSIONS[what]):
        assert refused(what, member(role), PATIENT, Known("north", (membership(role),)), TODAY) == "role"


@pytest.mark.parametrize("what", PERMISSIONS)
def test_a_role_with_an_entry_is_let_in_when_the_relationship_holds_and_only_then(what: str) -> None:
    for role, relationship in PERMISSIONS[what].items():
        whole = Known("north", (membership(role),))
        assert refused(what, member(role), PATIENT, whole, TODAY) is None
        without = {
            ANY: (None, member(role), Known("south")),
            TEAM: ("team", member(role), Known("north")),
            CLINIC: ("clinic", replace(member(role), clinics=("south",)), whole),
            SELF: ("own_record", replace(member(role), patient="another"), whole),
        }
        expected, person, copy = without[relationship]
        assert refused(what, person, PATIENT, copy, TODAY) == expected


@pytest.mark.parametrize("what", PERMISSIONS)
def test_of_a_patient_nobody_knows_only_what_needs_no_relationship_is_allowed(what: str) -> None:
    for role, relationship in PERMISSIONS[what].items():
        expected = None if relationship is ANY else "unknown_patient"
        assert refused(what, member(role), PATIENT, None, TODAY) == expected
        assert refused(what, member(role), None, Known("north"), TODAY) == expected


def test_rows_are_named_after_houses_that_exist_and_roles_that_are_listed() -> None:
    for what, roles in PERMISSIONS.items():
        assert what == "operate" or what.partition(".")[0] in HOUSES
        assert set(roles) <= set(ROLES)
        assert roles, "a row that lets nobody in is a mistake"


def test_no_machine_and_no_auditor_acts_for_a_patient() -> None:
    deciding = [what for what in PERMISSIONS if what.partition(".")[0] not in ("care_view", "audit")]
    for what in deciding:
        if what not in ("patients.may-send", "operate"):
            assert not {"service", "auditor", "operator"} & set(PERMISSIONS[what])


@pytest.mark.parametrize(
    ("from_on", "until_on", "expected"),
    [
        (date(2026, 3, 9), None, None),
        (date(2026, 3, 10), None, "team"),
        (date(2026, 3, 1), date(2026, 3, 9), None),
        (date(2026, 3, 1), date(2026, 3, 8), "team"),
    ],
)
def test_both_days_of_a_membership_count(from_on: date, until_on: date | None, expected: str | None) -> None:
    copy = told(ENROLLED, ASSIGNED.model_copy(update={"from_on": from_on, "until_on": until_on}))
    assert refused("prescribing.prescribe-dose", MORAN, PATIENT, copy, TODAY) == expected


def test_a_member_acts_only_in_the_role_in_which_they_were_assigned() -> None:
    copy = told(ENROLLED, ASSIGNED.model_copy(update={"role": "nurse"}))
    assert refused("care_view.patient", MORAN, PATIENT, copy, TODAY) == "team"
    assert refused("care_view.patient", replace(MORAN, role="nurse"), PATIENT, copy, TODAY) is None


def test_who_was_released_is_out_and_the_others_stay() -> None:
    other = ASSIGNED.model_copy(update={"person": "p-other"})
    released = CareTeamMemberReleased(person="p-moran", role="prescriber", reason="moved")
    copy = told(ENROLLED, ASSIGNED, other, released)
    assert refused("care_view.patient", MORAN, PATIENT, copy, TODAY) == "team"
    assert refused("care_view.patient", replace(MORAN, id="p-other"), PATIENT, copy, TODAY) is None


def test_assigned_again_replaces_the_days_that_were_agreed_before() -> None:
    ended = ASSIGNED.model_copy(update={"until_on": date(2026, 3, 2)})
    assert refused("care_view.patient", MORAN, PATIENT, told(ENROLLED, ASSIGNED, ended), TODAY) == "team"
    assert refused("care_view.patient", MORAN, PATIENT, told(ENROLLED, ended, ASSIGNED), TODAY) is None


def test_nothing_is_known_before_enrolment_and_other_facts_change_nothing() -> None:
    assert told(ASSIGNED) is None
    assert told(ENROLLED, ContactPointRemoved(contact_point_id=UUID(int=2))) == Known("north")


def member(role: Role) -> Person:
    """Somebody for whom every relationship can hold."""
    return Person("me", role, ("north",), patient=PATIENT)


def membership(role: Role) -> Membership:
    return Membership("me", role, date(2026, 1, 1))
