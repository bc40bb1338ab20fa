"""A mailbox for development: a real SMTP server that delivers every message into one folder.

A message is on disk before it is accepted, so that what a sender believes sent can be counted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LARGEST_MESSAGE = 1 << 20  # Bytes; what Tandem sends has a few hundred words.


class Mailbox:
    """The folder, and the order in which messages reached it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(".*"):
            unfinished.unlink()
        last = max((int(path.stem) for path in folder.glob("*.eml")), default=0)
        self._orders = itertools.count(last + 1)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd calls it so.
        """Keep a message; the answer is what the sender is told."""
        content = envelope.original_content or b""
        # The envelope is not in the message: a blind copy shows only here.
        trace = f"X-Envelope-From: {envelope.mail_from}\r\n" + "".join(
            f"X-Envelope-To: {recipient}\r\n" for recipient in envelope.rcpt_tos
        )
        self._keep(trace.encode() + content)
        return "250 Kept"

    def _keep(self, content: bytes) -> None:
        order = next(self._orders)
        unfinished = self._folder / f".{order}"
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._folder / f"{order:08d}.eml")
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # Else the name could be lost though the bytes are safe.
        finally:
            os.close(folder)

    async def messages(self, request: Request) -> Response:
        """All messages in order of arrival; `?to=` and `?after=` (an order) choose among them."""
        to = request.query_params.get("to")
        try:
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            return JSONResponse({"error": "after must be the order of a message"}, status_code=400)
        paths = sorted(path for path in self._folder.glob("*.eml") if int(path.stem) > after)
        found = [describe(int(path.stem), path.read_bytes()) for path in paths]
        return JSONResponse([one for one in found if to is None or to in one["to"]])

    async def health(self, _: Request) -> Response:
        return Response(status_code=204)


def describe(order: int, content: bytes) -> dict[str, Any]:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain", "html"))
    return {
        "order": order,
        "from": str(message["X-Envelope-From"]),
        "to": [str(recipient) for recipient in message.get_all("X-Envelope-To", [])],
        "subject": str(message["Subject"] or ""),
        "message_id": str(message["Message-ID"] or ""),
        "date": str(message["Date"] or ""),
        "body": body.get_content() if body else "",
    }


async def serve(host: str, smtp_port: int, http_port: int, folder: Path) -> None:
    """Both servers, until a signal ends them."""
    mailbox = Mailbox(folder)
    smtp = await asyncio.get_running_loop().create_server(
        # The host's name is given: looking it up can take seconds on a machine without a network.
        lambda: SMTP(mailbox, hostname="localhost", data_size_limit=LARGEST_MESSAGE, enable_SMTPUTF8=True),
        host,
        smtp_port,
    )
    app = Starlette(routes=[Route("/messages", mailbox.messages), Route("/health", mailbox.health)])
    config = uvicorn.Config(app, host=host, port=http_port, access_log=False)
    async with smtp:
        await uvicorn.Server(config).serve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    asyncio.run(serve(asked.host, asked.smtp_port, asked.http_port, asked.folder))


if __name__ == "__main__":
    main()
