"""What may be asked of audit over HTTP: the archive is searched, and verified. Both are themselves on record."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from chassis.http import Problem, Viewing, Views

from ..domain.report import Report
from .archive import Archive, Cursor, Found, Search

FACTS_A_PAGE, MOST_FACTS_A_PAGE = 100, 1_000
JSON = "application/json"
Name = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]  # PostgreSQL has no place for a NUL.


def routes(views: Views, archive: Archive, verified: Callable[[], Awaitable[Report]]) -> APIRouter:
    router = APIRouter()
    walking = asyncio.Lock()

    @router.get("/facts")
    async def facts(
        viewing: Viewing,
        patient: UUID | None = None,
        actor: Name = None,
        type: Name = None,
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_FACTS_A_PAGE)] = FACTS_A_PAGE,
        before: Annotated[str | None, Query(max_length=2_000)] = None,
    ) -> Response:
        """Facts by patient (their own and who looked), actor, type and recorded time; newest first."""
        search, cursor = Search(patient, actor, type, since, until), place(before)

        async def load() -> tuple[Found, list[UUID]]:
            found = await archive.find(search, limit, cursor)
            return found, list(found.patients)

        found = await views.show_found(viewing, "audit.facts", load)
        return Response(msgspec.json.encode({"facts": found.facts, "next": found.next}), media_type=JSON)

    @router.post("/verifications")
    async def verification(viewing: Viewing) -> Response:
        """Walk every chain of the archive now, and report. The houses' own tables are `tandem audit verify`'s."""
        if walking.locked():
            raise Problem(409, "verification_running", "The archive is being walked. Ask again when that has ended.")
        async with walking:
            began = datetime.now(UTC)

            async def load() -> tuple[Report, list[UUID]]:
                return await verified(), []

            report = await views.show_found(viewing, "audit.verify", load)
        took_s = (datetime.now(UTC) - began).total_seconds()
        return Response(report.as_json(), media_type=JSON, headers={"Server-Timing": f"walk;dur={took_s * 1000:.0f}"})

    return router


def place(before: str | None) -> Cursor | None:
    """Raises Problem for a cursor that is none."""
    try:
        return Cursor.parse(before) if before else None
    except ValueError:
        raise Problem(422, "unknown_cursor", "Send `before` exactly as `next` of the page before gave it.") from None
