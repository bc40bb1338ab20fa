"""Seeded histories of whole care: real facts of every topic, chained as the services chain them.

The same seed gives the same bytes, on every machine and in any time zone. Each patient's months are told by one
generator; they are merged by recorded time, so that patients, sources and readers interleave as they would, and only
then numbered and hashed, for a person who looks at records has one chain over all patients.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from heapq import merge
from operator import attrgetter
from random import Random
from typing import Any
from uuid import UUID, uuid5

from contracts import access, notifications, patients, prescribing, scheduling, therapy, topics
from contracts.clinical import (
    AllergyNoted,
    BirthDateNoted,
    Check,
    ConditionNoted,
    Dose,
    Medication,
    Noted,
    RiskFlagNoted,
    RuleRef,
    Schedule,
    TimeZoneNoted,
)
from contracts.event import CONTENT_TYPE, NO_HASH, Event, attributes, chained
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


@dataclass(frozen=True)
class Record:
    """A fact as it is published: its topic, its headers, its exact bytes, and the event they make."""

    topic: Topic
    headers: Mapping[str, str]
    value: bytes
    event: Event[Fact]


def history(seed: int, *, count: int, weeks: int = 26, reads: bool = True) -> Iterator[Record]:
    """`count` patients, each over `weeks`, in order of recorded time; about six facts a patient and week.

    `reads` adds who looked (`access.events`); the histories of the patients are the same with and without.
    """
    return published(merge(*(care(seed, n, weeks, reads) for n in range(count)), key=attrgetter("recorded_at")))


def patient_id(seed: int, n: int) -> UUID:
    """The id of the n-th patient of a seed's history."""
    return uuid5(PLACES, f"{seed}/patient/{n}")


def published(told: Iterator[Told]) -> Iterator[Record]:
    """Numbered and chained in the order given."""
    heads: dict[tuple[str, str], tuple[int, bytes]] = {}
    for one in told:
        sequence, previous = heads.get((one.source, one.key), (0, NO_HASH))
        record = next_of(one, sequence + 1, previous)
        heads[one.source, one.key] = sequence + 1, record.event.hash
        yield record


def next_of(told: Told, sequence: int, previous: bytes) -> Record:
    """One fact at its place in its chain."""
    common: dict[str, Any] = {
        "id": told.id,
        "source": told.source,
        "key": told.key,
        "sequence": sequence,
        "occurred_at": told.occurred_at,
        "recorded_at": told.recorded_at,
        "actor": told.actor,
        "actor_role": told.role,
        "reason": "TREAT",
        "correlation_id": told.correlation_id,
        "causation_id": told.causation_id,
        "on_behalf_of": None,
    }
    value = told.fact.model_dump_json().encode()
    named = {**attributes(told.fact, **common), "content-type": CONTENT_TYPE}
    found = chained(previous, named, value)
    return Record(
        topic=TOPIC_OF.get(told.source, topics.ACCESS),
        headers={**named, "ce_hash": found.hex()},
        value=value,
        event=Event(fact=told.fact, hash=found, **common),
    )


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


def care(seed: int, n: int, weeks: int, reads: bool) -> Iterator[Told]:
    """One patient's months, in order of recorded time."""
    telling = Telling(seed, n)
    looks = Random(f"{seed}/{n}/reads")  # Apart from the rest, so that reads change nothing else.
    for fact in (*begins(telling), *(fact for week in range(weeks) for fact in one_week(telling, week, weeks))):
        yield fact
        if reads and looks.random() < 0.2:
            yield look(telling, fact, looks)


