"""Follow-ups under any history: against the slow calendar, in any order of the topics, asked again, in part."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.decider import Rejected
from contracts.scheduling import FollowUpDue, FollowUpPlanned
from services.scheduling.domain.commands import BookAppointment, CallDue, CallOverdue, Clinician
from services.scheduling.domain.follow_ups import follow_ups
from services.scheduling.domain.rules import load_rules
from tests.reference.follow_up_calendar import Happening, Line, follow_up_calendar
from tests.support.course import Course, named
from tests.support.scenario import NOW, event_of

FOLLOW_UPS = follow_ups(load_rules())
ZONES = ["America/New_York", "America/Santiago", "Asia/Kolkata", "Pacific/Auckland", "Africa/Cairo", "UTC"]
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)

births = st.dates(date(1930, 1, 1), date(2014, 12, 31))
zones = st.sampled_from(ZONES)
# Mostly gaps at which something is about to fall due, so that courses reach their later turns.
gaps = st.one_of(
    st.sampled_from([0, 1, 6, 7, 8, 14, 20, 28, 34]).map(lambda days: timedelta(days=days)),
    st.integers(1, 60 * 24 * 40).map(lambda minutes: timedelta(minutes=minutes)),
)
WHAT = ["start", "start", "raise", "lower", "stop", "contact", "session", "flag", "unflag", *["review"] * 6]


@st.composite
def histories(draw: st.DrawFn) -> list[Happening]:
    """A course of care in the order of time: started first, at most two antidepressants and one other drug."""
    found: list[Happening] = []
    started: set[str] = set()
    flags: set[str] = set()
    at = START
    for _ in range(draw(st.integers(1, 14))):
        at += draw(gaps)
        what = draw(st.sampled_from(WHAT)) if found else "start"
        thing = draw(st.sampled_from("ABL"))
        if what == "start":
            if thing in started:
                continue
            started.add(thing)
        if what == "flag":
            flags.add(thing)
        if what == "unflag" and thing not in flags:
            continue
        asked = draw(st.booleans())
        found.append(
            Happening(
                what,
                at,
                thing,
                antidepressant=thing != "L",
                role=role_for(draw, what),
                delegated=draw(st.booleans()),
                form=draw(st.sampled_from(["in_person", "video", "telephone"] + ["message"] * (what == "contact"))),
                reached=asked or draw(st.booleans()),
                risk_asked=asked,
                important=draw(st.booleans()) if asked and what == "review" else None,
                orders=draw(st.sampled_from([("A", "B"), ("A", "B", "L"), ("A",), ("B", "L")])),
            )
        )
    return found


def role_for(draw: st.DrawFn, what: str) -> str:
    if what == "review":
        return draw(st.sampled_from(["prescriber", "nurse", "pharmacist"]))
    if what == "contact":
        return draw(st.sampled_from(["prescriber", "nurse", "care_manager", "therapist"]))
    return "therapist" if what in ("session", "flag", "unflag") else "prescriber"


def course_of(birth: date, zone: str, history: list[Happening]) -> Course:
    course = Course(FOLLOW_UPS)
    course.enrol(birth, zone, START)
    for one in history:
        course.happen(one)
    return course


def lines_of(course: Course) -> Counter[tuple[Any, ...]]:
    return Counter(
        (
            fact.rule.rule_id,
            fact.order_id,
            fact.window_from_on,
            fact.due_on,
            course.ended(fact.obligation_id),
        )
        for fact in course.planned
    )


def lines(found: list[Line]) -> Counter[tuple[Any, ...]]:
    return Counter(
        (line.rule, named(line.order) if line.order else None, line.window_from, line.due, line.ended) for line in found
    )


@settings(max_examples=300, deadline=None)
@given(births, zones, histories())
def test_what_is_owed_is_what_the_slow_calendar_says(birth: date, zone: str, history: list[Happening]) -> None:
    assert lines_of(course_of(birth, zone, history)) == lines(follow_up_calendar(birth, zone, history))


@settings(deadline=None)
@given(births, zones, histories(), st.data())
def test_nothing_is_lost_when_prescribing_is_heard_before_the_enrolment(
    birth: date, zone: str, history: list[Happening], data: st.DataObject
) -> None:
    early = Course(FOLLOW_UPS)
    late = Course(FOLLOW_UPS)
    early.enrol(birth, zone, START)
    heard = data.draw(st.integers(0, len(history)))
    for one in history[:heard]:
        early.happen(one)
        late.asked = early.asked - 1  # The same event of the other house, in both courses.
        late.happen(one)
    late.asked = 0
    late.enrol(birth, zone, START)
    late.asked = early.asked
    for one in history[heard:]:
        early.happen(one)
        late.happen(one)
    assert late.planned == early.planned
    assert late.state == early.state


@given(births, zones, histories())
def test_who_is_in_treatment_is_never_without_a_dated_obligation(
    birth: date, zone: str, history: list[Happening]
) -> None:
    course = Course(FOLLOW_UPS)
    course.enrol(birth, zone, START)
    for one in history:
        course.happen(one)
        assert bool(course.owed) == bool(course.state.orders)


@given(births, zones, histories())
def test_no_obligation_is_planned_twice(birth: date, zone: str, history: list[Happening]) -> None:
    planned = Counter(fact.obligation_id for fact in course_of(birth, zone, history).planned)
    assert not [obligation for obligation, times in planned.items() if times > 1]


@given(births, zones, histories())
def test_another_houses_fact_that_is_heard_again_changes_nothing(
    birth: date, zone: str, history: list[Happening]
) -> None:
    course = course_of(birth, zone, history)
    course.asked = 1
    for one in history:
        if one.what != "contact":
            assert course.happen(one) == []
        else:
            course.asked += 1


@given(births, zones, histories())
def test_the_state_can_be_folded_from_every_prefix(birth: date, zone: str, history: list[Happening]) -> None:
    course = course_of(birth, zone, history)
    state = FOLLOW_UPS.initial
    for sequence, fact in enumerate(course.facts, start=1):
        state = FOLLOW_UPS.evolve(state, event_of(fact, sequence))
    assert {*state.open} == {*course.state.open}


@given(
    births,
    zones,
    histories(),
    st.lists(
        st.one_of(
            st.builds(CallDue, obligation_id=st.uuids()),
            st.builds(CallOverdue, obligation_id=st.uuids()),
            st.builds(
                BookAppointment,
                appointment_id=st.uuids(),
                kind=st.just("other"),
                clinician=st.just(Clinician(person="dr-okafor", role="prescriber")),
                time_zone=st.sampled_from([*ZONES, "Europe/Nowhere", "../etc", "Europe"]),
                wall_time=st.datetimes().map(lambda at: at.replace(second=0, microsecond=0)),
                starts_at=st.none()
                | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(second=0, microsecond=0)),
                minutes=st.integers(5, 480),
                serves=st.lists(st.uuids(), max_size=2).map(tuple),
            ),
        ),
        max_size=5,
    ),
)
def test_a_refusal_is_all_that_can_go_wrong(
    birth: date, zone: str, history: list[Happening], commands: list[Any]
) -> None:
    course = course_of(birth, zone, history)
    refusals: list[Rejected] = []
    for command in commands:
        try:
            course.ask(command, NOW)
        except Rejected as refusal:
            refusals.append(refusal)
    assert all(refusal.sentence.endswith(".") for refusal in refusals)


@given(births, zones, histories())
def test_every_obligation_falls_due_once(birth: date, zone: str, history: list[Happening]) -> None:
    course = course_of(birth, zone, history)
    owed = course.owed
    for planned in owed:
        course.ask(CallDue(obligation_id=planned.obligation_id), planned.due_at)
        course.ask(CallDue(obligation_id=planned.obligation_id), planned.due_at)
        with pytest.raises(Rejected, match="not_overdue_yet"):
            course.ask(CallOverdue(obligation_id=planned.obligation_id), planned.overdue_at - timedelta(seconds=1))
    due = [fact.obligation_id for fact in course.facts if isinstance(fact, FollowUpDue)]
    assert sorted(due) == sorted(planned.obligation_id for planned in owed)


@given(births, zones, histories())
def test_a_wrong_calendar_would_be_noticed(birth: date, zone: str, history: list[Happening]) -> None:
    """The comparison has teeth: a course without its first start has other lines, if that start opened any."""
    course = course_of(birth, zone, history)
    if not any(isinstance(fact, FollowUpPlanned) for fact in course.facts):
        return
    start = next(one for one in history if one.what == "start")
    others = [one for one in history if one is not start]
    assert lines_of(course) != lines(follow_up_calendar(birth, zone, others))
