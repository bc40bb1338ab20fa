"""By therapy: the course of it, the last sessions, the scores over time, what worries."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from contracts.event import Event
from contracts.fact import Fact
from contracts.therapy import MeasureRecorded, RiskFlagClosed, RiskFlagRaised, SessionCompleted, TherapyStarted

from .bounded import in_order, latest, without
from .document import Therapy
from .parts import CLOSED_KEPT, SCORES_KEPT, SESSION_DAYS_KEPT, SESSIONS_KEPT, ClosedFlag, Episode, Flag, Score, Session


def course(now: Therapy, event: Event[Fact]) -> Therapy:
    match event.fact:
        case TherapyStarted() as fact:
            return replace(now, episodes={**now.episodes, fact.episode_id: begun(event, fact)})
        case SessionCompleted() as fact:
            return hold(now, event, fact)
        case MeasureRecorded(measure=measure, total=total, band=band):
            series = latest(now.scores.get(measure, ()), Score(event.occurred_at, total, band), SCORES_KEPT)
            return replace(now, scores={**now.scores, measure: series})
        case RiskFlagRaised() as fact:
            return replace(now, flags={**now.flags, fact.flag_id: raised(event, fact)})
        case RiskFlagClosed() as fact:
            return close(now, event, fact)
        case _:  # PatientNoted: patients' own section has it.
            return now


def begun(event: Event[Fact], fact: TherapyStarted) -> Episode:
    return Episode(
        modality=fact.modality,
        therapist=fact.therapist,
        planned_sessions=fact.planned_sessions,
        sessions_per_month=fact.sessions_per_month,
        started_at=event.occurred_at,
    )


def hold(now: Therapy, event: Event[Fact], fact: SessionCompleted) -> Therapy:
    session = Session(
        started_at=fact.started_at,
        minutes=(fact.ended_at - fact.started_at) // timedelta(minutes=1),
        kind=fact.kind,
        modality=fact.modality,
        format=fact.format,
        remote=fact.remote,
        by=event.actor,
        interventions=fact.interventions,
        plan_summary=fact.plan_summary,
        medication_talked_about=fact.medication_talked_about,
    )
    episodes = now.episodes
    if episode := episodes.get(fact.episode_id):
        episodes = {**episodes, fact.episode_id: replace(episode, held=episode.held + 1)}
    return replace(
        now,
        episodes=episodes,
        sessions=in_order((*now.sessions, session), started)[-SESSIONS_KEPT:],
        session_days=in_order((*now.session_days, fact.started_at), itself)[-SESSION_DAYS_KEPT:],
    )


def raised(event: Event[Fact], fact: RiskFlagRaised) -> Flag:
    return Flag(
        tier=fact.tier,
        measure=fact.measure,
        item=fact.item,
        raised_at=event.occurred_at,
        rule_id=fact.rule.rule_id,
        version=fact.rule.version,
        unverified=fact.rule.unverified,
    )


def close(now: Therapy, event: Event[Fact], fact: RiskFlagClosed) -> Therapy:
    if (was := now.flags.get(fact.flag_id)) is None:
        return now
    closed = ClosedFlag(
        tier=was.tier,
        raised_at=was.raised_at,
        closed_at=event.occurred_at,
        safety_action=fact.safety_action,
        text=fact.text,
        by=event.actor,
    )
    return replace(
        now,
        flags=without(now.flags, fact.flag_id),
        closed_flags=(*now.closed_flags, closed)[-CLOSED_KEPT:],
    )


def started(session: Session) -> datetime:
    return session.started_at


def itself(moment: datetime) -> datetime:
    return moment
