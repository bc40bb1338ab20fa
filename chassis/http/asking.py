"""Who asks, why, and how far they must be able to see: what commands and views have in common."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from contracts.roles import Purpose, Role

from ..identity import Asking, Caller, Unauthenticated
from ..position import Position

COOKIE = "tandem_token"

# Why somebody looks or acts, unless they say otherwise.
USUAL: Mapping[Role, Purpose] = {
    "patient": "PATRQT",
    "representative": "PATRQT",
    "privacy_officer": "HOPERAT",
    "auditor": "HOPERAT",
    "operator": "SYSADMIN",
}


async def caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))],
) -> Caller:
    """Who asks. A browser may bring the token in a cookie, but only to look: another site could make it act."""
    if bearer:
        token: str | None = bearer.credentials
    else:
        token = request.cookies.get(COOKIE) if request.method in ("GET", "HEAD") else None
    if not token:
        raise Unauthenticated("missing")
    found: Caller = await request.app.state.identity.caller(token)
    return found


def position(text: str) -> str:
    """The text, if it spells a position."""
    try:
        Position.parse(text)
    except ValueError:
        expected = "Input should be the position that a command was answered with, such as patients:17"
        raise PydanticCustomError("position", expected) from None
    return text


async def asking(
    request: Request,
    who: Annotated[Caller, Depends(caller)],
    after: Annotated[
        list[Annotated[str, AfterValidator(position)]],
        Query(max_length=8, description="Positions that must be seen first, such as `patients:17`."),
    ] = [],  # noqa: B006 - FastAPI copies it
    reason: Annotated[
        Purpose | None,
        Header(alias="Tandem-Reason", description="HL7 v3 purpose of use; by the caller's role unless given."),
    ] = None,
) -> Asking:
    """What every command and every view is asked with."""
    positions = tuple(Position.parse(text) for text in after)
    return Asking(who, positions, reason or USUAL.get(who.person.role, "TREAT"), request.state.correlation_id)


Viewing = Annotated[Asking, Depends(asking)]
