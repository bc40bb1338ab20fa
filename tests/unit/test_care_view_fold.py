"""The care view's fold: what it keeps, that it is bounded, and that the order of the topics changes nothing."""

import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import notifications, patients, prescribing, scheduling, therapy
from contracts.clinical import Dose, Medication, RuleRef, Schedule
from contracts.event import Event
from contracts.fact import Fact
from services.care_view.projections import NOTHING_KNOWN, CareView, decode, encode, project
from services.care_view.projections import therapy as therapy_section
from tests.reference.care_view_fold import care_view
from tests.support.history import Record, history
from tests.support.scenario import NOW, event_of

ORDER = UUID("0d000000-0000-4000-8000-000000000001")
FLAG = UUID("f1000000-0000-4000-8000-000000000001")
OBLIGATION = UUID("0b000000-0000-4000-8000-000000000001")
MESSAGE = UUID("3e000000-0000-4000-8000-000000000001")
CAUSE = UUID("ca000000-0000-4000-8000-000000000001")
RULE = RuleRef(rule_id="FU-AD-FIRST-YOUNG", version="2")
DAILY = Schedule(times=1)
SERTRALINE = Medication(name="sertraline")
MOST_BYTES = 32 * 1024


def milligrams(amount: int) -> Dose:
    return Dose(amount=Decimal(amount), unit="mg")


prescribed = prescribing.DosePrescribed(
    order_id=ORDER,
    medication=SERTRALINE,
    dose=milligrams(50),
    schedule=DAILY,
    route="oral",
    indication="depressive episode",
    days_supply=30,
    refills=2,
    formulary_version="1",
)
raised = prescribing.DoseAdjusted(
    order_id=ORDER,
    medication=SERTRALINE,
    from_dose=milligrams(50),
    from_schedule=DAILY,
    to_dose=milligrams(100),
    to_schedule=DAILY,
    direction="raised",
    reason="response",
)
stopped = prescribing.MedicationDiscontinued(
    order_id=ORDER, medication=SERTRALINE, last_dose_on=date(2026, 6, 1), reason="remission"
)
overridden = prescribing.WarningOverridden(
    order_id=ORDER, rule=RULE, severity="precaution", reason_code="benefit", text="told of bleeding"
)
planned = scheduling.FollowUpPlanned(
    obligation_id=OBLIGATION,
    kind="medication_review",
    cause=CAUSE,
    order_id=ORDER,
    rule=RULE,
    window_from_on=date(2026, 3, 3),
    due_on=date(2026, 3, 9),
    overdue_after_on=date(2026, 3, 16),
    due_at=NOW + timedelta(days=7),
    overdue_at=NOW + timedelta(days=14),
    owner_role="prescriber",
    time_zone="Europe/Lisbon",
)
queued = notifications.MessageQueued(
    message_id=MESSAGE,
    purpose="follow_up",
    channel="email",
    template="follow_up",
    template_version="1",
    not_before=NOW,
    not_after=NOW + timedelta(days=1),
    lexicon_version="1",
    about=OBLIGATION,
)


def score(total: int | None) -> therapy.MeasureRecorded:
    return therapy.MeasureRecorded(
        measure_record_id=CAUSE,
        measure="PHQ-9",
        answers=(),
        total=total,
        band="mild" if total else None,
        scoring=RULE,
        answered_by="patient",
        mode="in_person",
        language="en",
    )


def flag(number: int = 1) -> therapy.RiskFlagRaised:
    return therapy.RiskFlagRaised(
        flag_id=UUID(int=FLAG.int + number),
        tier="moderate",
        measure="PHQ-9",
        item=9,
        measure_record_id=CAUSE,
        rule=RULE,
    )


def booked(number: int, starts_at: datetime) -> scheduling.AppointmentBooked:
    return scheduling.AppointmentBooked(
        appointment_id=UUID(int=number),
        kind="therapy_session",
        clinician=scheduling.Staff(person="r", role="therapist"),
        starts_at=starts_at,
        wall_time=f"{starts_at:%Y-%m-%dT%H:%M}",
        time_zone="Europe/Lisbon",
        minutes=50,
        remote=False,
    )


