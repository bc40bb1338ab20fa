"""Two small houses that stand for any: a front desk that notes contacts, and a wall that shows what is asked for.

They stand where what every house does over HTTP is tested. Their facts and permissions are real ones.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import httpx2
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from chassis.commanding import CommandHandler
from chassis.decider import Ask, Decider, Rejected
from chassis.health import Count
from chassis.http import Commands, Viewing, Views
from chassis.http.commands import Wait
from chassis.service import House, serve
from chassis.settings import Settings
from contracts import topics
from contracts.event import Event
from contracts.scheduling import ContactMade
from services.patients.main import wire as patients

from .servers import Servers

Contacts = dict[UUID, ContactMade]


class RecordContact(BaseModel):
    """Note a contact with a patient."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contact_id: UUID | None = None
    channel: Literal["in_person", "video", "telephone", "message"]
    reached: bool
    risk_asked: bool = False
    minutes: int | None = Field(default=None, ge=0, le=480)


class CorrectContact(RecordContact):
    """Note a contact under an id of one's own, which stands in the path."""

    contact_id: UUID


def decide(contacts: Contacts, ask: Ask[RecordContact]) -> list[ContactMade]:
    told = ask.command.model_dump()
    made = ContactMade(**{**told, "contact_id": told["contact_id"] or ask.new_id("contact")})
    before = contacts.get(made.contact_id)
    if before and before != made:
        raise Rejected("contact_id_already_used", "Choose a new id.", contact_id=str(made.contact_id))
    return [] if before else [made]


def evolve(contacts: Contacts, event: Event[ContactMade]) -> Contacts:
    return {**contacts, event.fact.contact_id: event.fact}


CONTACTS: Decider[Contacts, RecordContact, ContactMade] = Decider(initial={}, decide=decide, evolve=evolve)


@dataclass
class Desk:
    """What a test may change of the front desk."""

    waits: dict[str, Wait] = field(default_factory=dict)
    due: dict[str, Count] = field(default_factory=dict)
    extra: Sequence[APIRouter] = ()

    def wire(self, settings: Settings) -> FastAPI:
        house = House("scheduling", settings)
        access = house.access()
        store = house.store(topics.SCHEDULING)
        contacts = CommandHandler(CONTACTS, store, house.clock)
        commands: Commands[RecordContact] = Commands(house, contacts, access, waits=self.waits)
        router = APIRouter()
        commands.add(router, "/patients/{patient_id}/contacts", "record-contact", RecordContact)
        path = "/patients/{patient_id}/contacts/{contact_id}"
        commands.add(router, path, "book-appointment", CorrectContact)
        shown = {"unverified_rules": 3}
        return serve(house, access, routes=[router, *self.extra], stores=[store], due=self.due, shown=shown)


@dataclass
class Wall:
    """Shows of a patient what `load` finds; `shown` is whom a search finds."""

    load: Callable[[], Any] = lambda: "all is well"
    shown: Sequence[UUID] = ()

    def wire(self, settings: Settings) -> FastAPI:
        house = House("audit", settings)
        access = house.access()
        return serve(house, access, routes=[self.searched(Views(house, access))])

    def wire_view(self, settings: Settings) -> FastAPI:
        house = House("care_view", settings)
        access = house.access()
        return serve(house, access, routes=[self.seen(Views(house, access))])

    def seen(self, views: Views) -> APIRouter:
        router = APIRouter()

        @router.get("/patients/{patient_id}")
        async def patient(patient_id: UUID, viewing: Viewing) -> dict[str, str]:
            async def load() -> dict[str, str]:
                return {"shown": self.load()}

            return await views.show(viewing, "care_view.patient", patient_id, load)

        return router

    def searched(self, views: Views) -> APIRouter:
        router = APIRouter()

        @router.get("/facts")
        async def facts(viewing: Viewing) -> dict[str, str]:
            async def load() -> tuple[dict[str, str], Sequence[UUID]]:
                return {"shown": self.load()}, self.shown

            return await views.show_found(viewing, "audit.facts", load)

        return router


def settings_of(servers: Servers, prefix: str, **changed: object) -> Settings:
    """What the environment would say of a deployment on these servers."""
    told: dict[str, object] = {**servers.environment, "TANDEM_PREFIX": prefix, "TANDEM_RELAY_LEASE_S": 1}
    return Settings(**{**told, **changed})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """The house, started as a server would, and a client that asks it without a network between."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://house", timeout=30) as client,
    ):
        yield client


__all__ = ["Desk", "RecordContact", "Wall", "patients", "serving", "settings_of"]