def look(telling: Telling, after: Told, random: Random) -> Told:
    """Somebody looks, is refused, or acts on the system, a moment after another fact."""
    kind = random.random()
    person, role = random.choice([(telling.prescriber, "prescriber"), (telling.therapist, "therapist")])
    source = "/care_view/access"
    if kind < 0.9:
        what = random.choice(["care_view.patient", "care_view.timeline"])
        fact: Fact = access.RecordRead(what=what, patients=(telling.patient,))
    elif kind < 0.97:
        person, role = telling.nurse, "nurse"
        fact = access.AccessRefused(what="care_view.patient", rule="team", patients=(telling.patient,))
    else:
        person, role, source = str(uuid5(PLACES, "operator")), "operator", "/audit/access"
        fact = access.OperatorActed(command="audit.verify", arguments=(), why="nightly check")
    return Told(
        source=source,
        key=person,
        fact=fact,
        id=uuid5(after.id, "look"),
        occurred_at=after.recorded_at,
        recorded_at=after.recorded_at,
        actor=person,
        role=role,
        correlation_id=uuid5(after.id, "look/thread"),
        causation_id=None,
    )


def begins(telling: Telling) -> Iterator[Told]:
    """Enrolment, what is known, who cares, what was agreed."""
    random = telling.random
    born = date(random.randrange(1945, 2008), random.randrange(1, 13), random.randrange(1, 29))
    telling.born = born
    sex = random.choice(["female", "male", "other"])
    clerk: Any = {"actor": str(uuid5(PLACES, "clerk")), "role": "clerk"}
    yield telling.tell(
        "/patients",
        patients.PatientEnrolled(
            family_name=random.choice(FAMILY_NAMES),
            given_name=random.choice(GIVEN_NAMES),
            birth_date=born,
            sex=sex,
            language=random.choice(["en", "pt", "es-419"]),
            interpreter_needed=telling.chance(0.1),
            time_zone=telling.zone,
            clinic=telling.clinic,
            record_number=f"{telling.clinic[:2].upper()}-{random.randrange(10_000, 99_999)}",
        ),
        **clerk,
    )
    yield from noted_by_all(telling, BirthDateNoted(birth_date=born, sex=sex))
    yield noted_by_scheduling(telling, TimeZoneNoted(time_zone=telling.zone, clinic=telling.clinic))
    for person, name, role in (
        (telling.prescriber, "L. Brandt", "prescriber"),
        (telling.therapist, "R. Okafor", "therapist"),
        (telling.nurse, "M. Ilves", "nurse"),
    ):
        yield telling.tell(
            "/patients",
            patients.CareTeamMemberAssigned(
                person=person, name=name, role=role, clinic=telling.clinic, from_on=telling.now.date()
            ),
            actor=str(uuid5(PLACES, "supervisor")),
            role="supervisor",
        )
    for _ in range(random.choice([0, 0, 1, 2])):
        yield from allergy(telling)
    for code, label in random.sample(CONDITIONS, random.choice([1, 1, 2])):
        condition_id = telling.new_id("condition")
        telling.conditions.append((condition_id, code))
        yield telling.tell(
            "/patients",
            patients.ConditionRecorded(
                condition_id=condition_id, icd10cm=code, label=label, diagnosed_by=telling.prescriber
            ),
            late_by=timedelta(days=random.randrange(3)),
        )
        yield from noted_by_all(telling, ConditionNoted(condition_id=condition_id, icd10cm=code, active=True))
    telling.contact_point = telling.new_id("contact point")
    yield telling.tell(
        "/patients",
        patients.ContactPointSet(
            contact_point_id=telling.contact_point,
            channel="email",
            address=telling.address,
            preferred=True,
            confidential=telling.chance(0.2),
        ),
        **clerk,
    )
    yield from consents(telling)
    approach = random.choice(["combined", "combined", "medication", "psychotherapy", "active_monitoring"])
    telling.approach = approach
    yield telling.tell("/patients", chosen(approach, telling.chance(0.5)))
    if approach in {"combined", "psychotherapy"}:
        telling.episode = telling.new_id("episode")
        yield telling.tell(
            "/therapy",
            therapy.TherapyStarted(
                episode_id=telling.episode,
                modality="CBT",
                therapist=telling.therapist,
                planned_sessions=20,
                sessions_per_month=4,
            ),
            actor=telling.therapist,
            role="therapist",
        )


