"""Wires the notifications service. Nothing is constructed anywhere else."""

from pathlib import Path

import httpx2
from fastapi import FastAPI

from chassis.commanding import CommandHandler
from chassis.http import Views
from chassis.reacting import reacting
from chassis.service import House, serve
from chassis.settings import Settings
from contracts import topics

from .api import routes
from .domain.lexicon import load_lexicon
from .domain.messages import messages
from .domain.wording import Wording, load_wording
from .gateways.consent import Consent
from .gateways.deliveries import Deliveries, rows
from .gateways.mail import Mail
from .gateways.sender import Sender
from .reactions import REACTS_TO, react


class NotSet(Exception):
    """Something that a sender cannot do without is missing from the environment, or would give something away."""


def create_app() -> FastAPI:
    return wire(Settings(), load_wording(load_lexicon()))


def wire(settings: Settings, wording: Wording) -> FastAPI:
    house = House("notifications", settings, migrations=Path(__file__).parent / "migrations")
    access = house.access()
    store = house.store(topics.NOTIFICATIONS)
    handler = CommandHandler(messages(wording), store, house.clock, rows=rows)
    reactions = reacting(house.engine, "messages", [topics.SCHEDULING], react, handler, house.clock, types=REACTS_TO)
    deliveries = Deliveries(house.engine)
    sender = Sender(
        deliveries,
        handler,
        house.clock,
        access,
        consent(settings),
        mail(settings, wording),
        wording,
        neutral(wording, "TANDEM_PUBLIC_URL", settings.public_url),
    )
    store.on_append(sender.wake)
    return serve(
        house,
        access,
        routes=[routes(Views(house, access), deliveries)],
        works=[reactions],
        loops={"sender": sender.run},
        stores=[store],
        due={"deliveries_due": deliveries.due},
        upcoming=[deliveries.next_due_at],
        shown={"lexicon": wording.lexicon.version, "lexicon_signed": False, **wording.versions},
    )


def consent(settings: Settings) -> Consent:
    secret = settings.client_secret.get_secret_value() if settings.client_secret else None
    return Consent(
        httpx2.AsyncClient(),
        patients_url=given("TANDEM_PATIENTS_URL", settings.patients_url),
        token_url=given("TANDEM_TOKEN_URL", settings.token_url),
        client_id=given("TANDEM_CLIENT_ID", settings.client_id),
        client_secret=given("TANDEM_CLIENT_SECRET", secret),
    )


def mail(settings: Settings, wording: Wording) -> Mail:
    sender = neutral(wording, "TANDEM_SENDER_ADDRESS", settings.sender_address)
    return Mail(given("SMTP_HOST", settings.smtp_host), settings.smtp_port, sender)


def neutral(wording: Wording, name: str, value: str | None) -> str:
    """A setting that every reader of a message sees. Raises NotSet when it would say what for."""
    found = given(name, value)
    if wording.lexicon.found_in(found):
        raise NotSet(f"{name} has a word in it that never leaves the building")
    return found


def given(name: str, value: str | None) -> str:
    if not value:
        raise NotSet(f"{name} is needed to send messages")
    return value
