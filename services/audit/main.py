"""Wires the audit service. Nothing is constructed anywhere else."""

from pathlib import Path

from fastapi import FastAPI

from chassis.archiving import archiving
from chassis.http import Views
from chassis.service import House, serve
from chassis.settings import Settings
from contracts.topics import ANCHORS, TOPICS

from .api import routes
from .api.archive import NAME, VERSION, Archive, kept
from .api.verification import Report, verify

READ = [topic for topic in TOPICS if topic is not ANCHORS]  # Every topic that others write.


def create_app() -> FastAPI:
    return wire(Settings())


def wire(settings: Settings) -> FastAPI:
    house = House("audit", settings, migrations=Path(__file__).parent / "migrations")
    access = house.access()
    archive = Archive(house.engine)

    async def verified() -> Report:
        return await verify(house.engine, {}, None, lambda told: None)

    return serve(
        house,
        access,
        routes=[routes(Views(house, access), archive, verified)],
        works=[archiving(house.engine, NAME, VERSION, READ, kept)],
        loops={"archive watch": archive.watch},
    )