def chosen(approach: Any, together: bool) -> patients.TreatmentApproachChosen:
    return patients.TreatmentApproachChosen(
        approach=approach,
        reason="Moderate to severe; wishes to understand what keeps it going.",
        alternatives=("medication alone", "watchful waiting") if together else (),
        preference="talking as well as tablets" if together else None,
        decided_together=together,
        target_measure="PHQ-9",
    )


def allergy(telling: Telling) -> Iterator[Told]:
    random = telling.random
    substance, rxcui = random.choice(SUBSTANCES)
    allergy_id = telling.new_id("allergy")
    severity = random.choice(["mild", "moderate", "severe"])
    telling.allergies.append((allergy_id, substance, rxcui, severity))
    yield telling.tell(
        "/patients",
        patients.AllergyRecorded(
            allergy_id=allergy_id,
            kind=random.choice(["allergy", "intolerance"]),
            substance=patients.Substance(text=substance, rxcui=rxcui),
            reaction=random.choice(["rash", "swelling of the face", "nausea"]),
            severity=severity,
        ),
    )
    found = AllergyNoted(allergy_id=allergy_id, substance=substance, rxcui=rxcui, severity=severity, active=True)
    yield from noted_by_all(telling, found)


def noted_by_all(telling: Telling, found: Noted) -> Iterator[Told]:
    """Each deciding house takes note of it in its own stream."""
    cause = telling.cause
    facts: dict[str, Fact] = {
        "/prescribing": prescribing.PatientNoted(noted=found),
        "/therapy": therapy.PatientNoted(noted=found),
        "/scheduling": scheduling.PatientNoted(noted=found),
    }
    for house, fact in facts.items():
        yield telling.tell(house, fact, role="service", actor=f"{house[1:]}.reactions", cause=cause)


def noted_by_scheduling(telling: Telling, found: Any) -> Told:
    return telling.tell(
        "/scheduling",
        scheduling.PatientNoted(noted=found),
        role="service",
        actor="scheduling.reactions",
        cause=telling.cause,
    )


def consents(telling: Telling) -> Iterator[Told]:
    telling.consent = telling.new_id("consent")
    yield telling.tell(
        "/patients",
        patients.ConsentGranted(
            consent_id=telling.consent,
            scope="email",
            address=telling.address,
            purposes=("appointment_reminder", "follow_up"),
            wording_version="2026-01",
            how=telling.random.choice(["in_person", "paper", "online"]),
        ),
        actor=str(uuid5(PLACES, "clerk")),
        role="clerk",
    )


def one_week(telling: Telling, week: int, weeks: int) -> Iterator[Told]:
    """What happens in a week: medicines, sessions, scores, what is owed, what is written to the patient."""
    week_ends = telling.now + timedelta(days=7)
    if week == 0 and telling.approach in {"combined", "medication"}:
        yield from prescribe(telling)
    elif telling.orders:
        yield from medicines(telling)
    if telling.episode:
        yield from sessions(telling, week)
    if week % 2 == 0:
        yield from measure(telling, week, weeks)
    yield from owed(telling)
    if telling.chance(0.4):
        yield from visit(telling)
    if telling.chance(0.15):
        yield from seldom(telling)
    telling.now = max(telling.now, week_ends + timedelta(minutes=telling.random.randrange(300)))


