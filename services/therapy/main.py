"""Wires the therapy service. Nothing is constructed anywhere else."""

from fastapi import FastAPI

from chassis.commanding import CommandHandler
from chassis.http import Commands
from chassis.reacting import reacting
from chassis.service import House, serve
from chassis.settings import Settings
from contracts import topics

from .api import routes
from .domain.care import therapy
from .domain.measures import load_measures
from .domain.modalities import load_modalities
from .reactions import REACTS_TO, react


def create_app() -> FastAPI:
    return wire(Settings())


def wire(settings: Settings) -> FastAPI:
    house = House("therapy", settings)
    access = house.access()
    store = house.store(topics.THERAPY)
    care = CommandHandler(therapy(load_measures(), load_modalities()), store, house.clock)
    notes = reacting(house.engine, "notes", [topics.PATIENTS], react, care, house.clock, types=REACTS_TO)
    commands = Commands(house, care, access, waits={"patients": notes.reached})
    return serve(house, access, routes=[routes(commands)], works=[notes], stores=[store])
