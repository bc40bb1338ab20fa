"""Medicines, sessions, questionnaires."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from contracts import prescribing, scheduling, therapy
from contracts.clinical import (
    Check,
    Dose,
    Medication,
    RiskFlagNoted,
    RuleRef,
    Schedule,
)

from .enrolment import noted_by_scheduling
from .owing import plan
from .telling import (
    BANDS,
    ITEM_9,
    MEDICINES,
    SCORING,
    Telling,
    Told,
)


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
