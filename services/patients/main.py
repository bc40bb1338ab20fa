"""Wires the patients service. Nothing is constructed anywhere else."""

from fastapi import FastAPI

from chassis.commanding import CommandHandler
from chassis.http import Commands, Views
from chassis.service import House, serve
from chassis.settings import Settings
from contracts import topics
from contracts.permissions import Known

from .api import routes
from .domain.patients import Places, known_time_zones, patients


def create_app() -> FastAPI:
    return wire(Settings())


def wire(settings: Settings) -> FastAPI:
    house = House("patients", settings)
    store = house.store(topics.PATIENTS)
    records = CommandHandler(patients(Places(known_time_zones(), settings.time_zone)), store, house.clock)

    async def known(patient: str) -> Known | None:
        """Who may see a patient, from the house's own facts: what was withdrawn holds without delay."""
        record, _ = await records.state(patient)
        return record.access

    access = house.access(known)
    commands = Commands(house, records, access)
    return serve(house, access, routes=[routes(commands, Views(house, access), records)], stores=[store])