def after(*facts: Fact | Event[Fact]) -> CareView:
    """The view after these facts, each an hour after the one before."""
    events = [
        fact
        if isinstance(fact, Event)
        else event_of(fact, occurred_at=NOW + timedelta(hours=nth), recorded_at=NOW + timedelta(hours=nth))
        for nth, fact in enumerate(facts)
    ]
    return reduce(project, events, NOTHING_KNOWN)


def of_each_patient(records: list[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not record.event.source.endswith("/access"):
            found[record.event.key].append(record)
    return found


HISTORIES = of_each_patient(list(history(20260302, count=12, weeks=26)))


def test_a_raised_dose_stands_beside_the_old_one_with_its_reason() -> None:
    line = after(prescribed, raised).medications.active[ORDER]
    assert line.regimen.amount == 100
    assert [(change.before.amount, change.after.amount, change.reason) for change in line.changes] == [
        (Decimal(50), Decimal(100), "response")
    ]


def test_a_stopped_medicine_leaves_the_list_and_keeps_its_course_and_its_overrides() -> None:
    medications = after(overridden, prescribed, raised, stopped).medications
    assert medications.active == {}
    assert medications.overrides == {}
    ended = medications.ended[-1]
    assert (ended.reason, ended.last_dose_on) == ("remission", date(2026, 6, 1))
    assert len(ended.line.changes) == 1
    assert [override.text for override in ended.overrides] == ["told of bleeding"]


def test_an_overridden_warning_is_shown_also_when_it_was_written_before_the_order() -> None:
    assert [one.rule_id for one in after(overridden, prescribed).medications.overrides[ORDER]] == [RULE.rule_id]


def test_an_adjustment_of_an_order_that_is_not_in_force_changes_no_medicine() -> None:
    medications = after(raised).medications
    assert medications.active == {}
    assert medications.recorded_at == NOW


def test_an_incomplete_questionnaire_is_kept_without_a_total() -> None:
    series = after(score(12), score(None)).therapy.scores["PHQ-9"]
    assert [one.total for one in series] == [12, None]


def test_a_score_entered_late_stands_where_it_was_answered() -> None:
    late = event_of(score(20), occurred_at=NOW - timedelta(days=3))
    series = after(score(12), score(9), late).therapy.scores["PHQ-9"]
    assert [one.total for one in series] == [20, 12, 9]


def test_a_risk_flag_is_open_until_a_safety_action_closes_it() -> None:
    closed = therapy.RiskFlagClosed(flag_id=flag().flag_id, safety_action="safety_plan_agreed", text="written together")
    assert list(after(flag(1), flag(2)).therapy.flags) == [flag(1).flag_id, flag(2).flag_id]
    view = after(flag(1), flag(2), closed)
    assert list(view.therapy.flags) == [flag(2).flag_id]
    assert [one.safety_action for one in view.therapy.closed_flags] == ["safety_plan_agreed"]


def test_that_a_follow_up_fell_due_is_not_stored_for_its_dates_say_so() -> None:
    due = scheduling.FollowUpDue(
        obligation_id=OBLIGATION, kind="medication_review", due_on=planned.due_on, rule=RULE, booked=False
    )
    before, then = after(planned).follow_ups, after(planned, due).follow_ups
    assert then.open == before.open
    assert then.recorded_at == NOW + timedelta(hours=1)


def test_a_fulfilled_follow_up_is_no_longer_open_and_says_what_fulfilled_it() -> None:
    done = scheduling.FollowUpFulfilled(obligation_id=OBLIGATION, by=CAUSE, rule=RULE)
    follow_ups = after(planned, done).follow_ups
    assert follow_ups.open == {}
    assert [(one.how, one.by) for one in follow_ups.closed] == [("fulfilled", CAUSE)]


def test_visits_ahead_are_never_crowded_out_by_visits_further_ahead() -> None:
    ahead = [booked(number, NOW + timedelta(days=7 * number)) for number in range(1, 60)]
    assert len(after(*ahead).follow_ups.appointments) == 59


def test_of_visits_gone_by_only_the_last_few_are_kept() -> None:
    gone = [booked(number, NOW - timedelta(days=number)) for number in range(1, 30)]
    kept = after(*gone, booked(99, NOW + timedelta(days=30))).follow_ups.appointments
    assert [one.appointment_id.int for one in kept] == [5, 4, 3, 2, 1, 99]


def test_a_message_that_went_out_after_a_failure_shows_no_reason_of_the_failure() -> None:
    failed = notifications.MessageFailed(message_id=MESSAGE, reason="mailbox_unavailable", will_retry=True)
    sent = notifications.MessageSent(message_id=MESSAGE, provider_id="1", lexicon_version="1")
    message = after(queued, failed, sent).messages.last[MESSAGE]
    assert (message.state, message.reason, message.will_retry) == ("sent", None, False)


def test_a_consent_taken_back_is_no_longer_in_force() -> None:
    consent = patients.ConsentGranted(consent_id=CAUSE, scope="email", wording_version="1", how="paper")
    withdrawn = patients.ConsentWithdrawn(consent_id=CAUSE, scope="email", how="telephone")
    patient = after(consent, withdrawn).patient
    assert patient.consents == {}
    assert [one.withdrawn_at for one in patient.withdrawn] == [NOW + timedelta(hours=1)]


def test_somebody_released_from_the_team_is_still_known_by_name() -> None:
    joined = patients.CareTeamMemberAssigned(person="m", name="M. Ilves", role="nurse", clinic="n", from_on=NOW.date())
    left = patients.CareTeamMemberReleased(person="m", role="nurse", reason="moved")
    patient = after(joined, left).patient
    assert patient.team == ()
    assert [member.name for member in patient.released] == ["M. Ilves"]


def test_a_fact_of_another_source_changes_nothing() -> None:
    assert after(event_of(prescribed, source="/laboratory")) == NOTHING_KNOWN


@pytest.mark.parametrize("patient", sorted(HISTORIES))
def test_the_view_equals_what_the_reference_works_out_from_the_raw_records(patient: str) -> None:
    records = HISTORIES[patient]
    view = reduce(project, (record.event for record in records), NOTHING_KNOWN)
    assert json.loads(encode(view)) == care_view((record.headers, record.value) for record in records)


def test_the_reference_catches_a_fold_that_forgets_when_a_score_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(therapy_section, "latest", lambda known, new, count: (*known, new)[-count:])
    differ = [
        patient
        for patient, records in HISTORIES.items()
        if json.loads(encode(reduce(project, (record.event for record in records), NOTHING_KNOWN)))
        != care_view((record.headers, record.value) for record in records)
    ]
    assert differ


def interleaved(records: list[Record], random: Random) -> list[Record]:
    """The records in an order in which only those of one source keep theirs."""
    left: dict[str, list[Record]] = defaultdict(list)
    for record in reversed(records):
        left[record.event.source].append(record)
    mixed = []
    while left:
        source = random.choice(sorted(left))
        mixed.append(left[source].pop())
        if not left[source]:
            del left[source]
    return mixed


@settings(max_examples=60, deadline=None)
@given(patient=st.sampled_from(sorted(HISTORIES)), random=st.randoms(use_true_random=False), keep=st.integers(1, 40))
def test_the_view_does_not_depend_on_which_topic_arrives_first(patient: str, random: Random, keep: int) -> None:
    in_turn = sorted(HISTORIES[patient], key=lambda record: record.event.source)
    view: CareView = NOTHING_KNOWN
    for nth, record in enumerate(interleaved(in_turn, random)):
        view = project(view, record.event)
        if nth % keep == 0:  # Stored and loaded again at any moment.
            view = decode(encode(view))
    assert encode(view) == encode(reduce(project, (record.event for record in in_turn), NOTHING_KNOWN))


def test_a_document_stays_bounded_however_long_the_history() -> None:
    sizes: list[tuple[int, int]] = []
    for records in of_each_patient(list(history(7, count=3, weeks=300, reads=False))).values():
        view: Any = reduce(project, (record.event for record in records), NOTHING_KNOWN)
        sizes.append((len(records), len(encode(view))))
    assert min(count for count, _ in sizes) > 500
    assert max(size for _, size in sizes) < MOST_BYTES, sizes
