"""What may be told of one patient, and what is refused: enrolment first, then everything that stands on it.

Days are those of the patient's own time zone, but for the care team's, which are the deployment's.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from importlib.resources import files
from typing import assert_never
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from chassis.decider import Ask, Decider, Rejected
from contracts.patients import (
    AllergyRecorded,
    AllergyRefuted,
    ConditionRecorded,
    ConditionResolved,
    PatientEnrolled,
    PatientsFact,
    Substance,
    TreatmentApproachChosen,
)

from .agreements import assign, grant, release, remove_contact_point, set_contact_point, withdraw
from .commands import (
    AssignCareTeamMember,
    ChooseTreatmentApproach,
    EnrolPatient,
    GrantConsent,
    PatientsCommand,
    RecordAllergy,
    RecordCondition,
    RefuteAllergy,
    ReleaseCareTeamMember,
    RemoveContactPoint,
    ResolveCondition,
    SetContactPoint,
    WithdrawConsent,
)
from .record import Record, evolve

AGE_MAX_YEARS = 130  # Nobody is known to have lived longer than 122 years; beyond is a typing error.


@dataclass(frozen=True)
class Places:
    """`known` are the IANA names that a patient's time zone may have; a day on a care team begins in `team_days`."""

    known: Set[str]
    team_days: tzinfo


def patients(places: Places) -> Decider[Record, PatientsCommand, PatientsFact]:
    return Decider(initial=Record(), decide=partial(decide, places), evolve=evolve)


def known_time_zones() -> frozenset[str]:
    """The IANA names of the tzdata release that this deployment is locked to, whatever the machine has installed."""
    return frozenset(files("tzdata").joinpath("zones").read_text().split()) - {"Factory"}


def decide(  # noqa: PLR0911, PLR0912 (one branch a command)
    places: Places, record: Record, ask: Ask[PatientsCommand]
) -> list[PatientsFact]:
    command = ask.command
    if isinstance(command, EnrolPatient):
        return enrol(record, command, ask, places.known)
    if record.enrolment is None:
        raise Rejected("patient_not_enrolled", "Enrol the patient first, or check the patient's id.")
    today = day(ask.now, record.enrolment.time_zone)
    match command:
        case RecordAllergy():
            return record_allergy(record, command, command.allergy_id or ask.new_id("allergy"))
        case RefuteAllergy():
            return refute_allergy(record, command)
        case RecordCondition():
            return record_condition(record, command, command.condition_id or ask.new_id("condition"), ask.actor, today)
        case ResolveCondition():
            return resolve_condition(record, command, today)
        case SetContactPoint():
            return set_contact_point(record, command, command.contact_point_id or ask.new_id("contact-point"))
        case RemoveContactPoint():
            return remove_contact_point(record, command)
        case AssignCareTeamMember():
            first_day = ask.now.astimezone(places.team_days).date()  # As whoever asks whether they may will count it.
            return assign(record, command, command.clinic or record.enrolment.clinic, first_day)
        case ReleaseCareTeamMember():
            return release(record, command)
        case GrantConsent():
            return grant(record, command, command.consent_id or ask.new_id("consent"))
        case WithdrawConsent():
            return withdraw(record, command)
        case ChooseTreatmentApproach():
            chosen = TreatmentApproachChosen(**dict(command))
            return [] if chosen == record.approach else [chosen]
        case _:
            assert_never(command)


def enrol(record: Record, command: EnrolPatient, ask: Ask[PatientsCommand], time_zones: Set[str]) -> list[PatientsFact]:
    if command.patient_id not in {None, UUID(ask.key)}:
        raise Rejected("patient_id_differs", "The body names another patient than the address; send one of the two.")
    enrolled = PatientEnrolled(**command.model_dump(exclude={"patient_id"}))
    if record.enrolment == enrolled:
        return []
    if record.enrolment:  # Accepting it would make one patient into another.
        raise Rejected("patient_already_enrolled", "A patient has this id already. Enrol this person under a new one.")
    if command.time_zone not in time_zones:
        raise Rejected("time_zone_unknown", "Name the time zone as IANA does, such as America/New_York.")
    today = day(ask.now, command.time_zone)
    if command.birth_date > today:
        raise Rejected("birth_date_in_future", "The birth date lies in the future; check day, month and year.")
    if today.year - command.birth_date.year > AGE_MAX_YEARS:
        raise Rejected("birth_date_too_long_ago", f"Nobody is over {AGE_MAX_YEARS} years old; check the birth year.")
    return [enrolled]


