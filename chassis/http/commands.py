"""Commands over HTTP: a POST whose body is the domain's command, as it stands, becomes an ask.

A command is asked under an `Idempotency-Key`. The same request again, however late, is the same ask with the same
ids: while the reply is kept it is given again byte for byte, and after that the decision itself finds nothing to do.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID, uuid5

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import AwareDatetime, BaseModel, ValidationError

from contracts.permissions import PERMISSIONS

from ..access import WAIT_S, Access, NotYetKnown
from ..commanding import CommandHandler
from ..decider import Ask
from ..house import House
from ..identity import Asking
from ..position import Position
from ..store import CommandKey
from .asking import asking
from .description import described
from .problems import Problem, invalid

C = TypeVar("C", bound=BaseModel)
Wait = Callable[
    [str, Position], Awaitable[bool]
]  # Whether the house has noted that fact of this stream, after waiting.
Patient = Callable[[Any, UUID], UUID]

ASKS = UUID("4b1a5a5e-6f0e-5a0e-9a6b-0d5a3f1c7e11")  # The namespace of asks made of requests.
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C; any other is ignored, as it says.


@dataclass(frozen=True)
class Asked(Asking):
    """A request to do something. `occurred_at` is None for now."""

    key: str
    occurred_at: datetime | None
    on_behalf_of: str | None


async def asked(
    asking: Annotated[Asking, Depends(asking)],
    key: Annotated[
        str,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=200,
            pattern=r"^[!-~]+$",
            description="A new UUID for each new command, the same one when it is sent again.",
        ),
    ],
    occurred_at: Annotated[
        AwareDatetime | None,
        Header(alias="Tandem-Occurred-At", description="When it happened, if it happened earlier (RFC 3339)."),
    ] = None,
    on_behalf_of: Annotated[
        str | None,
        Header(alias="Tandem-On-Behalf-Of", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$", description="An id."),
    ] = None,
) -> Asked:
    """What every command is asked with."""
    return Asked(**vars(asking), key=key, occurred_at=occurred_at, on_behalf_of=on_behalf_of)


@dataclass(frozen=True)
class Form(Generic[C]):
    """How one command is asked for."""

    path: str
    permission: str  # `<house>.<command>`, a row of contracts/permissions.py.
    model: type[C]
    patient: Patient | None


class Commands(Generic[C]):
    """One house's commands. `waits` tells, by house, who here has noted another house's facts."""

    def __init__(
        self,
        house: House,
        handler: CommandHandler[Any, C, Any],
        access: Access,
        waits: Mapping[str, Wait] | None = None,
    ) -> None:
        self.house, self.handler, self.access = house, handler, access
        self.waits = waits or {}

    def add(self, router: APIRouter, path: str, name: str, model: type[C], *, patient: Patient | None = None) -> None:
        """Serves one command at POST `path`.

        Parameters in the path that are fields of the model become part of the body. The patient is the one in the
        path; where there is none yet, `patient` tells it of the command and the ask's id.
        """
        form = Form(path, f"{self.house.name}.{name}", model, patient)
        if form.permission not in PERMISSIONS or (patient is None) != ("{patient_id}" in path):
            raise ValueError(f"{form.permission} has no row in contracts/permissions.py, or no patient")

        async def command(request: Request, asked: Annotated[Asked, Depends(asked)]) -> Response:
            return await self.carry_out(request, asked, form)

        router.add_api_route(
            path, command, methods=["POST"], name=name, response_model=None, **described(name, path, model)
        )

    async def carry_out(self, request: Request, asked: Asked, form: Form[C]) -> Response:
        """From a request to its answer. Raises Problem, Rejected, KeyReused or Busy, each of which is one."""
        who = asked.caller
        patient = None if form.patient else str(patient_in(request.path_params))
        structlog.contextvars.bind_contextvars(stream=patient)
        await self.access.allow(asked, form.permission, patient)
        given = await body_of(request)
        command = parsed(form.model, given, request.path_params)
        content = digest(request.url.path, given, asked)
        ask_id = uuid5(ASKS, "\n".join((who.issuer, who.person.id, asked.key, content.hex())))
        key = str(form.patient(command, ask_id) if form.patient else patient)
        structlog.contextvars.bind_contextvars(stream=key)
        await self.noted(key, asked.after)
        now = await self.house.clock.now()
        if asked.occurred_at and asked.occurred_at > now:
            raise Problem(422, "occurs_in_the_future", "Send in Tandem-Occurred-At when it happened, not a later time.")
        answer = await self.handler.handle(
            Ask(
                command=command,
                key=key,
                id=ask_id,
                now=now,
                occurred_at=asked.occurred_at.astimezone(UTC) if asked.occurred_at else now,
                actor=who.person.id,
                actor_role=who.person.role,
                reason=asked.reason,
                correlation_id=asked.correlation_id,
                on_behalf_of=asked.on_behalf_of,
            ),
            CommandKey(who.issuer, who.person.id, f"POST {form.path}", asked.key, content),
            traceparent=traceparent(request),
        )
        replayed = {"Idempotent-Replayed": "true"} if answer.replayed else {}
        return Response(answer.reply, media_type="application/json", headers=replayed)

    async def noted(self, key: str, after: tuple[Position, ...]) -> None:
        """Waits until this house has noted what `after` names. Raises NotYetKnown when it has not in time."""
        try:
            async with asyncio.timeout(WAIT_S):
                for position in after:
                    if not await self.has_noted(key, position):
                        raise NotYetKnown(position)
        except TimeoutError:
            raise NotYetKnown(*after) from None

    async def has_noted(self, key: str, position: Position) -> bool:
        """Whether one fact of a patient is known here. Raises Problem for a house that is never listened to here."""
        if position.house == self.house.name:
            _, sequence = await self.handler.state(key)
            return sequence >= position.sequence
        if position.house in self.waits:
            return await self.waits[position.house](key, position)
        if position.house == "patients":
            return True  # Only the access copy listens to them here, and it has been asked.
        raise Problem(422, "never_known_here", f"Leave {position} out: this house does not listen to that one.")


async def body_of(request: Request) -> dict[str, Any]:
    """The body as one JSON object. Raises Problem for anything else, and for a name given twice, which hides one."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "json_expected", "Send the command as JSON, with Content-Type: application/json.")
    try:
        given = json.loads(await request.body(), object_pairs_hook=each_once, parse_constant=refused)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise Problem(400, "malformed_json", "Send a body that is one JSON object, each name in it once.")
    return given


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name stands twice. Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def refused(_: str) -> None:
    """For NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError("not JSON")


def parsed(model: type[C], given: Mapping[str, Any], path: Mapping[str, str]) -> C:
    """The command that body and path make together. Raises Problem."""
    placed = {name: value for name, value in path.items() if name in model.model_fields}
    for name, value in placed.items():
        if name in given and str(given[name]).lower() != value.lower():
            raise Problem(422, "path_and_body_differ", f"Leave {name} out of the body, or give the one in the path.")
    try:
        return model.model_validate_json(json.dumps({**given, **placed}))
    except ValidationError as error:
        raise invalid(error.errors(include_input=False, include_url=False, include_context=False), ("body",)) from None


def patient_in(path: Mapping[str, str]) -> UUID:
    """The patient whom the path names. Raises Problem when it is no id."""
    try:
        return UUID(path["patient_id"])
    except ValueError:
        told = [{"field": "path.patient_id", "expected": "A patient's id, a UUID."}]
        raise Problem(422, "invalid_request", "Correct the fields that `errors` names.", errors=told) from None


def digest(address: str, given: Mapping[str, Any], asked: Asked) -> bytes:
    """What a request asks for, as 32 bytes: the same for the same content, however it is written down."""
    attributes = [str(asked.occurred_at), asked.reason, asked.on_behalf_of]
    return sha256(json.dumps([address, given, attributes], sort_keys=True).encode()).digest()


def traceparent(request: Request) -> str | None:
    """The caller's trace, if it is one."""
    given = request.headers.get("traceparent", "")
    return given if TRACEPARENT.fullmatch(given) else None
