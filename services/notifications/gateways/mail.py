"""Hands a message to the mail server, and tells apart what a refusal means.

Before the text is handed over nothing has left: every failure may be tried again. Once it was, an answer decides; a
connection that is lost without one leaves nobody who could tell, since mail cannot be looked up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as CRLF
from email.utils import format_datetime
from uuid import UUID

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from ..domain.wording import Text

OPEN_S = 5.0  # Connecting and greeting.
NAMED_S = 5.0  # Sender and recipient.
HAND_OVER_S = 60.0  # The text, and the server's answer to it; less than the list gives an attempt.
LEAVE_S = 2.0
TEMPORARY = range(400, 500)
# A server that ends the dialogue, or ends without a word, before it had the text.
LOST = (SMTPException, OSError, TimeoutError)


@dataclass(frozen=True)
class Accepted:
    """The server has taken it."""

    provider_id: str


@dataclass(frozen=True)
class Refused:
    """It was not taken. `reason` is a code, never the server's words, which may quote an address."""

    reason: str
    temporary: bool


@dataclass(frozen=True)
class Withheld:
    """It was not handed over: at the last moment it was no longer ours to send, or what allowed it was too old."""


@dataclass(frozen=True)
class Unknown:
    """It was handed over, and no answer came."""


@dataclass(frozen=True)
class Letter:
    """A message as it is handed over."""

    provider_id: str
    address: str
    content: bytes


Outcome = Accepted | Refused | Withheld | Unknown
NO_CONNECTION = Refused("no_connection", temporary=True)


class Mail:
    """A mail server, and in whose name we write."""

    def __init__(self, host: str, port: int, sender: str) -> None:
        self.host, self.port, self.sender = host, port, sender

    @asynccontextmanager
    async def line(self) -> AsyncIterator["Line | Refused"]:
        """A connection for one message, or why there is none."""
        client = SMTP(hostname=self.host, port=self.port, timeout=HAND_OVER_S)
        try:
            try:
                async with asyncio.timeout(OPEN_S):
                    await client.connect()
            except SMTPResponseException as refusal:
                yield refused(refusal)
            except (*LOST, ValueError):  # ValueError: a host's name that is none.
                yield NO_CONNECTION
            else:
                yield Line(client, self.sender)
        finally:
            with suppress(*LOST):
                async with asyncio.timeout(LEAVE_S):
                    await client.quit()
            client.close()


class Line:
    """An open connection."""

    def __init__(self, client: SMTP, sender: str) -> None:
        self.client, self.sender = client, sender

    async def send(self, letter: Letter, ready: Callable[[], Awaitable[bool]]) -> Outcome:
        """Hand over one message; `ready` is asked last, when nothing but the text itself is left to be sent."""
        try:
            async with asyncio.timeout(NAMED_S):
                await self.client.mail(self.sender)
                await self.client.rcpt(letter.address)
        except SMTPResponseException as refusal:
            return refused(refusal)
        except LOST:
            return NO_CONNECTION
        if not await ready():
            return Withheld()
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self.client.data(letter.content)
        except SMTPResponseException as refusal:
            return refused(refusal)
        except LOST:
            return Unknown()
        return Accepted(letter.provider_id)


def refused(refusal: SMTPResponseException) -> Refused:
    return Refused(f"smtp_{refusal.code}", temporary=refusal.code in TEMPORARY)


def written(message_id: UUID, sender: str, address: str, text: Text, at: datetime) -> Letter | None:
    """The message as it is sent; None for an address to which nothing can be sent.

    Its Message-ID is fixed: should it ever arrive twice, a reader's mail program shows it once.
    """
    provider_id = f"<{message_id}@{sender.rpartition('@')[2]}>"
    found = EmailMessage(policy=CRLF)
    try:
        found["From"] = Address(addr_spec=sender)
        found["To"] = Address(addr_spec=address)
        found["Subject"] = text.subject
        found["Date"] = format_datetime(at)
        found["Message-ID"] = provider_id
        found["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice answers it.
        found["Content-Language"] = text.language
        found.set_content(text.body)
        return Letter(provider_id, address, found.as_bytes())
    except (MessageError, ValueError):
        return None
