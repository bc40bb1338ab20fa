"""Tells one patient's facts: keeps the time, draws the ids, remembers what is open."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid5

from contracts import topics
from contracts.clinical import (
    RuleRef,
)
from contracts.fact import Fact
from contracts.topics import Topic

BEGAN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
PLACES = UUID("7a0de000-0000-4000-8000-000000000001")  # The namespace of every id in an invented history.

TOPIC_OF: Mapping[str, Topic] = {
    "/patients": topics.PATIENTS,
    "/prescribing": topics.PRESCRIBING,
    "/therapy": topics.THERAPY,
    "/scheduling": topics.SCHEDULING,
    "/notifications": topics.NOTIFICATIONS,
}
GIVEN_NAMES = ("Ana", "Bo", "Chidi", "Dara", "Emre", "Fatou", "Grace", "Hiro", "Ines", "Jonas", "Kavya", "Luis")
FAMILY_NAMES = ("Ferreira", "Lindqvist", "Okafor", "Brandt", "Tanaka", "Moreau", "Nowak", "Silva", "Haddad", "Reyes")
ZONES = ("Europe/Lisbon", "America/New_York", "Asia/Kolkata", "Australia/Sydney")
CLINICS = ("riverside", "hillside", "harbour")
SUBSTANCES = (("penicillin", "7980"), ("latex", None), ("sulfamethoxazole", "10180"))
CONDITIONS = (("F33.1", "recurrent depressive episode, moderate"), ("F41.1", "generalised anxiety disorder"))
MEDICINES = (
    ("sertraline", "36437", "ssri", (25, 50, 75, 100, 150)),
    ("lithium", "6448", "mood_stabiliser", (300, 600, 900)),
    ("clozapine", "2626", "antipsychotic", (Decimal("12.5"), 25, 50, 100)),
    ("trazodone", "10737", "other_antidepressant", (50, 100)),
)
SCORING = RuleRef(rule_id="PHQ-9", version="1")
FIRST_REVIEW = RuleRef(rule_id="FU-AD-FIRST-STD", version="2")
ITEM_9 = RuleRef(rule_id="FU-SAFETY-ITEM9", version="2", unverified=True)
BANDS = ((20, "severe"), (15, "moderately severe"), (10, "moderate"), (5, "mild"), (0, "none"))


@dataclass(frozen=True)
class Told:
    """A fact before it has its place: who told it, of whom, when."""

    source: str
    key: str
    fact: Fact
    id: UUID
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    role: str
    correlation_id: UUID
    causation_id: UUID | None


class Telling:
    """Tells one patient's facts: keeps the time, draws the ids, remembers what is open."""

    def __init__(self, seed: int, n: int) -> None:
        self.random = Random(f"{seed}/{n}")
        self.patient = patient_id(seed, n)
        self.now = BEGAN + timedelta(days=self.random.randrange(14), minutes=self.random.randrange(600))
        self.number = 0
        group = n // 40  # A clinician's caseload.
        self.prescriber = str(uuid5(PLACES, f"{seed}/prescriber/{group}"))
        self.therapist = str(uuid5(PLACES, f"{seed}/therapist/{group}"))
        self.nurse = str(uuid5(PLACES, f"{seed}/nurse/{group}"))
        self.clinic = CLINICS[group % len(CLINICS)]
        self.cause: UUID | None = None
        self.born = BEGAN.date()
        self.zone = self.random.choice(ZONES)
        self.approach = "active_monitoring"
        self.score = self.random.randrange(12, 24)
        self.address = f"p{self.random.randrange(10_000)}@mail.example"
        self.consent: UUID | None = None
        self.contact_point: UUID | None = None
        self.episode: UUID | None = None
        self.allergies: list[tuple[UUID, str, str | None, Any]] = []
        self.conditions: list[tuple[UUID, str]] = []
        self.orders: dict[UUID, Any] = {}
        self.owed: dict[UUID, Any] = {}
        self.flags: list[UUID] = []

    def new_id(self, name: str) -> UUID:
        self.number += 1
        return uuid5(self.patient, f"{name}/{self.number}")

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def later(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def tell(
        self,
        source: str,
        fact: Fact,
        *,
        actor: str | None = None,
        role: str = "prescriber",
        late_by: timedelta = timedelta(0),
        cause: UUID | None = None,
        key: str | None = None,
    ) -> Told:
        """The fact, recorded a little later than the one before; `late_by` sets back when it occurred."""
        self.now += timedelta(milliseconds=self.random.randrange(3, 40))
        id = self.new_id(fact.TYPE)
        self.cause = id
        return Told(
            source=source,
            key=key or str(self.patient),
            fact=fact,
            id=id,
            occurred_at=self.now - late_by,
            recorded_at=self.now,
            actor=actor or self.prescriber,
            role=role,
            correlation_id=uuid5(self.patient, f"thread/{self.number}"),
            causation_id=cause,
        )


def patient_id(seed: int, n: int) -> UUID:
    """The id of the n-th patient of a seed's history."""
    return uuid5(PLACES, f"{seed}/patient/{n}")
