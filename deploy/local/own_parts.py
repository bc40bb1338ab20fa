"""The parts of the stack that are programs of our own: the token issuer and the mailbox."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable

from .places import CHECKOUT, Places, write_privately
from .ports import HOST, Ports
from .processes import Program

# The issuer's secret: whoever can read it may have a token for anybody.
ISSUER_SECRET = "issuer"  # noqa: S105  The name of a file.
SMTP_PORT = "mailbox-smtp"


async def prepare_issuer(places: Places, ports: Ports, _progress: Callable[[str], None]) -> Program:
    folder = places.data / "issuer"
    folder.mkdir(exist_ok=True)
    issuer_secret(places)
    port = ports.keep_or_pick("issuer")
    arguments = ["--host", HOST, "--port", str(port), "--secrets", str(places.secrets)]
    arguments += ["--people", str(folder / "people.json")]
    return python("issuer", arguments, port)


async def prepare_mailbox(places: Places, ports: Ports, _progress: Callable[[str], None]) -> Program:
    port = ports.keep_or_pick("mailbox")
    arguments = ["--host", HOST, "--http-port", str(port)]
    arguments += ["--smtp-port", str(ports.keep_or_pick(SMTP_PORT))]
    arguments += ["--folder", str(places.data / "mailbox")]
    return python("mailbox", arguments, port)


def python(name: str, arguments: list[str], port: int) -> Program:
    return Program(
        name=name,
        command=(sys.executable, "-m", f"deploy.local.{name}", *arguments),
        health=f"http://{HOST}:{port}/health",
        port=port,
        folder=str(CHECKOUT),
    )


def issuer_secret(places: Places) -> str:
    path = places.secrets / ISSUER_SECRET
    if not path.exists():
        write_privately(path, secrets.token_urlsafe(24))
    return path.read_text("utf-8")
