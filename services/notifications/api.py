"""What may be asked of notifications over HTTP. Nobody asks it to write to anybody: facts do."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from chassis.http import Viewing, Views

from .gateways.deliveries import Deliveries


class CutOffMessage(BaseModel):
    """A message of which nobody can tell whether it left: a person has to decide."""

    message_id: UUID
    patient_id: UUID
    purpose: str
    since: datetime


def routes(views: Views, deliveries: Deliveries) -> APIRouter:
    router = APIRouter()

    @router.get("/messages/unknown", operation_id="unknown-messages")
    async def unknown(viewing: Viewing) -> list[CutOffMessage]:
        """Messages that were in the hands of a sender that died, the oldest first, at most a thousand."""

        async def load() -> tuple[list[CutOffMessage], Sequence[UUID]]:
            found = [CutOffMessage.model_validate(one, from_attributes=True) for one in await deliveries.cut_off()]
            return found, sorted({one.patient_id for one in found})

        return await views.show_found(viewing, "notifications.unknown-messages", load)

    return router
