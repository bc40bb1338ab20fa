"""Around every request: its correlation id, a bound on its body, what browsers must be told, one line in the log.

Outermost of all that is ours, so that a failure nobody foresaw becomes a problem document and not a traceback.
"""

import logging
import time
from uuid import UUID, uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..database import is_transient
from ..logs import failure, log
from ..metrics import REQUESTS
from .problems import RETRY_SOON, Problem, answer

CORRELATION = "Tandem-Correlation-Id"
BODY_BYTES = 1_048_576  # A command is a few kilobytes; a fact may have at most 512 KiB.

# Pages add what they need; everything else is data, which no browser should run, frame, keep or tell others of.
TOLD_TO_BROWSERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


ASKED_ALL_DAY = ("/live", "/ready", "/metrics")  # By machines, every few seconds.


class Plumbing:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        passage = Passage(scope, receive, send)
        structlog.contextvars.clear_contextvars()  # Uvicorn's task may serve many requests.
        structlog.contextvars.bind_contextvars(correlation_id=str(passage.correlation_id))
        try:
            await self.app(scope, passage.receive, passage.send)
        except ClientDisconnect:
            passage.status = 499  # As nginx counts it: nobody is there to be answered.
        except Exception as error:
            await passage.failed(error)
        finally:
            passage.told()


class Passage:
    """One request on its way through, and its answer on the way back."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive_next, self.send_on = scope, receive, send
        self.headers = Headers(scope=scope)
        self.correlation_id = given_or_new(self.headers.get(CORRELATION))
        scope.setdefault("state", {})["correlation_id"] = self.correlation_id
        self.began_at = time.perf_counter()
        self.received_bytes = 0
        self.status = 0  # None sent yet.

    async def receive(self) -> Message:
        """The next part of the body. Raises Problem once it is, or says that it will be, too long."""
        declared = self.headers.get("content-length", "")
        message = await self.receive_next() if not too_long(declared) else None
        if message and message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
        if message is None or self.received_bytes > BODY_BYTES:
            raise Problem(413, "body_too_long", f"Send at most {BODY_BYTES} bytes.", headers={"Connection": "close"})
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in TOLD_TO_BROWSERS.items():
                headers.setdefault(name, value)
            headers[CORRELATION] = str(self.correlation_id)
        await self.send_on(message)

    async def failed(self, error: Exception) -> None:
        """Answers for what nobody foresaw, or breaks off when the answer had begun."""
        transient = is_transient(error)
        log.error("request_failed", transient=transient, **failure(error))
        if self.status:
            raise BrokenOff from None  # The server closes the connection, so nobody takes half an answer for a whole.
        problem = UNAVAILABLE if transient else INTERNAL
        await answer(Request(self.scope), problem)(self.scope, self.receive, self.send)

    def told(self) -> None:
        """One line and one measurement. The address is told as its template: no query, no id."""
        seconds = time.perf_counter() - self.began_at
        route = getattr(self.scope.get("route"), "path", "unmatched")
        method = self.scope["method"] if route != "unmatched" else "any"  # A client can invent methods.
        REQUESTS.labels(method, route, str(self.status)).observe(seconds)
        log.log(
            logging.DEBUG if route in ASKED_ALL_DAY else logging.INFO,
            "request_answered",
            method=method,
            route=route,
            status=self.status,
            reason=self.scope["state"].get("reason"),
            duration_ms=round(seconds * 1000, 1),
        )


class BrokenOff(Exception):
    """An answer that had begun cannot be finished. Carries nothing of what went wrong."""


# Built once: a problem has no state but what is given here.
UNAVAILABLE = Problem(
    503,
    "unavailable",
    "A part of the system does not answer. Send the same again, a command with the same Idempotency-Key: "
    "if it had been carried out, the first answer is given again.",
    headers=RETRY_SOON,
)
INTERNAL = Problem(
    500,
    "internal_error",
    "This is our fault and has been logged under the id in `instance`. A command may be sent again with the same "
    "Idempotency-Key.",
)


def too_long(declared: str) -> bool:
    """Whether a Content-Length promises too much; one that is no number is the server's to refuse."""
    return declared.isdecimal() and int(declared[:20]) > BODY_BYTES


def given_or_new(given: str | None) -> UUID:
    """The caller's correlation id if it is a UUID, else a new one."""
    try:
        return UUID(given) if given else uuid4()
    except ValueError:
        return uuid4()
