"""The view at a moment: what is due, what needs thought, what is drawn, and how a page says what it does not know."""

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any
from uuid import UUID

import pytest

from chassis.documents import TimelinePage
from chassis.identity import Caller
from contracts import notifications, patients, prescribing, scheduling, therapy
from contracts.clinical import Dose, Medication, RuleRef, Schedule
from contracts.fact import Fact
from contracts.permissions import Person
from services.care_view.api.pages import Pages
from services.care_view.api.picture import LEFT, RIGHT, SCORES_BOTTOM, SCORES_TOP, picture
from services.care_view.domain.scales import load_scales
from services.care_view.projections import NOTHING_KNOWN, CareView, project
from services.care_view.projections.presented import Presented, presented
from tests.support.scenario import CLINICIAN, NOW, PATIENT, event_of

ORDER = UUID("0d000000-0000-4000-8000-000000000001")
OBLIGATION = UUID("0b000000-0000-4000-8000-000000000001")
VISIT = UUID("a0000000-0000-4000-8000-000000000009")
RULE = RuleRef(rule_id="FU-AD-FIRST-YOUNG", version="2", unverified=True)
SCALES = load_scales()
DAY = timedelta(days=1)

enrolled = patients.PatientEnrolled(
    family_name="Ferreira",
    given_name="Ana",
    birth_date=date(1998, 2, 28),
    sex="female",
    language="pt",
    time_zone="Asia/Kolkata",
    clinic="riverside",
    record_number="RV-20417",
)
prescribed = prescribing.DosePrescribed(
    order_id=ORDER,
    medication=Medication(name="sertraline"),
    dose=Dose(amount=Decimal(50), unit="mg"),
    schedule=Schedule(times=1),
    route="oral",
    indication="depressive episode",
    days_supply=30,
    refills=2,
    formulary_version="1",
)
planned = scheduling.FollowUpPlanned(
    obligation_id=OBLIGATION,
    kind="medication_review",
    cause=ORDER,
    order_id=ORDER,
    rule=RULE,
    window_from_on=date(2026, 3, 5),
    due_on=date(2026, 3, 9),
    overdue_after_on=date(2026, 3, 12),
    due_at=datetime(2026, 3, 8, 18, 30, tzinfo=UTC),
    overdue_at=datetime(2026, 3, 12, 18, 30, tzinfo=UTC),
    owner_role="prescriber",
    time_zone="Asia/Kolkata",
)
booked = scheduling.AppointmentBooked(
    appointment_id=VISIT,
    kind="medication_review",
    clinician=scheduling.Staff(person=CLINICIAN, role="prescriber"),
    starts_at=datetime(2026, 3, 10, 9, 0, tzinfo=UTC),
    wall_time="2026-03-10T14:30",
    time_zone="Asia/Kolkata",
    minutes=30,
    remote=False,
    serves=(OBLIGATION,),
)


def adjusted(before: int, after: int) -> prescribing.DoseAdjusted:
    return prescribing.DoseAdjusted(
        order_id=ORDER,
        medication=Medication(name="sertraline"),
        from_dose=Dose(amount=Decimal(before), unit="mg"),
        from_schedule=Schedule(times=1),
        to_dose=Dose(amount=Decimal(after), unit="mg"),
        to_schedule=Schedule(times=1),
        direction="raised" if after > before else "lowered",
        reason="response",
    )


def score(total: int | None) -> therapy.MeasureRecorded:
    return therapy.MeasureRecorded(
        measure_record_id=VISIT,
        measure="PHQ-9",
        answers=(),
        total=total,
        band=None,
        scoring=RULE,
        answered_by="patient",
        mode="in_person",
        language="en",
    )


def flag(tier: Any, number: int) -> therapy.RiskFlagRaised:
    return therapy.RiskFlagRaised(
        flag_id=UUID(int=number), tier=tier, measure="PHQ-9", item=9, measure_record_id=VISIT, rule=RULE
    )


def view_of(*told: Fact | tuple[Fact, timedelta]) -> CareView:
    """Facts, each told at a time after NOW, at once unless it says when."""
    events = []
    for one in told:
        fact, later = one if isinstance(one, tuple) else (one, timedelta(0))
        events.append(event_of(fact, occurred_at=NOW + later, recorded_at=NOW + later))
    return reduce(project, events, NOTHING_KNOWN)


