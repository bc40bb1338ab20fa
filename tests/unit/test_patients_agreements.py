"""Where a patient may be reached, who cares for them, what they agreed to, and so: what may be sent."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from contracts.patients import (
    CareTeamMemberAssigned,
    CareTeamMemberReleased,
    ConsentGranted,
    ConsentWithdrawn,
    ContactPointRemoved,
    ContactPointSet,
    PatientEnrolled,
    PatientsFact,
)
from contracts.permissions import Known, Membership
from services.patients.domain.commands import (
    AssignCareTeamMember,
    GrantConsent,
    PatientsCommand,
    ReleaseCareTeamMember,
    RemoveContactPoint,
    SetContactPoint,
    WithdrawConsent,
)
from services.patients.domain.patients import Places, patients
from services.patients.domain.record import Record
from services.patients.domain.sending import Allowed, may_send
from tests.support.scenario import Scenario

Patient = Scenario[Record, PatientsCommand, PatientsFact]

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

EMAIL = UUID("c0a00000-0000-4000-8000-000000000001")
ANOTHER_EMAIL = UUID("c0a00000-0000-4000-8000-000000000002")
set_email = SetContactPoint(contact_point_id=EMAIL, channel="email", address="ana@example.org", preferred=True)
email_set = ContactPointSet(contact_point_id=EMAIL, channel="email", address="ana@example.org", preferred=True)
another_email_set = ContactPointSet(contact_point_id=ANOTHER_EMAIL, channel="email", address="a.reyes@example.com")
email_removed = ContactPointRemoved(contact_point_id=EMAIL)

assign = AssignCareTeamMember(person="t-1", name="Dr. Lee", role="therapist")
assigned = CareTeamMemberAssigned(
    person="t-1", name="Dr. Lee", role="therapist", clinic="north", from_on=date(2026, 3, 2)
)
release = ReleaseCareTeamMember(person="t-1", role="therapist", reason="Moved to another clinic.")
released = CareTeamMemberReleased(person="t-1", role="therapist", reason="Moved to another clinic.")

CONSENT = UUID("c0500000-0000-4000-8000-000000000001")
ANOTHER_CONSENT = UUID("c0500000-0000-4000-8000-000000000002")
grant = GrantConsent(
    consent_id=CONSENT,
    scope="email",
    address="ana@example.org",
    purposes=("follow_up", "appointment_reminder"),
    wording_version="2026-01",
    how="in_person",
)
granted = ConsentGranted(
    consent_id=CONSENT,
    scope="email",
    address="ana@example.org",
    purposes=("appointment_reminder", "follow_up"),
    wording_version="2026-01",
    how="in_person",
)
share = GrantConsent(consent_id=ANOTHER_CONSENT, scope="sharing", wording_version="2026-01", how="paper")
withdraw = WithdrawConsent(consent_id=CONSENT, how="telephone")
withdrawn = ConsentWithdrawn(consent_id=CONSENT, scope="email", address="ana@example.org", how="telephone")


def but(model: Any, **changes: Any) -> Any:
    """The same, with some fields changed and all of them checked again."""
    return type(model)(**{**dict(model), **changes})


@pytest.fixture
def anyone() -> Patient:
    return Scenario(patients(Places(frozenset({"America/New_York", "Pacific/Auckland"}), UTC)))


@pytest.fixture
def patient(anyone: Patient) -> Patient:
    anyone.given(enrolled)
    return anyone


@pytest.mark.parametrize(
    "command", [set_email, RemoveContactPoint(contact_point_id=EMAIL), assign, release, grant, withdraw], ids=type
)
def test_nothing_is_agreed_with_somebody_who_is_not_enrolled(anyone: Patient, command: PatientsCommand) -> None:
    anyone.when(command)
    anyone.then_rejected("patient_not_enrolled")


def test_a_patient_says_where_they_may_be_reached(patient: Patient) -> None:
    patient.when(set_email)
    patient.then(email_set)


def test_an_address_said_twice_is_one(patient: Patient) -> None:
    patient.given(email_set)
    patient.when(set_email)
    patient.then_nothing()


def test_an_address_is_replaced_under_its_id(patient: Patient) -> None:
    patient.given(email_set)
    patient.when(but(set_email, address="reyes@example.org"))
    patient.then(but(email_set, address="reyes@example.org"))


def test_the_domain_of_an_address_is_kept_in_lower_case(patient: Patient) -> None:
    patient.when(but(set_email, address="Ana@Example.ORG"))
    patient.then(but(email_set, address="Ana@example.org"))


@pytest.mark.parametrize(
    "address",
    [
        *("ana", "ana@", "@example.org", "ana@example", "ana@@example.org", "ana@example..org", "ana@-example.org"),
        *("Ana <ana@example.org>", "ana@example.org, b@example.org", "ana@example.org\nBcc", ".ana@example.org"),
        *("ana reyes@example.org", "aná@example.org", "ana@[127.0.0.1]", "a" * 65 + "@example.org"),
    ],
)
def test_what_is_no_email_address_is_refused(patient: Patient, address: str) -> None:
    patient.when(but(set_email, contact_point_id=None).model_copy(update={"address": address}))
    patient.then_rejected("not_an_email_address")


@pytest.mark.parametrize("channel", ["sms", "voice"])
@pytest.mark.parametrize(
    "number", ["5550102030", "+0155501020", "+1 555 010 2030", "+1555", "+1234567890123456", "+١٥٥٥٠١٠٢٠"]
)
def test_what_is_no_telephone_number_is_refused(patient: Patient, channel: str, number: str) -> None:
    patient.when(but(set_email, channel=channel, address=number))
    patient.then_rejected("not_a_telephone_number")


def test_a_letter_goes_where_the_patient_says(patient: Patient) -> None:
    patient.when(but(set_email, channel="post", address="12 Elm St, Springfield"))
    patient.then(but(email_set, channel="post", address="12 Elm St, Springfield"))


def test_one_address_is_on_record_once(patient: Patient) -> None:
    patient.given(email_set)
    patient.when(but(set_email, contact_point_id=ANOTHER_EMAIL))
    patient.then_rejected("address_already_on_record")


def test_a_new_preferred_address_ends_the_preference_for_the_old_one(patient: Patient) -> None:
    patient.given(email_set)
    patient.when(but(set_email, contact_point_id=ANOTHER_EMAIL, address="a.reyes@example.com"))
    patient.then(but(email_set, preferred=False), but(another_email_set, preferred=True))


def test_each_channel_has_a_preferred_address_of_its_own(patient: Patient) -> None:
    patient.given(email_set)
    patient.when(but(set_email, contact_point_id=ANOTHER_EMAIL, channel="sms", address="+15550102030"))
    patient.then(but(another_email_set, channel="sms", address="+15550102030", preferred=True))


def test_an_address_is_removed(patient: Patient) -> None:
    patient.given(email_set)
    patient.when(RemoveContactPoint(contact_point_id=EMAIL))
    patient.then(email_removed)


def test_an_address_removed_twice_is_removed_once(patient: Patient) -> None:
    patient.given(email_set, email_removed)
    patient.when(RemoveContactPoint(contact_point_id=EMAIL))
    patient.then_nothing()


def test_only_an_address_on_record_is_removed(patient: Patient) -> None:
    patient.when(RemoveContactPoint(contact_point_id=EMAIL))
    patient.then_rejected("contact_point_unknown")


def test_a_late_repeat_does_not_bring_a_removed_address_back(patient: Patient) -> None:
    patient.given(email_set, email_removed)
    patient.when(set_email)
    patient.then_nothing()


def test_a_removed_contact_point_is_not_filled_again(patient: Patient) -> None:
    patient.given(email_set, email_removed)
    patient.when(but(set_email, address="reyes@example.org"))
    patient.then_rejected("contact_point_removed")


def test_a_removed_address_may_be_set_under_a_new_id(patient: Patient) -> None:
    patient.given(email_set, email_removed)
    patient.when(but(set_email, contact_point_id=ANOTHER_EMAIL))
    patient.then(but(email_set, contact_point_id=ANOTHER_EMAIL))


def test_a_therapist_joins_the_team_from_today_at_the_patients_clinic(patient: Patient) -> None:
    patient.when(assign)
    patient.then(assigned)
    patient.given(assigned)
    assert patient.state.access == Known("north", (Membership("t-1", "therapist", date(2026, 3, 2)),))


def test_a_member_may_act_at_once_wherever_the_patients_day_has_begun(anyone: Patient) -> None:
    """On Monday evening in UTC it is Tuesday in Auckland; a day on the team is counted in the deployment's zone."""
    anyone.given(but(enrolled, time_zone="Pacific/Auckland"))
    anyone.when(assign, now=datetime(2026, 3, 2, 23, 0, tzinfo=UTC))
    anyone.then(assigned)