def prescribe(telling: Telling) -> Iterator[Told]:
    random = telling.random
    known = {order[0] for order in telling.orders.values()}
    free = [medicine for medicine in MEDICINES if medicine[0] not in known]
    if not free:
        return
    name, rxcui, drug_class, doses = random.choice(free)
    order_id = telling.new_id("order")
    medication = Medication(name=name, rxcui=rxcui, classes=(drug_class,))
    schedule = Schedule(times=random.choice([1, 1, 2]), period_days=random.choice([1, 1, 1, 7]))
    rule = RuleRef(rule_id="IX-SSRI-NSAID", version="1", unverified=True)
    warns = telling.chance(0.3)
    yield telling.tell(
        "/prescribing",
        prescribing.DosePrescribed(
            order_id=order_id,
            medication=medication,
            dose=Dose(amount=Decimal(doses[0]), unit="mg"),
            schedule=schedule,
            route="oral",
            indication="depressive episode",
            days_supply=28,
            refills=random.randrange(4),
            formulary_version="f0rmu1ary",
            checks=(Check(rule=rule, outcome="overridden", message="bleeding with an NSAID"),) if warns else (),
        ),
        late_by=timedelta(days=random.choice([0, 0, 0, 2])),
    )
    cause = telling.cause
    telling.orders[order_id] = (name, medication, schedule, doses, 0)
    yield noted_by_scheduling(
        telling, scheduling.OrderNoted(order_id=order_id, classes=medication.classes, change="started")
    )
    if warns:
        yield telling.tell(
            "/prescribing",
            prescribing.WarningOverridden(
                order_id=order_id,
                rule=rule,
                severity="precaution",
                reason_code="benefit_outweighs_risk",
                text="takes ibuprofen once a month; told of bleeding",
            ),
        )
    yield from plan(telling, "medication_review", order_id, cause, 14)


def medicines(telling: Telling) -> Iterator[Told]:
    random = telling.random
    order_id, (name, medication, schedule, doses, step) = random.choice(list(telling.orders.items()))
    if telling.chance(0.25) and len(doses) > 1:
        after = min(step + 1, len(doses) - 1) if telling.chance(0.75) else max(step - 1, 0)
        if after != step:
            telling.orders[order_id] = (name, medication, schedule, doses, after)
            yield telling.tell(
                "/prescribing",
                prescribing.DoseAdjusted(
                    order_id=order_id,
                    medication=medication,
                    from_dose=Dose(amount=Decimal(doses[step]), unit="mg"),
                    from_schedule=schedule,
                    to_dose=Dose(amount=Decimal(doses[after]), unit="mg"),
                    to_schedule=schedule,
                    direction="raised" if after > step else "lowered",
                    reason=random.choice(["titration", "response"]) if after > step else "tolerability",
                ),
                late_by=timedelta(days=random.choice([0, 0, 3])),
            )
            yield from plan(telling, "medication_review", order_id, telling.cause, 7)
    if telling.chance(0.06):
        del telling.orders[order_id]
        yield telling.tell(
            "/prescribing",
            prescribing.MedicationDiscontinued(
                order_id=order_id,
                medication=medication,
                last_dose_on=telling.now.date() - timedelta(days=random.randrange(5)),
                reason=random.choice(["side_effect", "no_response", "patient_choice", "remission"]),
            ),
        )
        cause = telling.cause
        for obligation_id in [id for id, owed in telling.owed.items() if owed["order_id"] == order_id]:
            del telling.owed[obligation_id]
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpWithdrawn(obligation_id=obligation_id, reason="cause_ended", by=cause),
                role="service",
                actor="scheduling.reactions",
                cause=cause,
            )
    if telling.chance(0.1):
        yield from prescribe(telling)


def sessions(telling: Telling, week: int) -> Iterator[Told]:
    random = telling.random
    if telling.chance(0.2):
        return
    telling.later(days=random.randrange(3), hours=random.randrange(4))
    began = telling.now - timedelta(minutes=50)
    yield telling.tell(
        "/therapy",
        therapy.SessionCompleted(
            session_id=telling.new_id("session"),
            episode_id=telling.episode,
            kind="evaluation" if week == 0 else random.choice(["treatment", "treatment", "treatment", "booster"]),
            started_at=began,
            ended_at=began + timedelta(minutes=random.choice([45, 50, 60])),
            modality="CBT",
            format=random.choice(["individual", "individual", "individual", "group"]),
            group_session_id=None,
            remote=telling.chance(0.4),
            interventions=random.choice([("behavioural_activation",), ("cognitive_restructuring", "homework")]),
            plan_summary=random.choice([None, "Walk with her sister twice a week; activity diary."]),
            medication_talked_about=random.choice([(), (), ("adherence",), ("side_effects", "benefit")]),
        ),
        actor=telling.therapist,
        role="therapist",
        late_by=timedelta(days=random.choice([0, 0, 0, 0, 9])),
    )