def at(view: CareView, now: datetime, **known: Any) -> Presented:
    sections = {
        "/patients": view.patient,
        "/prescribing": view.medications,
        "/therapy": view.therapy,
        "/scheduling": view.follow_ups,
        "/notifications": view.messages,
    }
    seen = {source: 1 for source, section in sections.items() if section.recorded_at}
    asked = {"seen": seen, "simulated_time": False, **known}
    return presented(str(PATIENT), view, now, **asked)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "state", "days"),
    [
        (datetime(2026, 3, 4, 12, 0, tzinfo=UTC), "planned", 5),
        (datetime(2026, 3, 6, 12, 0, tzinfo=UTC), "open", 3),
        (planned.due_at - SECOND, "open", 1),
        (planned.due_at, "due", 0),
        (planned.overdue_at - SECOND, "due", -3),
        (planned.overdue_at, "overdue", 1),
        (planned.overdue_at + 10 * DAY, "overdue", 11),
    ],
)
def test_a_follow_up_is_due_and_overdue_by_the_moment_at_which_it_is_shown(
    now: datetime, state: str, days: int
) -> None:
    [owed] = at(view_of(enrolled, prescribed, planned), now).follow_ups
    assert (owed.state, owed.days, owed.medication) == (state, days, "sertraline")


def test_a_follow_up_names_the_visit_that_will_serve_it_until_that_is_over() -> None:
    view = view_of(enrolled, prescribed, planned, booked)
    before, after = booked.starts_at - DAY, booked.starts_at + DAY
    assert [one.booked_for for one in at(view, before).follow_ups] == [booked.starts_at]
    assert [one.booked_for for one in at(view, after).follow_ups] == [None]
    assert [one.appointment_id for one in at(view, before).appointments] == [VISIT]
    assert [one.appointment_id for one in at(view, after).past_appointments] == [VISIT]


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (datetime(2026, 2, 27, 18, 29, tzinfo=UTC), 27),
        (datetime(2026, 2, 27, 18, 31, tzinfo=UTC), 28),  # Already the 28th in Kolkata.
    ],
)
def test_a_patient_is_as_old_as_it_is_where_they_live(now: datetime, age: int) -> None:
    assert at(view_of(enrolled), now).age == age


def test_a_time_zone_that_is_none_does_not_hide_the_patient() -> None:
    nowhere = enrolled.model_copy(update={"time_zone": "../etc/passwd"})
    assert at(view_of(nowhere), NOW).age == 28


def test_what_needs_thought_begins_with_risk_by_its_tier_then_what_is_overdue() -> None:
    unsent = notifications.MessageFailed(message_id=VISIT, reason="address_refused", will_retry=False)
    queued = notifications.MessageQueued(
        message_id=VISIT,
        purpose="follow_up",
        channel="email",
        template="x",
        template_version="1",
        not_before=NOW,
        not_after=NOW + DAY,
        lexicon_version="1",
        about=OBLIGATION,
    )
    view = view_of(enrolled, prescribed, planned, queued, unsent, flag("low", 1), (flag("imminent", 2), DAY))
    thoughts = at(view, planned.overdue_at).needs_thought
    assert [(one.kind, one.alarming) for one in thoughts] == [
        ("risk", True),
        ("risk", True),
        ("overdue", True),
        ("message", False),
    ]
    assert ["imminent" in one.sentence for one in thoughts[:2]] == [True, False]
    assert "sertraline" in thoughts[2].sentence
    assert (thoughts[2].rule_id, thoughts[2].version, thoughts[2].unverified) == (RULE.rule_id, "2", True)


def test_nothing_needs_thought_before_anything_is_due() -> None:
    assert at(view_of(enrolled, prescribed, planned), planned.due_at - SECOND).needs_thought == []


def test_a_message_that_is_tried_again_needs_nobody() -> None:
    assert at(view_of(enrolled), NOW).needs_thought == []


def test_the_picture_puts_scores_and_doses_on_one_time_axis() -> None:
    view = view_of(
        enrolled, prescribed, score(20), (score(None), 7 * DAY), (adjusted(50, 100), 28 * DAY), (score(5), 28 * DAY)
    )
    drawn = picture(view, NOW + 60 * DAY, SCALES)
    assert drawn
    first, part, last = drawn.points
    [turn] = drawn.turns
    [row] = drawn.medicines
    assert (first.complete, part.complete, last.complete) == (True, False, True)
    assert LEFT <= first.x < part.x < last.x < drawn.now_x <= RIGHT
    assert SCORES_TOP <= first.y < last.y <= SCORES_BOTTOM  # Lower on the page is better.
    assert turn.x == last.x
    assert turn.note == "sertraline 50 mg → 100 mg"
    assert [step.x for step in row.steps] == [first.x, turn.x]
    assert row.steps[1].x + row.steps[1].width == pytest.approx(drawn.now_x)
    assert row.steps[0].height < row.steps[1].height
    assert next(band.name for band in drawn.bands) == "none"
    assert "PHQ-9 was 20 on 2 Mar 2026 and 5 on 30 Mar 2026" in drawn.description
    assert [row.line for row in drawn.table][-1] in {"PHQ-9 5", "sertraline 50 mg → 100 mg, for response"}


