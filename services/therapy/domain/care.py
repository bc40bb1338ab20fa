"""One patient's therapy: courses begun, sessions held, questionnaires answered, risk flags raised and closed.

Nothing is decided of a patient whom therapy has not noted yet: their birth date, for one, would not be known.
"""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import assert_never
from uuid import UUID, uuid5

from chassis.decider import Ask, Decider, Rejected
from contracts.clinical import BirthDateNoted
from contracts.event import Event
from contracts.therapy import (
    ItemAnswer,
    MeasureRecorded,
    PatientNoted,
    RiskFlagClosed,
    RiskFlagRaised,
    SessionCompleted,
    TherapyFact,
    TherapyStarted,
)

from .commands import CloseRiskFlag, CompleteSession, NotePatient, RecordMeasure, StartTherapy, TherapyCommand
from .measures import TIERS, Measure, Measures, band, flags, total

SESSION_MAX = timedelta(hours=12)  # The longest known are intensive days of exposure; beyond is a typing error.
# Which of the measures on file are scored here in full. The others need prorating, parts that are scored apart, or
# a question beside the items, and are refused until they have it.
OFFERED = frozenset({"PHQ-9"})


@dataclass(frozen=True)
class Open:
    pass


@dataclass(frozen=True)
class Closed:
    closed: RiskFlagClosed


@dataclass(frozen=True)
class Care:
    """What therapy knows of one patient; `noted` is None until patients' enrolment has been noted."""

    noted: BirthDateNoted | None = None
    episodes: Mapping[UUID, TherapyStarted] = field(default_factory=dict)
    sessions: Mapping[UUID, bytes] = field(default_factory=dict)
    measures: Mapping[UUID, bytes] = field(default_factory=dict)
    risk_flags: Mapping[UUID, Open | Closed] = field(default_factory=dict)


def therapy(measures: Measures, modalities: Set[str]) -> Decider[Care, TherapyCommand, TherapyFact]:
    """The decider: which questionnaires and which kinds of therapy there are is clinical knowledge, passed in."""
    return Decider(initial=Care(), decide=partial(decide, measures, modalities), evolve=evolve)


def decide(measures: Measures, modalities: Set[str], care: Care, ask: Ask[TherapyCommand]) -> list[TherapyFact]:
    command = ask.command
    if isinstance(command, NotePatient):
        return note(care, command)
    if care.noted is None:
        raise Rejected(
            "not_yet_known",
            "Therapy has not heard of this patient. Check the id, or repeat with after= and the enrolment's position.",
        )
    match command:
        case StartTherapy():
            return start(care, command, ask, modalities)
        case CompleteSession():
            return complete(care, care.noted, command, ask)
        case RecordMeasure():
            return record(care, command, ask, measures)
        case CloseRiskFlag():
            return close(care, command)
        case _:
            assert_never(command)


def note(care: Care, command: NotePatient) -> list[TherapyFact]:
    """Only what is decided by here is noted."""
    if not isinstance(command.noted, BirthDateNoted) or command.noted == care.noted:
        return []
    return [PatientNoted(noted=command.noted)]


def start(care: Care, command: StartTherapy, ask: Ask[TherapyCommand], modalities: Set[str]) -> list[TherapyFact]:
    started = TherapyStarted(
        episode_id=command.episode_id or ask.new_id("therapy-episode"),
        modality=command.modality,
        therapist=command.therapist or ask.actor,
        planned_sessions=command.planned_sessions,
        sessions_per_month=command.sessions_per_month,
    )
    if known := care.episodes.get(started.episode_id):
        if known == started:
            return []
        raise Rejected(
            "episode_id_already_used", "This id is another course of therapy's. Start this one under its own."
        )
    if command.modality not in modalities:
        raise Rejected("modality_unknown", f"Name the modality as one of: {', '.join(sorted(modalities))}.")
    return [started]


def complete(
    care: Care, noted: BirthDateNoted, command: CompleteSession, ask: Ask[TherapyCommand]
) -> list[TherapyFact]:
    episode = care.episodes.get(command.episode_id)
    if episode is None:
        raise Rejected("episode_unknown", "No course of therapy of this patient has this id; start one, or look it up.")
    completed = SessionCompleted(
        **{
            **dict(command),
            "session_id": command.session_id or ask.new_id("therapy-session"),
            "modality": episode.modality,
        }
    )
    if known := care.sessions.get(completed.session_id):
        if known == told(completed):
            return []
        raise Rejected("session_id_already_used", "This id is another session's. Record this one under a new id.")
    if command.ended_at <= command.started_at:
        raise Rejected("session_ends_before_it_starts", "The session ends before it starts; check both times.")
    if command.ended_at > ask.now:
        raise Rejected("session_in_future", "The session ends in the future; record it once it has taken place.")
    if command.ended_at - command.started_at > SESSION_MAX:
        raise Rejected("session_too_long", "The session lasts over 12 hours; check the times, or record each part.")
    if command.started_at.date() < noted.birth_date:
        raise Rejected("session_before_birth", "The session lies before the patient's birth; check its date.")
    if (command.format == "group") != (command.group_session_id is not None):
        raise Rejected("group_session_unclear", "A group session, and no other, carries the group session's id.")
    return [completed]