def measure(telling: Telling, week: int, weeks: int) -> Iterator[Told]:
    random = telling.random
    drift = -1.2 if week < weeks * 0.7 else 1.0  # Falls for most of the time, then comes back a little.
    telling.score = min(27, max(0, round(telling.score + drift + random.uniform(-2, 2))))
    total = telling.score
    values = [total // 9 + (1 if item < total % 9 else 0) for item in range(9)]
    complete = not telling.chance(0.08)
    answers = [therapy.ItemAnswer(item=item + 1, value=value) for item, value in enumerate(values)]
    if not complete:
        del answers[random.randrange(8)]
    record_id = telling.new_id("measure")
    yield telling.tell(
        "/therapy",
        therapy.MeasureRecorded(
            measure_record_id=record_id,
            measure="PHQ-9",
            answers=tuple(answers),
            total=total if complete else None,
            band=next(band for floor, band in BANDS if total >= floor) if complete else None,
            scoring=SCORING,
            loinc="44261-6" if complete else None,
            answered_by="patient",
            mode=random.choice(["in_person", "remote"]),
            language="en",
        ),
        actor=telling.therapist,
        role="therapist",
        late_by=timedelta(hours=random.choice([0, 0, 30, 0, 0, 400])),
    )
    if values[8] >= 1 and len(telling.flags) < 2:
        flag_id = telling.new_id("flag")
        telling.flags.append(flag_id)
        yield telling.tell(
            "/therapy",
            therapy.RiskFlagRaised(
                flag_id=flag_id, tier="moderate", measure="PHQ-9", item=9, measure_record_id=record_id, rule=ITEM_9
            ),
            actor=telling.therapist,
            role="therapist",
        )
        cause = telling.cause
        for house, fact in (("/prescribing", prescribing.PatientNoted), ("/scheduling", scheduling.PatientNoted)):
            noted = RiskFlagNoted(flag_id=flag_id, tier="moderate", open=True)
            yield telling.tell(house, fact(noted=noted), role="service", actor=f"{house[1:]}.reactions", cause=cause)
    elif telling.flags and telling.chance(0.7):
        yield telling.tell(
            "/therapy",
            therapy.RiskFlagClosed(
                flag_id=telling.flags.pop(0),
                safety_action=random.choice(["safety_plan_agreed", "means_restricted", "crisis_contact_made"]),
                text="Spoke for half an hour; plan written together.",
            ),
            actor=telling.therapist,
            role="therapist",
        )


def plan(telling: Telling, kind: Any, order_id: UUID | None, cause: UUID | None, after_days: int) -> Iterator[Told]:
    """An obligation; an older open one of its kind for the same order is replaced."""
    for obligation_id in [
        id for id, one in telling.owed.items() if one["kind"] == kind and one["order_id"] == order_id
    ]:
        del telling.owed[obligation_id]
        yield telling.tell(
            "/scheduling",
            scheduling.FollowUpWithdrawn(obligation_id=obligation_id, reason="superseded", by=cause or telling.patient),
            role="service",
            actor="scheduling.reactions",
            cause=cause,
        )
    obligation_id = telling.new_id("obligation")
    due_on = telling.now.date() + timedelta(days=after_days)
    due_at = datetime(due_on.year, due_on.month, due_on.day, 5, tzinfo=UTC)
    fields = {
        "kind": kind,
        "order_id": order_id,
        "due_on": due_on,
        "overdue_after_on": due_on + timedelta(days=7),
        "overdue_at": due_at + timedelta(days=8),
        "due_at": due_at,
        "told_due": False,
    }
    telling.owed[obligation_id] = fields
    yield telling.tell(
        "/scheduling",
        scheduling.FollowUpPlanned(
            obligation_id=obligation_id,
            kind=kind,
            cause=cause or telling.patient,
            order_id=order_id,
            rule=FIRST_REVIEW,
            window_from_on=due_on - timedelta(days=7),
            due_on=due_on,
            overdue_after_on=fields["overdue_after_on"],
            due_at=due_at,
            overdue_at=fields["overdue_at"],
            owner_role="prescriber",
            time_zone=telling.zone,
        ),
        role="service",
        actor="scheduling.reactions",
        cause=cause,
    )


def owed(telling: Telling) -> Iterator[Told]:
    """What is owed falls due, is answered, or is not."""
    service: Any = {"role": "service", "actor": "scheduling.timers"}
    for obligation_id, one in list(telling.owed.items()):
        if telling.now >= one["overdue_at"] and not one.get("told_overdue"):
            one["told_overdue"] = True
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpOverdue(
                    obligation_id=obligation_id,
                    kind=one["kind"],
                    due_on=one["due_on"],
                    overdue_after_on=one["overdue_after_on"],
                    rule=FIRST_REVIEW,
                ),
                **service,
            )
        elif telling.now >= one["due_at"] and not one["told_due"]:
            one["told_due"] = True
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpDue(
                    obligation_id=obligation_id,
                    kind=one["kind"],
                    due_on=one["due_on"],
                    rule=FIRST_REVIEW,
                    booked=telling.chance(0.3),
                ),
                **service,
            )
            yield from write(telling, "follow_up", obligation_id)
        if one["told_due"] and telling.chance(0.6) and one["kind"] == "medication_review":
            del telling.owed[obligation_id]
            yield telling.tell(
                "/prescribing",
                prescribing.MedicationReviewCompleted(
                    review_id=telling.new_id("review"),
                    contact=telling.random.choice(["in_person", "video", "telephone"]),
                    orders=tuple(
                        prescribing.ReviewedOrder(order_id=order_id, decision="continue") for order_id in telling.orders
                    ),
                    effectiveness=telling.random.choice(["minimal", "partial", "good"]),
                    tolerability=telling.random.choice(["good", "tolerable"]),
                    risk_asked=telling.chance(0.7),
                    next_review_on=telling.now.date() + timedelta(days=28),
                    em_minutes=25,
                ),
            )
            review = telling.cause
            noted = scheduling.ReviewNoted(
                review_id=telling.new_id("review"), contact="video", orders=tuple(telling.orders), risk_asked=True
            )
            yield noted_by_scheduling(telling, noted)
            yield telling.tell(
                "/scheduling",
                scheduling.FollowUpFulfilled(obligation_id=obligation_id, by=review, rule=FIRST_REVIEW),
                role="service",
                actor="scheduling.reactions",
                cause=review,
            )
            if telling.orders:
                yield from plan(telling, "medication_review", one["order_id"], review, 28)