def test_who_is_on_the_team_already_is_not_assigned_again(patient: Patient) -> None:
    patient.given(but(assigned, from_on=date(2026, 1, 1)))
    patient.when(assign)
    patient.then_nothing()


def test_a_members_days_on_the_team_may_change(patient: Patient) -> None:
    patient.given(assigned)
    patient.when(but(assign, until_on=date(2026, 6, 30)))
    patient.then(but(assigned, until_on=date(2026, 6, 30)))


def test_nobody_leaves_the_team_before_joining_it(patient: Patient) -> None:
    patient.when(but(assign, until_on=date(2026, 3, 1)))
    patient.then_rejected("ends_before_it_begins")


@pytest.mark.parametrize("role", ["clerk", "patient", "auditor", "operator", "service", "supervisor"])
def test_only_clinicians_are_on_a_care_team(patient: Patient, role: str) -> None:
    patient.when(but(assign, role=role))
    patient.then_rejected("role_not_on_care_teams")


def test_a_released_member_no_longer_sees_the_patient(patient: Patient) -> None:
    patient.given(assigned)
    patient.when(release)
    patient.then(released)
    patient.given(released)
    assert patient.state.access == Known("north")


def test_a_member_released_twice_is_released_once(patient: Patient) -> None:
    patient.given(assigned, released)
    patient.when(release)
    patient.then_nothing()