def record(care: Care, command: RecordMeasure, ask: Ask[TherapyCommand], measures: Measures) -> list[TherapyFact]:
    measure = measures.get(command.measure)
    if measure is None:
        raise Rejected("measure_unknown", f"Name the measure as one of: {', '.join(sorted(OFFERED))}.")
    if measure.name not in OFFERED:
        raise Rejected(
            "measure_not_offered", f"{measure.name} cannot be scored yet. So far: {', '.join(sorted(OFFERED))}."
        )
    answers = valid(measure, command)
    score = total(measure, answers)
    recorded = MeasureRecorded(
        measure_record_id=command.measure_record_id or ask.new_id("measure"),
        measure=measure.name,
        answers=answers,
        total=score,
        band=band(measure, score),
        scoring=measure.scoring,
        loinc=measure.loinc_total,
        answered_by=command.answered_by,
        mode=command.mode,
        language=command.language,
    )
    if known := care.measures.get(recorded.measure_record_id):
        if known == told(recorded):
            return []
        raise Rejected("measure_record_id_already_used", "This id is another form's. Record this one under a new id.")
    raised = [
        RiskFlagRaised(
            flag_id=uuid5(recorded.measure_record_id, flag.rule.rule_id),  # Known to whoever knows the form.
            tier=TIERS[flag.rule.rule_id],
            measure=measure.name,
            item=flag.item,
            measure_record_id=recorded.measure_record_id,
            rule=flag.rule,
        )
        for flag in flags(measure, answers)
    ]
    return [recorded, *raised]


def valid(measure: Measure, command: RecordMeasure) -> tuple[ItemAnswer, ...]:
    """The answers in order of their items. Raises Rejected for the first thing that the form cannot say."""
    if not command.answers:
        raise Rejected("no_answers", "No item is answered; leave the form out, or send the answers it has.")
    if unknown := sorted({answer.item for answer in command.answers if not 1 <= answer.item <= measure.items}):
        raise Rejected("item_unknown", f"{measure.name} has items 1 to {measure.items}, no item {unknown[0]}.")
    twice = sorted(item for item, times in Counter(answer.item for answer in command.answers).items() if times > 1)
    if twice:
        raise Rejected("item_answered_twice", f"Item {twice[0]} is answered twice; send the answer that is meant.")
    for answer in command.answers:
        if not measure.item_min <= answer.value <= measure.item_max:
            raise Rejected(
                "answer_out_of_range",
                f"Item {answer.item} of {measure.name} is scored {measure.item_min} to {measure.item_max}.",
            )
    answers = tuple(
        ItemAnswer(item=answer.item, value=answer.value) for answer in sorted(command.answers, key=lambda a: a.item)
    )
    if command.total is not None and command.total != total(measure, answers):
        raise Rejected(
            "total_does_not_match",
            "The total is not that of the answers; check both, or leave the total out (an incomplete form has none).",
        )
    return answers


def told(fact: SessionCompleted | MeasureRecorded) -> bytes:
    """A digest of what somebody told, without what the rules of the day made of it: those may be newer by now.

    Sessions and forms grow with a patient's history, so that their digests stay in memory and not they.
    """
    return sha256(fact.model_dump_json(exclude={"total", "band", "scoring", "loinc"}).encode()).digest()


def close(care: Care, command: CloseRiskFlag) -> list[TherapyFact]:
    closed = RiskFlagClosed(flag_id=command.flag_id, safety_action=command.safety_action, text=command.text)
    match care.risk_flags.get(command.flag_id):
        case None:
            raise Rejected("risk_flag_unknown", "No risk flag of this patient has this id; look it up and try again.")
        case Open():
            return [closed]
        case Closed(closed=known) if known == closed:
            return []
        case _:
            raise Rejected(
                "risk_flag_already_closed", "Another safety action closed this flag; record a contact instead."
            )


def evolve(care: Care, event: Event[TherapyFact]) -> Care:  # noqa: PLR0911 (one branch a fact)
    match event.fact:
        case PatientNoted(noted=BirthDateNoted() as noted):
            return replace(care, noted=noted)
        case PatientNoted():
            return care
        case TherapyStarted(episode_id=id) as fact:
            return replace(care, episodes={**care.episodes, id: fact})
        case SessionCompleted(session_id=id) as fact:
            return replace(care, sessions={**care.sessions, id: told(fact)})
        case MeasureRecorded(measure_record_id=id) as fact:
            return replace(care, measures={**care.measures, id: told(fact)})
        case RiskFlagRaised(flag_id=id):
            return replace(care, risk_flags={**care.risk_flags, id: Open()})
        case RiskFlagClosed(flag_id=id) as fact:
            return replace(care, risk_flags={**care.risk_flags, id: Closed(fact)})
        case _:
            assert_never(event.fact)
