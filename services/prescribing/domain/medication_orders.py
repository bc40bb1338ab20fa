"""One patient's medication orders, from each first prescription to its end.

Pure: no clock, no new ids, no I/O. What a decision needs arrives in the ask, in the patient's own stream, or as
the formulary that the decider is made with.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Literal, assert_never
from uuid import UUID

from chassis.decider import Ask, Decider, Rejected
from contracts.clinical import AllergyNoted, Medication, Noted
from contracts.prescribing import (
    DoseAdjusted,
    DosePrescribed,
    MedicationDiscontinued,
    MedicationReviewCompleted,
    PatientNoted,
    PrescribingFact,
    WarningOverridden,
)

from .checks import Case, Settled, findings, settle
from .commands import (
    AdjustDose,
    CompleteMedicationReview,
    DiscontinueMedication,
    NoteEnded,
    NotePatient,
    PrescribeDose,
    PrescribingCommand,
)
from .formulary import Drug, Formulary
from .intake import Quantity, quantity
from .orders import Active, Discontinued, Orders, age, ended, evolve

# The patient's time zone is not known here. A day counts from when it begins anywhere on earth until it has ended
# everywhere, so that nobody is refused what is true on the wall of their own clinic.
FIRST_ON_EARTH, LAST_ON_EARTH = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))

PrescribingDecider = Decider[Orders, PrescribingCommand, PrescribingFact]


def medication_orders(formulary: Formulary) -> PrescribingDecider:
    """The decider of one patient's stream, by this formulary."""

    def decide(orders: Orders, ask: Ask[PrescribingCommand]) -> Sequence[PrescribingFact]:
        match ask.command:
            case PrescribeDose() as command:
                return prescribe(formulary, orders, ask, command)
            case AdjustDose() as command:
                return adjust(formulary, orders, ask, command)
            case DiscontinueMedication() as command:
                return discontinue(orders, ask, command)
            case CompleteMedicationReview() as command:
                return review(orders, ask, command)
            case NotePatient(noted=noted):
                return note(orders, noted)
            case NoteEnded() as command:
                return note_ended(orders, command)
            case _:
                assert_never(ask.command)

    return Decider(initial=Orders(), decide=decide, evolve=evolve)


def prescribe(
    formulary: Formulary, orders: Orders, ask: Ask[PrescribingCommand], command: PrescribeDose
) -> list[PrescribingFact]:
    order_id = command.order_id or ask.new_id("order")
    if known := orders.by_id.get(order_id):
        if asked_before(known.prescribed, command):
            return []
        # Accepting it would hide one of two prescriptions.
        raise Rejected("order_id_already_used", "This order exists with other content. Start a new one or adjust it.")
    drug = listed(formulary, command.medication)
    case = Case(
        formulary=formulary,
        drug=drug,
        route=command.route,
        quantity=quantity(drug, command.dose, command.schedule),
        change="started",
        age=age_of(orders, ask),
        allergies=allergies(orders),
        in_force={order.medication.name: id for id, order in orders.in_force().items()},
    )
    settled = settle(findings(case), command.overrides)
    prescribed = DosePrescribed(
        order_id=order_id,
        medication=Medication(name=drug.name, rxcui=drug.rxcui, classes=drug.classes),
        dose=command.dose,
        schedule=command.schedule,
        route=command.route,
        indication=command.indication,
        days_supply=command.days_supply,
        refills=command.refills,
        formulary_version=formulary.version,
        checks=settled.checks,
    )
    return [prescribed, *overridden(order_id, settled)]


def adjust(
    formulary: Formulary, orders: Orders, ask: Ask[PrescribingCommand], command: AdjustDose
) -> list[PrescribingFact]:
    order = in_force(orders, command.order_id)
    if (command.dose, command.schedule) == (order.dose, order.schedule):
        return []
    if ask.occurred_at < order.changed_at:
        since = f"{order.changed_at:%Y-%m-%d %H:%M} UTC"
        raise Rejected("later_dose_on_record", f"The dose in force counts from {since}. Give a later time of change.")
    drug = listed(formulary, order.medication.name)
    before = quantity(drug, order.dose, order.schedule)
    after = quantity(drug, command.dose, command.schedule)
    direction = compared(before, after)
    case = Case(
        formulary=formulary,
        drug=drug,
        route=order.prescribed.route,
        quantity=after,
        change=direction,
        age=age_of(orders, ask),
        allergies=allergies(orders),
        in_force={},
    )
    settled = settle(findings(case), command.overrides)
    adjusted = DoseAdjusted(
        order_id=command.order_id,
        medication=order.medication,
        from_dose=order.dose,
        from_schedule=order.schedule,
        to_dose=command.dose,
        to_schedule=command.schedule,
        direction=direction,
        reason=command.reason,
        checks=settled.checks,
    )
    return [adjusted, *overridden(command.order_id, settled)]