def test_nobody_is_released_who_never_joined(patient: Patient) -> None:
    patient.given(assigned)
    patient.when(but(release, role="prescriber"))
    patient.then_rejected("not_on_care_team")


def test_a_released_member_may_join_again(patient: Patient) -> None:
    patient.given(assigned, released)
    patient.when(assign)
    patient.then(assigned)


def test_a_patient_agrees_to_be_written_to_at_one_address_for_named_purposes(patient: Patient) -> None:
    patient.when(grant)
    patient.then(granted)


def test_a_consent_given_twice_is_one(patient: Patient) -> None:
    patient.given(granted)
    patient.when(grant)
    patient.then_nothing()


def test_a_late_repeat_does_not_bring_a_withdrawn_consent_back(patient: Patient) -> None:
    patient.given(granted, withdrawn)
    patient.when(grant)
    patient.then_nothing()


def test_one_id_is_never_two_consents(patient: Patient) -> None:
    patient.given(granted)
    patient.when(but(grant, purposes=("survey",)))
    patient.then_rejected("consent_id_already_used")


def test_what_is_agreed_to_is_agreed_to_once_so_that_one_withdrawal_ends_it(patient: Patient) -> None:
    patient.given(granted)
    patient.when(but(grant, consent_id=ANOTHER_CONSENT, purposes=("follow_up", "survey")))
    refusal = patient.then_rejected("consent_already_given")
    assert refusal.details == {"consent_id": str(CONSENT)}


@pytest.mark.parametrize("changes", [{"purposes": ("survey",)}, {"address": "reyes@example.org"}])
def test_another_purpose_or_address_is_another_consent(patient: Patient, changes: dict[str, Any]) -> None:
    patient.given(granted)
    patient.when(but(grant, consent_id=ANOTHER_CONSENT, **changes))
    patient.then(but(granted, consent_id=ANOTHER_CONSENT, **changes))


@pytest.mark.parametrize("changes", [{"address": None}, {"purposes": ()}])
def test_consent_to_be_written_to_names_address_and_purpose(patient: Patient, changes: dict[str, Any]) -> None:
    patient.when(but(grant, **changes))
    patient.then_rejected("consent_incomplete")