def visit(telling: Telling) -> Iterator[Told]:
    """A visit is booked and a reminder asked for, or somebody calls."""
    random = telling.random
    if telling.chance(0.3):
        yield telling.tell(
            "/scheduling",
            scheduling.ContactMade(
                contact_id=telling.new_id("contact"),
                channel=random.choice(["telephone", "video"]),
                reached=telling.chance(0.8),
                risk_asked=telling.chance(0.5),
                minutes=12,
            ),
            actor=telling.nurse,
            role="nurse",
        )
        return
    appointment_id = telling.new_id("appointment")
    starts_at = (telling.now + timedelta(days=random.randrange(2, 30))).replace(minute=30, second=0, microsecond=0)
    yield telling.tell(
        "/scheduling",
        scheduling.AppointmentBooked(
            appointment_id=appointment_id,
            kind=random.choice(["medication_review", "therapy_session", "lab"]),
            clinician=scheduling.Staff(person=telling.prescriber, role="prescriber"),
            starts_at=starts_at,
            wall_time=starts_at.strftime("%Y-%m-%dT%H:%M"),
            time_zone=telling.zone,
            minutes=30,
            place=random.choice([None, "Riverside, room 2"]),
            remote=telling.chance(0.4),
            serves=tuple(telling.owed)[:1],
        ),
        actor=str(uuid5(PLACES, "clerk")),
        role="clerk",
    )
    yield from write(telling, "appointment_reminder", appointment_id)


