"""What may be asked of patients over HTTP. A command's body is the domain's command, as it stands."""

from typing import Annotated, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Query
from pydantic import BaseModel

from chassis.commanding import CommandHandler
from chassis.http import Commands, Viewing, Views
from contracts.patients import PatientsFact

from .domain.commands import (
    AssignCareTeamMember,
    ChooseTreatmentApproach,
    EnrolPatient,
    GrantConsent,
    PatientsCommand,
    Purpose,
    RecordAllergy,
    RecordCondition,
    RefuteAllergy,
    ReleaseCareTeamMember,
    RemoveContactPoint,
    ResolveCondition,
    SetContactPoint,
    WithdrawConsent,
)
from .domain.record import Record
from .domain.sending import Allowed, MessageChannel, Refusal, may_send

ONE = "/patients/{patient_id}"


class Sending(BaseModel):
    """The answer to *may I send?*. Without a yes, nothing is told of the patient but why not."""

    allowed: bool
    reason: Literal["consent_in_force"] | Refusal
    address: str | None = None
    given_name: str | None = None
    language: str | None = None
    time_zone: str | None = None
    privacy_level: str | None = None


def routes(
    commands: Commands[PatientsCommand],
    views: Views,
    records: CommandHandler[Record, PatientsCommand, PatientsFact],
) -> APIRouter:
    """`records` folds a patient's record to the database's tail, so that a withdrawal holds as soon as it is made."""
    router = APIRouter()
    commands.add(router, "/patients", "enrol-patient", EnrolPatient, patient=whom)
    commands.add(router, f"{ONE}/allergies", "record-allergy", RecordAllergy)
    commands.add(router, f"{ONE}/allergies/{{allergy_id}}/refutation", "refute-allergy", RefuteAllergy)
    commands.add(router, f"{ONE}/conditions", "record-condition", RecordCondition)
    commands.add(router, f"{ONE}/conditions/{{condition_id}}/resolution", "resolve-condition", ResolveCondition)
    commands.add(router, f"{ONE}/contact-points", "set-contact-point", SetContactPoint)
    commands.add(
        router, f"{ONE}/contact-points/{{contact_point_id}}/removal", "remove-contact-point", RemoveContactPoint
    )
    commands.add(router, f"{ONE}/care-team", "assign-care-team-member", AssignCareTeamMember)
    commands.add(router, f"{ONE}/care-team/release", "release-care-team-member", ReleaseCareTeamMember)
    commands.add(router, f"{ONE}/consents", "grant-consent", GrantConsent)
    commands.add(router, f"{ONE}/consents/{{consent_id}}/withdrawal", "withdraw-consent", WithdrawConsent)
    commands.add(router, f"{ONE}/treatment-approach", "choose-treatment-approach", ChooseTreatmentApproach)

    @router.get(f"{ONE}/may-send", operation_id="may-send")
    async def may_be_sent(
        patient_id: UUID,
        channel: Annotated[MessageChannel, Query()],
        purpose: Annotated[Purpose, Query()],
        viewing: Viewing,
    ) -> Sending:
        """May a message for this purpose leave on this channel, now, and to where? Asked before each one leaves."""

        async def load() -> Sending:
            record, _ = await records.state(str(patient_id))
            return sending(may_send(record, channel, purpose))

        return await views.show(viewing, "patients.may-send", patient_id, load)

    return router


def whom(command: EnrolPatient, ask_id: UUID) -> UUID:
    """The id that is enrolled under: the one that was named, or one that the same request gets again."""
    return command.patient_id or uuid5(ask_id, "patient")


def sending(answer: Allowed | Refusal) -> Sending:
    if not isinstance(answer, Allowed):
        return Sending(allowed=False, reason=answer)
    return Sending(
        allowed=True,
        reason="consent_in_force",
        address=answer.address,
        given_name=answer.patient.given_name,
        language=answer.patient.language,
        time_zone=answer.patient.time_zone,
        privacy_level=answer.privacy_level,
    )
