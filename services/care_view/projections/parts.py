"""The pieces that a patient's document is made of, and how many of each are kept.

A time that a piece holds is one of the world (when it happened), unless its name says *recorded*.
"""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

# Each bound is what a page can show of one kind without a second look; the timeline has the rest.
CHANGES_KEPT = 8  # Dose steps of one order: more than a titration to the usual range takes.
OVERRIDES_KEPT = 5
ENDED_KEPT = 5
REVIEWS_KEPT = 3
SESSIONS_KEPT = 6
SESSION_DAYS_KEPT = 40  # Marks on the time axis: most of a year of weekly sessions.
SCORES_KEPT = 24  # Of one measure: most of a year at one every two weeks.
CLOSED_KEPT = 5  # Allergies refuted, conditions resolved, flags closed, follow-ups ended, consents withdrawn.
RELEASED_KEPT = 10  # Former members of the team: the timeline still names them.
APPROACHES_KEPT = 3
PAST_APPOINTMENTS_KEPT = 5
CONTACTS_KEPT = 5
MESSAGES_KEPT = 8


class Part(msgspec.Struct, frozen=True, gc=False):
    """A piece of the document: a value, never part of a cycle (so the collector need not watch it)."""


class Allergy(Part, frozen=True):
    """An allergy or intolerance on record."""

    kind: str
    substance: str
    reaction: str
    severity: str
    recorded_at: datetime


class Refuted(Part, frozen=True):
    """What was on record as an allergy and turned out not to be one."""

    substance: str
    reason: str
    refuted_at: datetime


class Condition(Part, frozen=True):
    """A diagnosis on record."""

    icd10cm: str
    label: str
    diagnosed_by: str
    onset_on: date | None = None


class Resolved(Part, frozen=True):
    """A diagnosis that no longer holds."""

    icd10cm: str
    label: str
    resolved_on: date


class ContactPoint(Part, frozen=True):
    """How the patient may be reached."""

    channel: str
    address: str
    preferred: bool
    confidential: bool
    privacy_level: str


class Member(Part, frozen=True):
    """One person of the care team in one role; both days are counted."""

    person: str
    name: str
    role: str
    clinic: str
    from_on: date
    until_on: date | None = None


class Consent(Part, frozen=True):
    """A consent in force, or one that was taken back."""

    scope: str
    granted_at: datetime
    address: str | None = None
    purposes: tuple[str, ...] = ()
    withdrawn_at: datetime | None = None


class Approach(Part, frozen=True):
    """How patient and clinician chose to treat, and why."""

    approach: str
    reason: str
    chosen_at: datetime
    decided_together: bool
    alternatives: tuple[str, ...] = ()
    preference: str | None = None
    target_measure: str | None = None


class Identity(Part, frozen=True):
    """Who the patient is, as enrolled."""

    family_name: str
    given_name: str
    birth_date: date
    sex: str
    language: str
    interpreter_needed: bool
    time_zone: str
    clinic: str
    record_number: str
    enrolled_at: datetime


class Regimen(Part, frozen=True):
    """A dose and how often it is taken: `times` in every `period_days` days."""

    amount: Decimal
    unit: str
    times: int = 1
    period_days: int = 1
    as_needed: bool = False


class Change(Part, frozen=True):
    """One change of dose, the old beside the new."""

    at: datetime
    before: Regimen
    after: Regimen
    direction: str
    reason: str
    by: str


class Override(Part, frozen=True):
    """A warning that a prescriber went on against, with the reason given."""

    at: datetime
    rule_id: str
    version: str
    severity: str
    reason_code: str
    text: str
    by: str
    unverified: bool = False


class Line(Part, frozen=True):
    """A medicine that the patient is to take."""

    medication: str
    regimen: Regimen
    route: str
    indication: str
    since: datetime
    by: str
    days_supply: int
    refills: int
    changes: tuple[Change, ...] = ()


class Ended(Part, frozen=True):
    """A medicine that was stopped, with the course it took."""

    order_id: UUID
    line: Line
    last_dose_on: date
    ended_at: datetime
    reason: str
    overrides: tuple[Override, ...] = ()


class Review(Part, frozen=True):
    """A medication review: effect, side effects, risk, what was decided of each order."""

    at: datetime
    by: str
    contact: str
    effectiveness: str
    tolerability: str
    risk_asked: bool
    risk_clinically_important: bool | None = None
    next_review_on: date | None = None
    decisions: dict[UUID, str] = {}


class Episode(Part, frozen=True):
    """A course of therapy and how far it has come."""

    modality: str
    therapist: str
    planned_sessions: int
    sessions_per_month: int
    started_at: datetime
    held: int = 0


class Session(Part, frozen=True):
    """A session that took place, as far as both disciplines may read of it."""

    started_at: datetime
    minutes: int
    kind: str
    modality: str
    format: str
    remote: bool
    by: str
    interventions: tuple[str, ...] = ()
    plan_summary: str | None = None
    medication_talked_about: tuple[str, ...] = ()


class Score(Part, frozen=True):
    """One answered questionnaire; an incomplete one has no total and no band."""

    at: datetime
    total: int | None = None
    band: str | None = None


class Flag(Part, frozen=True):
    """A risk flag that no safety action has closed."""

    tier: str
    measure: str
    item: int
    raised_at: datetime
    rule_id: str
    version: str
    unverified: bool = False


class ClosedFlag(Part, frozen=True):
    """A risk flag and the safety action that closed it."""

    tier: str
    raised_at: datetime
    closed_at: datetime
    safety_action: str
    text: str
    by: str


class Obligation(Part, frozen=True):
    """What is owed to the patient, by when, and the rule that says so."""

    kind: str
    window_from_on: date
    due_on: date
    overdue_after_on: date
    due_at: datetime
    overdue_at: datetime
    owner_role: str
    rule_id: str
    version: str
    cause: UUID
    unverified: bool = False
    order_id: UUID | None = None


class Closed(Part, frozen=True):
    """An obligation that is no longer owed: fulfilled, or withdrawn for a reason. `by` is the event that ended it."""

    kind: str
    due_on: date
    overdue_at: datetime
    closed_at: datetime
    how: str
    rule_id: str
    by: UUID


class Appointment(Part, frozen=True):
    """A visit that is agreed, also as the wall time the patient was told."""

    appointment_id: UUID
    kind: str
    clinician: str
    role: str
    starts_at: datetime
    wall_time: str
    time_zone: str
    minutes: int
    remote: bool
    place: str | None = None
    serves: tuple[UUID, ...] = ()


class Contact(Part, frozen=True):
    """Somebody of the team spoke with the patient, or tried to."""

    at: datetime
    by: str
    channel: str
    reached: bool
    risk_asked: bool
    minutes: int | None = None


class Message(Part, frozen=True):
    """A message to the patient and what became of it; never its text."""

    purpose: str
    channel: str
    about: UUID
    state: str  # queued, sent, failed, suppressed.
    at: datetime
    not_before: datetime
    reason: str | None = None
    will_retry: bool = False
