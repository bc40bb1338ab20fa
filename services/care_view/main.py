"""Wires the care view. Nothing is constructed anywhere else."""

import math
from collections.abc import Iterable

from fastapi import FastAPI

from chassis.documents import Documents
from chassis.http import Views
from chassis.projecting import Entry, Projection, projecting
from chassis.service import House, serve
from chassis.settings import Settings
from contracts import topics
from contracts.event import Event
from contracts.fact import Fact

from .api import SignIn, routes
from .api.pages import Pages
from .api.routes import Answers, Look
from .domain.scales import load_scales
from .projections import NOTHING_KNOWN, TYPES, CareView, decode, encode, entries, project

READ = (topics.PATIENTS, topics.PRESCRIBING, topics.THERAPY, topics.SCHEDULING, topics.NOTIFICATIONS)


def lines(event: Event[Fact]) -> Iterable[Entry]:
    """The timeline's rows as the chassis takes them; the projections import no part of it that does I/O."""
    return (Entry(kind, line) for kind, line in entries(event))


CARE_VIEW: Projection[CareView] = Projection(
    name="care_view",
    version=1,
    topics=READ,
    initial=NOTHING_KNOWN,
    project=project,
    types=TYPES,
    encode=encode,
    decode=decode,
    entries=lines,
)


def create_app() -> FastAPI:
    return wire(Settings())


def wire(settings: Settings) -> FastAPI:
    house = House("care_view", settings)
    access = house.access()
    documents = Documents(house.engine, CARE_VIEW)
    scales = load_scales()
    pages = Pages()
    sign_in = SignIn(house.identity, settings.issuer, settings.client_id or house.name, settings.public_url, pages)

    def behind_s() -> float:
        return house.progress.age_s(CARE_VIEW.name) if house.progress else math.inf

    answers = Answers(Views(house, access), Look(documents, house.clock, behind_s), pages, scales)

    return serve(
        house,
        access,
        routes=routes(answers, sign_in),
        works=[projecting(house.engine, CARE_VIEW, documents=documents)],
        shown={"rules_signed": all(scale.signed for scale in scales.values())},
    )