def test_consent_to_be_written_to_names_a_real_address(patient: Patient) -> None:
    patient.when(but(grant, scope="sms"))
    patient.then_rejected("not_a_telephone_number")


@pytest.mark.parametrize("changes", [{"address": "ana@example.org"}, {"purposes": ("survey",)}])
def test_consent_to_share_records_is_no_consent_to_messages(patient: Patient, changes: dict[str, Any]) -> None:
    patient.when(but(share, **changes))
    patient.then_rejected("consent_too_wide")


def test_consent_to_share_records_is_given_once(patient: Patient) -> None:
    patient.when(share)
    patient.when_asked_again()
    patient.then_nothing()
    patient.when(but(share, consent_id=CONSENT))
    patient.then_rejected("consent_already_given")


def test_a_consent_is_taken_back(patient: Patient) -> None:
    patient.given(granted)
    patient.when(withdraw)
    patient.then(withdrawn)


def test_taking_a_consent_back_again_by_another_way_is_never_refused(patient: Patient) -> None:
    patient.given(granted, withdrawn)
    patient.when(but(withdraw, how="reply"))
    patient.then_nothing()


def test_only_a_consent_on_record_is_taken_back(patient: Patient) -> None:
    patient.when(withdraw)
    patient.then_rejected("consent_unknown")


def test_after_a_withdrawal_the_patient_may_agree_anew(patient: Patient) -> None:
    patient.given(granted, withdrawn)
    patient.when(but(grant, consent_id=ANOTHER_CONSENT))
    patient.then(but(granted, consent_id=ANOTHER_CONSENT))


def reminder(patient: Patient) -> Allowed | str:
    return may_send(patient.state, "email", "appointment_reminder")


def test_a_reminder_goes_to_the_preferred_address_that_the_patient_agreed_to(patient: Patient) -> None:
    patient.given(email_set, granted)
    assert reminder(patient) == Allowed("ana@example.org", "low_detail", enrolled)


def test_nothing_is_sent_to_somebody_who_is_not_enrolled(anyone: Patient) -> None:
    anyone.given(email_set, granted)
    assert reminder(anyone) == "patient_not_enrolled"


def test_nothing_is_sent_without_a_contact_point(patient: Patient) -> None:
    patient.given(granted)
    assert reminder(patient) == "no_preferred_contact_point"


def test_nothing_is_sent_to_an_address_that_is_not_preferred(patient: Patient) -> None:
    patient.given(but(email_set, preferred=False), granted)
    assert reminder(patient) == "no_preferred_contact_point"


def test_nothing_is_sent_to_a_removed_address(patient: Patient) -> None:
    patient.given(email_set, granted, email_removed)
    assert reminder(patient) == "no_preferred_contact_point"


def test_nothing_is_sent_without_consent(patient: Patient) -> None:
    patient.given(email_set)
    assert reminder(patient) == "no_consent"


def test_nothing_is_sent_after_a_withdrawal(patient: Patient) -> None:
    patient.given(email_set, granted, withdrawn)
    assert reminder(patient) == "no_consent"


def test_consent_for_one_address_is_none_for_another(patient: Patient) -> None:
    patient.given(granted, but(email_set, address="reyes@example.org"))
    assert reminder(patient) == "no_consent"


def test_consent_for_one_purpose_is_none_for_another(patient: Patient) -> None:
    patient.given(email_set, but(granted, purposes=("survey",)))
    assert reminder(patient) == "no_consent_for_this_purpose"


def test_consent_to_e_mail_is_none_to_text_messages(patient: Patient) -> None:
    patient.given(email_set, granted, but(another_email_set, channel="sms", address="+15550102030", preferred=True))
    assert may_send(patient.state, "sms", "appointment_reminder") == "no_consent"


def test_a_consent_taken_back_for_one_purpose_leaves_the_other(patient: Patient) -> None:
    patient.given(email_set, granted, but(granted, consent_id=ANOTHER_CONSENT, purposes=("survey",)), withdrawn)
    assert reminder(patient) == "no_consent_for_this_purpose"
    assert may_send(patient.state, "email", "survey") == Allowed("ana@example.org", "low_detail", enrolled)
