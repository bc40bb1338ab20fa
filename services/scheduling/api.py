"""What may be asked of scheduling over HTTP. A command's body is the domain's command, as it stands."""

from fastapi import APIRouter

from chassis.http import Commands

from .domain.commands import BookAppointment, RecordContact, SchedulingCommand


def routes(commands: Commands[SchedulingCommand]) -> APIRouter:
    router = APIRouter()
    commands.add(router, "/patients/{patient_id}/appointments", "book-appointment", BookAppointment)
    commands.add(router, "/patients/{patient_id}/contacts", "record-contact", RecordContact)
    return router