def record_allergy(record: Record, command: RecordAllergy, allergy_id: UUID) -> list[PatientsFact]:
    substance = Substance(text=command.substance, rxcui=command.rxcui)
    recorded = AllergyRecorded(
        allergy_id=allergy_id,
        kind=command.kind,
        substance=substance,
        reaction=command.reaction,
        severity=command.severity,
    )
    if known := record.allergies.get(allergy_id):
        if known.recorded == recorded:
            return []  # Also after it was refuted: a late repeat must not bring it back.
        raise Rejected("allergy_id_already_used", "This id is another allergy's. Record this one under a new id.")
    if any(same_substance(substance, other) for other in substances_in_force(record)):
        raise Rejected("allergy_already_recorded", "An allergy to it is on record. Refute that one if it is wrong.")
    return [recorded]


def substances_in_force(record: Record) -> Iterable[Substance]:
    return (allergy.recorded.substance for allergy in record.allergies.values() if not allergy.refuted)


def same_substance(one: Substance, other: Substance) -> bool:
    """By RxNorm's id where both have one, else by name."""
    if one.rxcui and other.rxcui:
        return one.rxcui == other.rxcui
    return one.text.casefold() == other.text.casefold()


def refute_allergy(record: Record, command: RefuteAllergy) -> list[PatientsFact]:
    known = record.allergies.get(command.allergy_id)
    if known is None:
        raise Rejected("allergy_unknown", "No allergy of this patient has this id; look it up and try again.")
    refuted = AllergyRefuted(allergy_id=command.allergy_id, reason=command.reason)
    if known.refuted == refuted:
        return []
    if known.refuted:
        raise Rejected("allergy_already_refuted", "It was refuted for another reason; nothing more is to be done.")
    return [refuted]


def record_condition(
    record: Record, command: RecordCondition, condition_id: UUID, actor: str, today: date
) -> list[PatientsFact]:
    recorded = ConditionRecorded(
        condition_id=condition_id,
        icd10cm=command.icd10cm,
        label=command.label,
        onset_on=command.onset_on,
        diagnosed_by=command.diagnosed_by or actor,
    )
    if known := record.conditions.get(condition_id):
        if known.recorded == recorded:
            return []
        raise Rejected("condition_id_already_used", "This id is another condition's. Record this one under a new id.")
    if any(c.recorded.icd10cm == command.icd10cm for c in record.conditions.values() if not c.resolved):
        raise Rejected("condition_already_recorded", "A condition with this code is on record and not resolved.")
    if command.onset_on and command.onset_on > today:
        raise Rejected("onset_in_future", "The onset lies in the future; give the day it began, or leave it out.")
    if command.onset_on and record.enrolment and command.onset_on < record.enrolment.birth_date:
        raise Rejected("onset_before_birth", "The onset lies before the patient's birth; check day, month and year.")
    return [recorded]


def resolve_condition(record: Record, command: ResolveCondition, today: date) -> list[PatientsFact]:
    known = record.conditions.get(command.condition_id)
    if known is None:
        raise Rejected("condition_unknown", "No condition of this patient has this id; look it up and try again.")
    resolved = ConditionResolved(condition_id=command.condition_id, resolved_on=command.resolved_on)
    if known.resolved == resolved:
        return []
    if known.resolved:
        raise Rejected("condition_already_resolved", "It was resolved on another day; record it anew if it is back.")
    if command.resolved_on > today:
        raise Rejected("resolution_in_future", "The day lies in the future; record it once the condition has resolved.")
    if known.recorded.onset_on and command.resolved_on < known.recorded.onset_on:
        raise Rejected("resolution_before_onset", "The day lies before the onset on record; check it.")
    return [resolved]


def day(at: datetime, time_zone: str) -> date:
    """The calendar day there. UTC's where a name on record is no longer one: a release of tzdata may drop it."""
    try:
        return at.astimezone(ZoneInfo(time_zone)).date()
    except (ZoneInfoNotFoundError, ValueError):
        return at.astimezone(UTC).date()
