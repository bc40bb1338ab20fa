"""Codes as a clinician would say them. A code without a word of its own is shown with its underscores as spaces."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

ROUTES: Mapping[str, str] = {
    "oral": "by mouth",
    "sublingual": "under the tongue",
    "nasal": "into the nose",
    "transdermal": "through the skin",
    "intramuscular": "into the muscle",
    "subcutaneous": "under the skin",
}
APPROACHES: Mapping[str, str] = {
    "medication": "medication alone",
    "psychotherapy": "psychotherapy alone",
    "combined": "medication and psychotherapy together",
    "active_monitoring": "active monitoring, no treatment for now",
    "declined": "treatment declined",
}
STOPPED_FOR: Mapping[str, str] = {
    "remission": "well again",
    "no_response": "no response",
    "side_effect": "a side effect",
    "interaction": "an interaction",
    "pregnancy": "pregnancy",
    "patient_choice": "the patient's choice",
    "error": "ordered in error",
    "other": "another reason",
}
SAFETY_ACTIONS: Mapping[str, str] = {
    "safety_plan_agreed": "a safety plan was agreed",
    "means_restricted": "access to means was restricted",
    "crisis_contact_made": "the patient was reached by the crisis contact",
    "emergency_assessment_arranged": "an emergency assessment was arranged",
    "admission_arranged": "an admission was arranged",
}
ENDED_AS: Mapping[str, str] = {
    "fulfilled": "done",
    "superseded": "replaced by a newer one",
    "cause_ended": "no longer owed: its cause ended",
    "cause_corrected": "no longer owed: its cause was corrected",
}
CHANNELS: Mapping[str, str] = {"sms": "text message", "email": "e-mail", "voice": "call", "post": "letter"}
FOLLOW_UPS: Mapping[str, str] = {
    "lab": "laboratory test",
    "measure": "questionnaire",
    "post_discharge": "contact after discharge",
    "risk": "safety assessment",
    "answer": "answer to a concern",
    "session": "therapy session",
}


class Amount(Protocol):
    """A quantity with its unit."""

    @property
    def amount(self) -> Decimal: ...
    @property
    def unit(self) -> str: ...


class Frequency(Protocol):
    """`times` in every `period_days` days."""

    @property
    def times(self) -> int: ...
    @property
    def period_days(self) -> int: ...
    @property
    def as_needed(self) -> bool: ...


def said(code: str, words: Mapping[str, str] | None = None) -> str:
    """The word for a code."""
    return (words or {}).get(code) or code.replace("_", " ")


def dose(given: Amount) -> str:
    """`50 mg`, without the zeros that only a column of figures needs."""
    amount = given.amount.normalize()
    return f"{amount:f} {given.unit}"


def frequency(given: Frequency) -> str:
    """`twice a day`, `once every 2 weeks`."""
    times = {1: "once", 2: "twice"}.get(given.times, f"{given.times} times")
    days = given.period_days
    match days:
        case 1:
            period = "a day"
        case 7:
            period = "a week"
        case _ if days % 7 == 0:
            period = f"every {days // 7} weeks"
        case _:
            period = f"every {days} days"
    return f"as needed, at most {times} {period}" if given.as_needed else f"{times} {period}"


def day(on: date | datetime) -> str:
    """`5 Mar 2026`: the month in letters, so that nobody takes it for the day."""
    return f"{on.day} {on:%b %Y}"


def wall(time: str) -> str:
    """A wall time as the patient was told it; as it stands when it is not ISO 8601, for a fold never fails."""
    try:
        told = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{day(told)} {told:%H:%M}"


def zone(name: str) -> str:
    """`New York time`, of the zone's IANA name."""
    return f"{name.rpartition('/')[2].replace('_', ' ')} time"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