def test_bands_touch_each_other_and_fill_the_scale() -> None:
    drawn = picture(view_of(score(9)), NOW, SCALES)
    assert drawn
    edges = sorted((band.top, band.top + band.height) for band in drawn.bands)
    assert edges[0][0] == pytest.approx(SCORES_TOP)
    assert edges[-1][1] == pytest.approx(SCORES_BOTTOM)
    for (_, bottom), (top, _) in itertools.pairwise(edges):
        assert bottom == pytest.approx(top, abs=0.2)


def test_where_there_is_nothing_to_draw_nothing_is_drawn() -> None:
    assert picture(view_of(enrolled), NOW, SCALES) is None


def test_a_course_whose_first_changes_were_let_go_begins_where_it_is_known() -> None:
    changes = [(adjusted(50 + nth, 51 + nth), (nth + 1) * DAY) for nth in range(12)]
    drawn = picture(view_of(prescribed, *changes), NOW + 60 * DAY, SCALES)
    assert drawn
    assert len(drawn.medicines[0].steps) == 8


@dataclass
class Page:
    """A page as it was sent."""

    text: str

    def says(self, words: str) -> bool:
        return words in re.sub(r"\s+", " ", self.text)


def page(view: CareView, now: datetime = NOW, *, behind_s: float | None = 0.2, **known: Any) -> Page:
    answer = Pages().of_patient(
        "patient.html",
        Caller(Person(CLINICIAN, "prescriber"), "issuer", "L. Brandt"),
        view,
        shown=at(view, now, **known),
        lines=TimelinePage((), None),
        picture=picture(view, now, SCALES),
        behind_s=behind_s,
        too_far_behind_s=5.0,
        rules_signed=False,
    )
    return Page(bytes(answer.body).decode())


def test_simulated_time_is_shown_unmistakably() -> None:
    assert page(view_of(enrolled), simulated_time=True).says("Simulated time.</b> Here it is 2 Mar 2026 20:30")
    assert not page(view_of(enrolled)).says("Simulated time")


def test_a_page_says_that_it_runs_on_rules_nobody_signed() -> None:
    assert page(view_of(enrolled)).says("rules that no named reviewer has signed")


def test_a_page_says_how_current_it_is() -> None:
    assert page(view_of(enrolled)).says("up to date")
    assert page(view_of(enrolled), behind_s=12.4).says("12 s behind")
    assert page(view_of(enrolled), behind_s=None).says("how current is not known")
    held_up = page(view_of(enrolled), stale_since=NOW)
    assert held_up.says("have been held up since 2 Mar 2026 20:30")
    assert not held_up.says("up to date")
    missing = page(view_of(enrolled), not_yet_seen=["prescribing:9"])
    assert missing.says("Not here yet: prescribing:9")
    assert not missing.says("up to date")


def test_none_recorded_is_told_apart_from_not_loaded() -> None:
    nothing = page(NOTHING_KNOWN)
    assert nothing.says("Not loaded: nothing has come from prescribing")
    assert nothing.says("▲ not loaded")
    noted = prescribing.PatientNoted(noted={"what": "birth_date", "birth_date": "1998-02-28", "sex": "female"})
    heard = page(view_of(enrolled, noted))
    assert heard.says("No medicine is in force.")
    assert not heard.says("nothing has come from prescribing")


def test_two_identifiers_allergies_approach_and_risk_stand_in_the_banner() -> None:
    allergy = patients.AllergyRecorded(
        allergy_id=VISIT,
        kind="allergy",
        substance=patients.Substance(text="penicillin"),
        reaction="rash",
        severity="severe",
    )
    approach = patients.TreatmentApproachChosen(
        approach="combined", reason="wishes both", decided_together=True, target_measure="PHQ-9"
    )
    banner = page(view_of(enrolled, allergy, approach, flag("moderate", 1))).text.partition("</header>")[0]
    for words in ("Ana Ferreira", "28 Feb 1998 (28)", "RV-20417", "! penicillin, rash", "! 1 open", "together since"):
        assert words in banner


def test_an_overridden_warning_is_shown_to_everyone() -> None:
    override = prescribing.WarningOverridden(
        order_id=ORDER, rule=RULE, severity="precaution", reason_code="benefit", text="told of bleeding"
    )
    shown = page(view_of(enrolled, prescribed, override))
    assert shown.says("▲ overridden")
    assert shown.says("told of bleeding")
    assert shown.says("rule FU-AD-FIRST-YOUNG v2, not reviewed")
