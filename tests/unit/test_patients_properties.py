"""Whatever is asked of patients in whatever order: only refusals, nothing twice, and a fold that takes any prefix."""

from datetime import UTC, date
from functools import reduce
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chassis.decider import Ask, Rejected
from contracts.patients import PatientEnrolled, PatientsFact
from services.patients.domain.commands import (
    AssignCareTeamMember,
    ChooseTreatmentApproach,
    EnrolPatient,
    GrantConsent,
    PatientsCommand,
    RecordAllergy,
    RecordCondition,
    RefuteAllergy,
    ReleaseCareTeamMember,
    RemoveContactPoint,
    ResolveCondition,
    SetContactPoint,
    WithdrawConsent,
)
from services.patients.domain.patients import Places, patients
from services.patients.domain.record import Record, evolve
from services.patients.domain.sending import Allowed, may_send
from tests.support.scenario import ask_for, event_of

DECIDER = patients(Places(frozenset({"America/New_York", "Pacific/Kiritimati"}), UTC))

# Few values each, so that asks meet: the same id with other content, the same content under another id.
ids = st.sampled_from([UUID(int=number) for number in (1, 2)])
optional_ids = st.none() | ids
words = st.sampled_from(["a", "b", "c-1"]) | st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=5
)
zones = st.sampled_from(["America/New_York", "Pacific/Kiritimati", "Nowhere/Never"])
addresses = st.sampled_from(["ana@example.org", "Ana@EXAMPLE.org", "+15550102030", "12 Elm St", "\N{SNOWMAN}"])
roles = st.sampled_from(["therapist", "clerk"])
hows = st.sampled_from(["paper", "online"])
people = st.sampled_from(["c-1", "c-2"])
days = st.dates() | st.sampled_from([date(1990, 1, 1), date(2024, 1, 1), date(2026, 2, 1), date(2030, 1, 1)])
purposes = st.sampled_from(["follow_up", "survey"])

enrolments = st.builds(
    EnrolPatient, patient_id=optional_ids, family_name=words, given_name=words, birth_date=days, language=st.just("en"),
    time_zone=zones,
    clinic=words, record_number=words,
)  # fmt: skip
commands: st.SearchStrategy[PatientsCommand] = st.one_of(
    enrolments,
    st.builds(RecordAllergy, allergy_id=optional_ids, substance=words, rxcui=st.none() | st.just("1"), reaction=words),
    st.builds(RefuteAllergy, allergy_id=ids, reason=words),
    st.builds(
        RecordCondition, condition_id=optional_ids, icd10cm=st.sampled_from(["F33.1", "F41.1"]), label=words,
        diagnosed_by=st.none() | words, onset_on=st.none() | days,
    ),
    st.builds(ResolveCondition, condition_id=ids, resolved_on=st.just(date(2026, 2, 1)) | days),
    st.builds(SetContactPoint, contact_point_id=optional_ids, address=addresses),
    st.builds(
        SetContactPoint, contact_point_id=optional_ids, channel=st.just("email"),
        address=st.sampled_from(["ana@example.org", "a.reyes@example.com"]),
    ),
    st.builds(RemoveContactPoint, contact_point_id=ids),
    st.builds(AssignCareTeamMember, person=people, name=words, role=roles, clinic=st.none() | words,
        from_on=st.none() | days, until_on=st.none() | days),
    st.builds(ReleaseCareTeamMember, person=people, role=roles, reason=words),
    st.builds(
        GrantConsent, consent_id=optional_ids, address=st.none() | addresses, wording_version=words, how=hows,
        purposes=st.lists(purposes, max_size=3).map(tuple),
    ),
    st.builds(
        GrantConsent, consent_id=optional_ids, scope=st.just("email"), address=st.just("ana@example.org"),
        wording_version=words, how=hows, purposes=st.tuples(purposes),
    ),
    st.builds(WithdrawConsent, consent_id=ids, how=hows),
    st.builds(
        ChooseTreatmentApproach, reason=words, alternatives=st.just(()), preference=st.none(),
        target_measure=st.none(),
    ),
)  # fmt: skip
# Long enough that what was begun is often ended too.
courses = st.lists(commands, min_size=10, max_size=25)

enrolled = PatientEnrolled(
    family_name="Reyes", given_name="Ana", birth_date="2000-05-04", sex="female", language="en",
    time_zone="Pacific/Kiritimati", clinic="north", record_number="1",
)  # fmt: skip


def asks(of: list[PatientsCommand]) -> list[Ask[PatientsCommand]]:
    return [ask_for(command, id=UUID(int=1_000 + number)) for number, command in enumerate(of)]


def decided(record: Record, ask: Ask[PatientsCommand]) -> list[PatientsFact]:
    """What comes of an ask, nothing when it is refused. Anything but a refusal propagates and fails the test."""
    try:
        return list(DECIDER.decide(record, ask))
    except Rejected:
        return []


def folded(record: Record, facts: list[PatientsFact]) -> Record:
    return reduce(evolve, (event_of(fact) for fact in facts), record)


def history(of: list[PatientsCommand]) -> list[PatientsFact]:
    facts: list[PatientsFact] = [enrolled]
    for ask in asks(of):
        facts += decided(folded(Record(), facts), ask)
    return facts


@given(courses)
def test_only_refusals_are_ever_raised_and_asking_twice_yields_nothing(of: list[PatientsCommand]) -> None:
    record = folded(Record(), [enrolled])
    for ask in asks(of):
        try:
            facts = list(DECIDER.decide(record, ask))
        except Rejected:
            continue
        record = folded(record, facts)
        assert list(DECIDER.decide(record, ask)) == []


@given(courses)
def test_nobody_who_is_not_enrolled_has_a_record(of: list[PatientsCommand]) -> None:
    for ask in asks([command for command in of if not isinstance(command, EnrolPatient)]):
        assert decided(Record(), ask) == []


@given(courses, st.data())
def test_the_fold_takes_every_prefix_and_every_order(of: list[PatientsCommand], data: st.DataObject) -> None:
    facts = history(of)
    for length in range(len(facts) + 1):
        folded(Record(), facts[:length])
    folded(Record(), data.draw(st.permutations(facts)))


@given(courses)
def test_a_channel_never_has_two_preferred_addresses_nor_a_message_without_a_consent(
    of: list[PatientsCommand],
) -> None:
    record = folded(Record(), history(of))
    for channel in ("email", "sms", "voice"):
        points = [p.latest for p in record.contact_points.values() if not p.removed and p.latest.channel == channel]
        assert sum(point.preferred for point in points) <= 1
        answer = may_send(record, channel, "survey")
        in_force = {
            consent.granted.address
            for consent in record.consents.values()
            if not consent.withdrawn and consent.granted.scope == channel and "survey" in consent.granted.purposes
        }
        assert not isinstance(answer, Allowed) or answer.address in in_force
