"""Wires the prescribing service. Nothing is constructed anywhere else."""

from pathlib import Path

from fastapi import FastAPI

from chassis.commanding import CommandHandler
from chassis.http import Commands
from chassis.reacting import reacting
from chassis.service import House, serve
from chassis.settings import Settings
from contracts import topics

from .api import routes
from .domain.formulary import Formulary, load
from .domain.medication_orders import medication_orders
from .reactions import REACTS_TO, react

TABLES = Path(__file__).parent / "domain"


def create_app() -> FastAPI:
    return wire(Settings(), load_formulary())


def load_formulary() -> Formulary:
    """The formulary on file. Raises BadTable: with half a formulary the house does not start."""
    tables = (TABLES / name for name in ("formulary.csv", "drug_classes.csv", "brand_names.csv"))
    return load(*(table.read_bytes() for table in tables))


def wire(settings: Settings, formulary: Formulary) -> FastAPI:
    house = House("prescribing", settings)
    access = house.access()
    store = house.store(topics.PRESCRIBING)
    orders = CommandHandler(medication_orders(formulary), store, house.clock)
    notes = reacting(
        house.engine, "notes", [topics.PATIENTS, topics.THERAPY], react, orders, house.clock, types=REACTS_TO
    )
    commands = Commands(house, orders, access, waits={"patients": notes.reached, "therapy": notes.reached})
    return serve(
        house,
        access,
        routes=[routes(commands)],
        works=[notes],
        stores=[store],
        shown={"formulary": formulary.version, "formulary_signed": False},
    )
