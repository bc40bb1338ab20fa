"""One patient's care as one bounded document, a section for each source that tells of it.

A section holds what is true now and the last few of a kind; what grows is rows of the timeline. Nothing here
depends on the moment of reading: due dates are stored, *overdue* is asked when the view is presented.
"""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import field

from .parts import (
    Allergy,
    Appointment,
    Approach,
    Closed,
    ClosedFlag,
    Condition,
    Consent,
    Contact,
    ContactPoint,
    Ended,
    Episode,
    Flag,
    Identity,
    Line,
    Member,
    Message,
    Obligation,
    Override,
    Part,
    Refuted,
    Resolved,
    Review,
    Score,
    Session,
)


class Section(Part, frozen=True):
    """What one source tells. `recorded_at` is that of its last fact; None: nothing heard of it yet."""

    recorded_at: datetime | None = None


class Patient(Section, frozen=True):
    """By patients."""

    identity: Identity | None = None
    allergies: dict[UUID, Allergy] = field(default_factory=dict)
    refuted: tuple[Refuted, ...] = ()
    conditions: dict[UUID, Condition] = field(default_factory=dict)
    resolved: tuple[Resolved, ...] = ()
    approaches: tuple[Approach, ...] = ()  # Oldest first; the last one holds.
    contact_points: dict[UUID, ContactPoint] = field(default_factory=dict)
    team: tuple[Member, ...] = ()
    released: tuple[Member, ...] = ()
    consents: dict[UUID, Consent] = field(default_factory=dict)
    withdrawn: tuple[Consent, ...] = ()


class Medications(Section, frozen=True):
    """By prescribing."""

    active: dict[UUID, Line] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    overrides: dict[UUID, tuple[Override, ...]] = field(
        default_factory=dict
    )  # By order: a warning may be written before its order.
    reviews: tuple[Review, ...] = ()


class Therapy(Section, frozen=True):
    """By therapy."""

    episodes: dict[UUID, Episode] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    session_days: tuple[datetime, ...] = ()
    scores: dict[str, tuple[Score, ...]] = field(default_factory=dict)  # By measure, in order of when it was answered.
    flags: dict[UUID, Flag] = field(default_factory=dict)
    closed_flags: tuple[ClosedFlag, ...] = ()


class FollowUps(Section, frozen=True):
    """By scheduling."""

    open: dict[UUID, Obligation] = field(default_factory=dict)
    closed: tuple[Closed, ...] = ()
    appointments: tuple[Appointment, ...] = ()  # By start: all that were ahead at the last booking, a few before.
    contacts: tuple[Contact, ...] = ()


class Messages(Section, frozen=True):
    """By notifications: the last few, by message, in the order in which they were asked for."""

    last: dict[UUID, Message] = field(default_factory=dict)


class CareView(Part, frozen=True):
    """The joined view of one patient. Each source writes its own section and sees no other."""

    patient: Patient = Patient()
    medications: Medications = Medications()
    therapy: Therapy = Therapy()
    follow_ups: FollowUps = FollowUps()
    messages: Messages = Messages()


NOTHING_KNOWN = CareView()
encode = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical").encode
decode = msgspec.json.Decoder(CareView).decode