def write(telling: Telling, purpose: Any, about: UUID) -> Iterator[Told]:
    """A message is asked for and leaves, fails, or is held back."""
    service: Any = {"role": "service", "actor": "notifications.sender"}
    message_id = telling.new_id("message")
    yield telling.tell(
        "/notifications",
        notifications.MessageQueued(
            message_id=message_id,
            purpose=purpose,
            channel="email",
            template=purpose,
            template_version="1",
            not_before=telling.now + timedelta(hours=1),
            not_after=telling.now + timedelta(days=2),
            lexicon_version="1ex1c0n",
            about=about,
        ),
        **service,
        cause=telling.cause,
    )
    if not telling.consent:
        outcome: Fact = notifications.MessageSuppressed(message_id=message_id, reason="no_consent")
    elif telling.chance(0.1):
        yield telling.tell(
            "/notifications",
            notifications.MessageFailed(message_id=message_id, reason="mailbox_unavailable", will_retry=True),
            **service,
        )
        outcome = notifications.MessageFailed(message_id=message_id, reason="address_refused", will_retry=False)
    else:
        outcome = notifications.MessageSent(
            message_id=message_id, provider_id=f"<{message_id}@tandem.example>", lexicon_version="1ex1c0n"
        )
    yield telling.tell("/notifications", outcome, **service)


def seldom(telling: Telling) -> Iterator[Told]:
    """What happens now and then: the record changes, somebody leaves, a consent is taken back."""
    random = telling.random
    clerk: Any = {"actor": str(uuid5(PLACES, "clerk")), "role": "clerk"}
    match random.randrange(8):
        case 0 if telling.allergies:
            allergy_id, substance, rxcui, severity = telling.allergies.pop()
            fact = patients.AllergyRefuted(allergy_id=allergy_id, reason="tolerated under observation")
            yield telling.tell("/patients", fact)
            found = AllergyNoted(
                allergy_id=allergy_id, substance=substance, rxcui=rxcui, severity=severity, active=False
            )
            yield from noted_by_all(telling, found)
        case 1 if telling.conditions:
            condition_id, code = telling.conditions.pop()
            yield telling.tell(
                "/patients",
                patients.ConditionResolved(condition_id=condition_id, resolved_on=telling.now.date()),
            )
            yield from noted_by_all(telling, ConditionNoted(condition_id=condition_id, icd10cm=code, active=False))
        case 2 if telling.consent:
            withdrawn = patients.ConsentWithdrawn(
                consent_id=telling.consent, scope="email", address=telling.address, how="telephone"
            )
            telling.consent = None
            yield telling.tell("/patients", withdrawn, **clerk)
        case 3:
            yield telling.tell(
                "/patients",
                patients.CareTeamMemberReleased(person=telling.nurse, role="nurse", reason="changed clinic"),
                actor=str(uuid5(PLACES, "supervisor")),
                role="supervisor",
            )
        case 4:
            other = telling.new_id("contact point")
            set_up = patients.ContactPointSet(contact_point_id=other, channel="post", address="1 Mill Lane")
            yield telling.tell("/patients", set_up, **clerk)
            yield telling.tell("/patients", patients.ContactPointRemoved(contact_point_id=other), **clerk)
        case 5:
            telling.approach = "combined"
            yield telling.tell("/patients", chosen("combined", True))
        case 6:
            yield from allergy(telling)
        case _ if not telling.consent:
            yield from consents(telling)
        case _:
            return