def discontinue(orders: Orders, ask: Ask[PrescribingCommand], command: DiscontinueMedication) -> list[PrescribingFact]:
    known = orders.by_id.get(command.order_id)
    if isinstance(known, Discontinued) and (known.ended.last_dose_on, known.ended.reason) == (
        command.last_dose_on,
        command.reason,
    ):
        return []
    order = in_force(orders, command.order_id)
    if command.last_dose_on > latest_day(ask.now):
        raise Rejected("last_dose_in_the_future", "The last dose lies in the future. Stop the order on that day.")
    first = earliest_day(order.started_at)
    if command.last_dose_on < first:
        what = f"The order began on {first} at the earliest. Give a last dose on that day or later."
        raise Rejected("last_dose_before_start", what, started_on=first.isoformat())
    return [
        MedicationDiscontinued(
            order_id=command.order_id,
            medication=order.medication,
            last_dose_on=command.last_dose_on,
            reason=command.reason,
        )
    ]


def review(orders: Orders, ask: Ask[PrescribingCommand], command: CompleteMedicationReview) -> list[PrescribingFact]:
    review_id = command.review_id or ask.new_id("review")
    completed = MedicationReviewCompleted(
        review_id=review_id,
        contact=command.contact,
        orders=command.orders,
        effectiveness=command.effectiveness,
        tolerability=command.tolerability,
        risk_asked=command.risk_asked,
        risk_clinically_important=command.risk_clinically_important,
        next_review_on=command.next_review_on,
        em_minutes=command.em_minutes,
    )
    if known := orders.reviews.get(review_id):
        if known == completed:
            return []
        raise Rejected("review_id_already_used", "This review exists with other content. Record a new one.")
    if command.risk_asked and command.risk_clinically_important is None:
        raise Rejected("risk_answer_missing", "Risk was asked. Say whether what was found is clinically important.")
    if not command.risk_asked and command.risk_clinically_important is not None:
        raise Rejected("risk_not_asked", "A finding needs a question. Say that risk was asked, or leave it out.")
    for each in command.orders:
        in_force(orders, each.order_id)
    if command.next_review_on and command.next_review_on < earliest_day(ask.occurred_at):
        raise Rejected("next_review_in_the_past", "The next review lies before this one. Give a later day.")
    return [completed]


def note(orders: Orders, noted: Noted) -> list[PrescribingFact]:
    """Told again it is no news, not even after it ended: what was refuted, resolved or closed does not come back."""
    return [] if orders.known(noted) in (noted, ended(noted)) else [PatientNoted(noted=noted)]


def note_ended(orders: Orders, command: NoteEnded) -> list[PrescribingFact]:
    patient = orders.patient
    kinds: Mapping[str, Mapping[UUID, Noted]] = {
        "allergy": patient.allergies,
        "condition": patient.conditions,
        "risk_flag": patient.risk_flags,
    }
    known = kinds[command.what].get(command.id)
    return [] if known is None or known == ended(known) else [PatientNoted(noted=ended(known))]


def asked_before(prescribed: DosePrescribed, command: PrescribeDose) -> bool:
    """Whether the order says what the command says; what was checked then, and overridden, is not asked again."""
    same = ("dose", "schedule", "route", "indication", "days_supply", "refills")
    named = prescribed.medication.name == command.medication.lower()
    return named and all(getattr(prescribed, each) == getattr(command, each) for each in same)


def listed(formulary: Formulary, name: str) -> Drug:
    if drug := formulary.drug(name):
        return drug
    near = formulary.close_to(name)
    what_to_do = f"Perhaps {' or '.join(near)} is meant: send" if near else "Send"
    what = f"{name} is not in the formulary. {what_to_do} the generic name of a drug that is."
    raise Rejected("medication_unknown", what, close_matches=list(near))


def in_force(orders: Orders, order_id: UUID) -> Active:
    match orders.by_id.get(order_id):
        case Active() as order:
            return order
        case Discontinued() as order:
            ended_on = order.ended.last_dose_on
            what = f"Order {order_id} ended on {ended_on}. Start a new order if the patient is to take it again."
            raise Rejected("order_not_in_force", what, order_id=str(order_id))
        case None:
            what = f"This patient has no order {order_id}. Look up the orders in force."
            raise Rejected("order_unknown", what, order_id=str(order_id))


def age_of(orders: Orders, ask: Ask[PrescribingCommand]) -> int:
    if orders.patient.birth is None:
        what = (
            "patients has not told us this patient's birth date yet. Send it again with after=patients:N of enrolment."
        )
        raise Rejected("not_yet_known", what)
    return age(orders.patient.birth.birth_date, ask.occurred_at.astimezone(UTC).date())


def allergies(orders: Orders) -> list[AllergyNoted]:
    return [each for each in orders.patient.allergies.values() if each.active]


def compared(before: Quantity, after: Quantity) -> Literal["raised", "lowered", "rescheduled"]:
    if after.counted == before.counted:
        return "rescheduled"
    return "raised" if after.counted > before.counted else "lowered"


def overridden(order_id: UUID, settled: Settled) -> list[PrescribingFact]:
    return [
        WarningOverridden(
            order_id=order_id,
            rule=finding.rule,
            severity=finding.severity,
            reason_code=answer.reason_code,
            text=answer.text,
        )
        for finding, answer in settled.overridden
    ]


def latest_day(at: datetime) -> date:
    return at.astimezone(FIRST_ON_EARTH).date()


def earliest_day(at: datetime) -> date:
    return at.astimezone(LAST_ON_EARTH).date()
