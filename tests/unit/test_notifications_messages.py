"""One patient's messages: each asked for once, each ended once, nothing hidden that left."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.decider import Rejected
from contracts.notifications import (
    MessageFailed,
    MessageQueued,
    MessageSent,
    MessageSuppressed,
    NotificationsFact,
)
from services.notifications.domain.commands import (
    QueueMessage,
    RecallMessages,
    RecordFailure,
    RecordSent,
    SuppressMessage,
)
from services.notifications.domain.lexicon import load_lexicon
from services.notifications.domain.messages import messages
from services.notifications.domain.wording import load_wording
from tests.support.scenario import CORRELATION, NOW, Scenario, ask_for, event_of

WORDING = load_wording(load_lexicon())
MESSAGES = messages(WORDING)
MESSAGE, OTHER, VISIT = (uuid5(CORRELATION, name) for name in ("message", "other", "visit"))

queue = QueueMessage(
    message_id=MESSAGE,
    purpose="appointment_reminder",
    channel="email",
    about=VISIT,
    not_before=NOW,
    not_after=NOW + timedelta(days=1),
    wall_time="2026-03-03T10:00",
    time_zone="America/New_York",
)
queued = MessageQueued(
    message_id=MESSAGE,
    purpose="appointment_reminder",
    channel="email",
    template="appointment_reminder",
    template_version="1",
    not_before=NOW,
    not_after=NOW + timedelta(days=1),
    lexicon_version=WORDING.lexicon.version,
    about=VISIT,
    wall_time="2026-03-03T10:00",
    time_zone="America/New_York",
)
record_sent = RecordSent(message_id=MESSAGE, provider_id="<1@clinic.example>", lexicon_version="L")
sent = MessageSent(message_id=MESSAGE, provider_id="<1@clinic.example>", lexicon_version="L")
suppress = SuppressMessage(message_id=MESSAGE, reason="no_consent")
suppressed = MessageSuppressed(message_id=MESSAGE, reason="no_consent")
failed = MessageFailed(message_id=MESSAGE, reason="smtp_451", will_retry=True)
gave_up = MessageFailed(message_id=MESSAGE, reason="smtp_550", will_retry=False)


@pytest.fixture
def patient() -> Scenario[Any, Any, NotificationsFact]:
    return Scenario(MESSAGES, actor_role="service")


def test_a_message_is_queued_with_the_words_it_will_be_written_in(patient: Any) -> None:
    patient.when(queue)
    patient.then(queued)


def test_asked_for_again_and_be_it_years_later_nothing_is_queued(patient: Any) -> None:
    patient.when(queue)
    patient.when_asked_again(now=NOW + timedelta(days=3_000))
    patient.then_nothing()


@pytest.mark.parametrize("ended", [sent, suppressed, failed, gave_up])
def test_asked_for_again_after_its_end_nothing_is_queued(patient: Any, ended: NotificationsFact) -> None:
    patient.given(queued, ended)
    patient.when(queue)
    patient.then_nothing()


def test_what_was_sent_is_recorded_once(patient: Any) -> None:
    patient.given(queued)
    patient.when(record_sent)
    patient.then(sent)
    patient.when_asked_again()
    patient.then_nothing()


@pytest.mark.parametrize("before", [suppressed, gave_up])
def test_what_left_is_recorded_whatever_was_decided_in_the_meantime(patient: Any, before: NotificationsFact) -> None:
    patient.given(queued, before)
    patient.when(record_sent)
    patient.then(sent)


@pytest.mark.parametrize("ended", [sent, suppressed, gave_up])
def test_what_has_ended_is_neither_suppressed_nor_failed_any_more(patient: Any, ended: NotificationsFact) -> None:
    patient.given(queued, ended)
    patient.when(suppress)
    patient.then_nothing()
    patient.when(RecordFailure(message_id=MESSAGE, reason="smtp_451", will_retry=True, nth=9))
    patient.then_nothing()


def test_each_failure_is_recorded_once(patient: Any) -> None:
    first = RecordFailure(message_id=MESSAGE, reason="smtp_451", will_retry=True, nth=1)
    patient.given(queued)
    patient.when(first)
    patient.then(failed)
    patient.when_asked_again()
    patient.then_nothing()
    patient.when(first.model_copy(update={"nth": 2}))
    patient.then(failed)


def test_a_failure_is_not_counted_before_those_that_came_first(patient: Any) -> None:
    patient.given(queued)
    patient.when(RecordFailure(message_id=MESSAGE, reason="smtp_451", will_retry=True, nth=2))
    patient.then_rejected("failure_out_of_turn")


def test_what_waits_is_recalled_when_what_it_speaks_of_has_changed(patient: Any) -> None:
    patient.given(queued)
    patient.when(RecallMessages(about=(VISIT,), reason="superseded"))
    patient.then(MessageSuppressed(message_id=MESSAGE, reason="superseded"))
    patient.when_asked_again()
    patient.then_nothing()


def test_what_speaks_of_something_else_is_not_recalled(patient: Any) -> None:
    patient.given(queued)
    patient.when(RecallMessages(about=(OTHER,), reason="superseded"))
    patient.then_nothing()


@pytest.mark.parametrize(
    "command", [record_sent, suppress, RecordFailure(message_id=MESSAGE, reason="x", will_retry=False, nth=1)]
)
def test_nothing_becomes_of_a_message_that_was_never_asked_for(patient: Any, command: Any) -> None:
    patient.when(command)
    patient.then_rejected("unknown_message")


ids = st.sampled_from([MESSAGE, OTHER])
commands = st.one_of(
    st.builds(queue.model_copy, update=st.fixed_dictionaries({"message_id": ids})),
    st.builds(RecallMessages, about=st.just((VISIT,)), reason=st.sampled_from(["superseded", "cancelled"])),
    st.builds(RecordSent, message_id=ids, provider_id=st.just("<1@c.example>"), lexicon_version=st.just("L")),
    st.builds(
        RecordFailure, message_id=ids, reason=st.just("smtp_451"), will_retry=st.booleans(), nth=st.integers(1, 4)
    ),
    st.builds(SuppressMessage, message_id=ids, reason=st.just("no_consent")),
)


@given(st.lists(commands, max_size=12))
def test_a_refusal_is_all_that_can_go_wrong_and_asking_twice_does_nothing(asked: list[Any]) -> None:
    state, facts = MESSAGES.initial, []
    for nth, command in enumerate(asked):
        ask = ask_for(command, id=uuid5(CORRELATION, f"ask {nth}"), now=datetime(2026, 3, 2, tzinfo=UTC))
        try:
            found = MESSAGES.decide(state, ask)
        except Rejected:
            continue
        for fact in found:
            facts.append(fact)
            state = MESSAGES.evolve(state, event_of(fact, len(facts)))
        assert MESSAGES.decide(state, ask) == []
    queued_ids = [fact.message_id for fact in facts if isinstance(fact, MessageQueued)]
    sent_ids = [fact.message_id for fact in facts if isinstance(fact, MessageSent)]
    assert len(queued_ids) == len(set(queued_ids))
    assert len(sent_ids) == len(set(sent_ids))


@given(st.lists(st.sampled_from([queued, sent, suppressed, failed, gave_up]), max_size=6))
def test_any_facts_can_be_folded(facts: list[NotificationsFact]) -> None:
    state = MESSAGES.initial
    for sequence, fact in enumerate(facts, start=1):
        state = MESSAGES.evolve(state, event_of(fact, sequence))
    assert set(state) <= {MESSAGE}
