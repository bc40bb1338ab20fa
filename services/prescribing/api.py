"""What may be asked of prescribing over HTTP. A command's body is the domain's command, as it stands."""

from fastapi import APIRouter

from chassis.http import Commands

from .domain.commands import (
    AdjustDose,
    CompleteMedicationReview,
    DiscontinueMedication,
    PrescribeDose,
    PrescribingCommand,
)

ORDERS = "/patients/{patient_id}/orders"


def routes(commands: Commands[PrescribingCommand]) -> APIRouter:
    router = APIRouter()
    commands.add(router, ORDERS, "prescribe-dose", PrescribeDose)
    commands.add(router, f"{ORDERS}/{{order_id}}/adjustments", "adjust-dose", AdjustDose)
    commands.add(router, f"{ORDERS}/{{order_id}}/discontinuation", "discontinue-medication", DiscontinueMedication)
    commands.add(
        router, "/patients/{patient_id}/medication-reviews", "complete-medication-review", CompleteMedicationReview
    )
    return router
