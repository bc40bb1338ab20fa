"""Who a patient is, what is known of them, who cares, what was agreed; and what changes of it now and then."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import uuid5

from contracts import patients, prescribing, scheduling, therapy
from contracts.clinical import (
    AllergyNoted,
    BirthDateNoted,
    ConditionNoted,
    Noted,
    TimeZoneNoted,
)
from contracts.fact import Fact

from .telling import (
    CONDITIONS,
    FAMILY_NAMES,
    GIVEN_NAMES,
    PLACES,
    SUBSTANCES,
    Telling,
    Told,
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
