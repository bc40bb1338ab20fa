"""A mail server for tests that can be told how to fail, and counts what it took. One for all that is to be delivered is
the mailbox of the embedded stack; this one is for what goes wrong."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class PostOffice:
    """What it does with a message goes by the recipient's first word: `later` is told 451 twice and then 250, `never`
    550, `gone` nothing after the text was taken; everybody else 250. `taken` counts texts by recipient."""

    port: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:
        self.asked[address] += 1
        if address.startswith("never"):
            return "550 No such mailbox"
        if address.startswith("later") and self.asked[address] <= 2:
            return "451 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _: Session, envelope: Envelope) -> str:
        [address] = envelope.rcpt_tos
        self.taken[address] += 1
        if address.startswith("gone"):
            transport: Any = server.transport
            transport.abort()
        return "250 Kept"


@asynccontextmanager
async def post_office() -> AsyncIterator[PostOffice]:
    """A server on a free port of this machine, for as long as the context lasts."""
    office = PostOffice()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(office, hostname="localhost"), "127.0.0.1", 0)
    async with server:
        office.port = server.sockets[0].getsockname()[1]
        yield office
