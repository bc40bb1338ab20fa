"""What may be asked of therapy over HTTP. A command's body is the domain's command, as it stands."""

from fastapi import APIRouter

from chassis.http import Commands

from .domain.commands import CloseRiskFlag, CompleteSession, RecordMeasure, StartTherapy, TherapyCommand

ONE = "/patients/{patient_id}"


def routes(commands: Commands[TherapyCommand]) -> APIRouter:
    router = APIRouter()
    commands.add(router, f"{ONE}/therapy-episodes", "start-therapy", StartTherapy)
    commands.add(router, f"{ONE}/sessions", "complete-session", CompleteSession)
    commands.add(router, f"{ONE}/measures", "record-measure", RecordMeasure)
    commands.add(router, f"{ONE}/risk-flags/{{flag_id}}/closure", "close-risk-flag", CloseRiskFlag)
    return router
