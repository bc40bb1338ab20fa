"""Whatever is asked of therapy in whatever order: only refusals, nothing twice, and a fold that takes any prefix."""

from datetime import UTC, date, datetime, timedelta
from functools import reduce
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chassis.decider import Ask, Rejected
from contracts.clinical import BirthDateNoted, RiskFlagNoted
from contracts.therapy import MeasureRecorded, PatientNoted, RiskFlagRaised, TherapyFact
from services.therapy.domain.care import Care, evolve, therapy
from services.therapy.domain.commands import (
    Answer,
    CloseRiskFlag,
    CompleteSession,
    NotePatient,
    RecordMeasure,
    StartTherapy,
    TherapyCommand,
)
from services.therapy.domain.measures import load_measures
from services.therapy.domain.modalities import load_modalities
from tests.support.scenario import NOW, ask_for, event_of

DECIDER = therapy(load_measures(), load_modalities())

# Few values each, so that asks meet: the same id with other content, the same content under another id.
ids = st.sampled_from([UUID(int=number) for number in (1, 2)])
# The flags that asks raise, should they raise any.
flags = st.sampled_from([ask_for(None, id=UUID(int=1_000 + number)).new_id("PHQ-9:flag:9") for number in range(8)])
times = st.sampled_from([NOW - timedelta(minutes=minutes) for minutes in (-10, 0, 50, 90, 800)]) | st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)
)
births = st.sampled_from([date(2000, 5, 4), date(1990, 1, 1)])
texts = st.sampled_from(["walks", "Plan agreed."])
item = st.integers(-1, 11)
answers = st.lists(st.builds(Answer, item=item, value=st.integers(-1, 4)), max_size=10).map(tuple) | st.lists(
    st.integers(0, 3), min_size=9, max_size=9
).map(lambda values: tuple(Answer(item=number, value=value) for number, value in enumerate(values, 1)))

commands: st.SearchStrategy[TherapyCommand] = st.one_of(
    st.builds(NotePatient, noted=st.builds(BirthDateNoted, birth_date=births) | st.builds(RiskFlagNoted)),
    st.builds(
        StartTherapy, episode_id=st.none() | ids, modality=st.sampled_from(["CBT", "IPT", "hypnosis"]),
        therapist=st.none() | st.just("t-1"), planned_sessions=st.integers(1, 2), sessions_per_month=st.just(4),
    ),
    st.builds(
        CompleteSession, session_id=st.none() | ids, episode_id=ids, started_at=times, ended_at=times,
        group_session_id=st.none(), interventions=st.just(()), plan_summary=st.none() | texts,
    ),
    st.builds(
        CompleteSession, session_id=ids, episode_id=ids, started_at=st.just(NOW - timedelta(minutes=50)),
        ended_at=st.just(NOW), format=st.just("individual"), group_session_id=st.none(), interventions=st.just(()),
        plan_summary=st.none(), medication_talked_about=st.just(()),
    ),
    st.builds(
        RecordMeasure, measure_record_id=st.none() | ids, answers=answers, language=st.just("en"),
        measure=st.sampled_from(["PHQ-9", "PHQ-9", "PHQ-9", "MDQ", "none"]), total=st.none() | st.integers(0, 27),
    ),
    st.builds(
        RecordMeasure, measure_record_id=st.none(), answers=st.just((Answer(item=9, value=2),)),
        language=st.just("en"), measure=st.just("PHQ-9"), total=st.none(),
    ),
    st.builds(CloseRiskFlag, flag_id=flags, text=texts),
    st.builds(CloseRiskFlag, flag_id=flags, text=st.just("Plan agreed."), safety_action=st.just("safety_plan_agreed")),
)  # fmt: skip
# Long enough that what was begun is often ended too.
courses = st.lists(commands, min_size=8, max_size=20)

noted = PatientNoted(noted=BirthDateNoted(birth_date=date(2000, 5, 4), sex="female"))


def asks(of: list[TherapyCommand]) -> list[Ask[TherapyCommand]]:
    return [ask_for(command, id=UUID(int=1_000 + number)) for number, command in enumerate(of)]


def folded(care: Care, facts: list[TherapyFact]) -> Care:
    return reduce(evolve, (event_of(fact) for fact in facts), care)


def history(of: list[TherapyCommand]) -> list[TherapyFact]:
    """What comes of the asks, one after the other. Anything but a refusal propagates and fails the test."""
    facts: list[TherapyFact] = [noted]
    for ask in asks(of):
        try:
            facts += DECIDER.decide(folded(Care(), facts), ask)
        except Rejected:
            continue
    return facts


@given(courses)
def test_only_refusals_are_ever_raised_and_asking_twice_yields_nothing(of: list[TherapyCommand]) -> None:
    care = folded(Care(), [noted])
    for ask in asks(of):
        try:
            facts = list(DECIDER.decide(care, ask))
        except Rejected:
            continue
        care = folded(care, facts)
        assert list(DECIDER.decide(care, ask)) == []


@given(courses, st.data())
def test_the_fold_takes_every_prefix_and_every_order(of: list[TherapyCommand], data: st.DataObject) -> None:
    facts = history(of)
    for length in range(len(facts) + 1):
        folded(Care(), facts[:length])
    folded(Care(), data.draw(st.permutations(facts)))


@given(courses)
def test_every_form_with_a_thought_of_death_and_no_other_raises_one_flag(of: list[TherapyCommand]) -> None:
    facts = history(of)
    forms = [fact for fact in facts if isinstance(fact, MeasureRecorded)]
    asked_for = [form.measure_record_id for form in forms if any(a.item == 9 and a.value >= 1 for a in form.answers)]
    assert [fact.measure_record_id for fact in facts if isinstance(fact, RiskFlagRaised)] == asked_for


@given(courses)
def test_a_total_is_the_sum_of_nine_answers_or_there_is_none(of: list[TherapyCommand]) -> None:
    for fact in history(of):
        if isinstance(fact, MeasureRecorded):
            complete = {answer.item for answer in fact.answers} == set(range(1, 10))
            assert fact.total == (sum(answer.value for answer in fact.answers) if complete else None)
            assert (fact.band is None) == (fact.total is None)
