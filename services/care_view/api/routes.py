"""The routes of the care view. Whoever is shown anything is recorded before the first byte leaves."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response

from chassis.access import NotYetKnown, Refused, Stale
from chassis.clock import Clock
from chassis.documents import Document, Documents, NotLive, TimelinePage
from chassis.http import Problem, Viewing, Views
from chassis.http.problems import problem_of
from chassis.identity import Asking
from chassis.position import Position

from ..domain.scales import Scale
from ..projections import KINDS, NOTHING_KNOWN, CareView, Kind
from ..projections.presented import Presented, presented
from .pages import ICON, STYLE, File, Pages
from .picture import picture
from .sign_in import SignIn, wants_page

WAIT_S = 5.0  # All that `after` names must be seen within this time; see chassis/access.py, which waits as long.
LINES_A_PAGE, MOST_LINES_A_PAGE = 50, 200
LINES_BESIDE = 8  # The last few lines, on the patient's own page.
BEHIND_S = 5.0  # Further behind than this, and the page says so.
JSON = "application/json"


@dataclass(frozen=True)
class Shown:
    """What one request is shown, before it is JSON or a page."""

    view: CareView
    presented: Presented
    lines: TimelinePage


class Look:
    """Loads what a request asks for, and says how far behind it may be."""

    def __init__(self, documents: Documents[CareView], clock: Clock, behind_s: Callable[[], float]) -> None:
        self.documents, self.clock, self.behind_s = documents, clock, behind_s

    async def at(
        self, patient: UUID, after: Sequence[Position], *, strict: bool, lines: Mapping[str, Any] | None = None
    ) -> Shown:
        """The view and a page of the timeline. Raises NotYetKnown if `strict` and `after` did not arrive in time."""
        key = str(patient)
        arrived = await self.documents.wait(key, after, WAIT_S)
        try:
            found, page = await asyncio.gather(self.documents.get(key), self.lines(key, lines))
        except NotLive:
            raise Problem(503, "view_replaced", "A newer version of this view is in use. Try again shortly.") from None
        missing = [] if arrived else [one for one in after if not has_seen(found, one)]
        if missing and strict and not (found and found.stale_since):
            raise NotYetKnown(*missing)
        view = found.document if found else NOTHING_KNOWN
        shown = presented(
            key,
            view,
            await self.clock.now(),
            seen=found.seen if found else {},
            simulated_time=self.clock.simulated,
            stale_since=found.stale_since if found else None,
            not_yet_seen=[str(one) for one in missing],
        )
        return Shown(view, shown, page)

    async def lines(self, key: str, asked: Mapping[str, Any] | None) -> TimelinePage:
        """Raises Problem for a cursor that is none."""
        if asked is None:
            return TimelinePage((), None)
        try:
            return await self.documents.entries(key, **asked)
        except ValueError:
            sentence = "Send `before` exactly as `next` of the page before gave it."
            raise Problem(422, "unknown_cursor", sentence) from None

    def behind(self) -> float | None:
        """How far this reader is behind what is published, in seconds; None while nobody has looked."""
        age_s = self.behind_s()
        return None if math.isinf(age_s) else round(age_s, 1)


def has_seen(found: Document[CareView] | None, position: Position) -> bool:
    return found is not None and found.seen.get(position.source, 0) >= position.sequence


@dataclass(frozen=True)
class Answers:
    """The two things that are shown, each as JSON or as a page, recorded before it is answered."""

    views: Views
    look: Look
    pages: Pages
    scales: Mapping[str, Scale]

    async def patient(self, asking: Asking, patient_id: UUID, *, page: bool) -> Response:
        lines = {"limit": LINES_BESIDE} if page else None

        async def load() -> Shown:
            return await self.look.at(patient_id, asking.after, strict=not page, lines=lines)

        shown = await self.views.show(asking, "care_view.patient", patient_id, load)
        if not page:
            return Response(msgspec.json.encode(shown.presented), media_type=JSON)
        drawn = picture(shown.view, shown.presented.as_of, self.scales)
        return self.page("patient.html", asking, shown, picture=drawn)

    async def timeline(
        self, asking: Asking, patient_id: UUID, kind: Kind | None, before: str | None, limit: int, *, page: bool
    ) -> Response:
        lines = {"kind": kind, "before": before, "limit": limit}

        async def load() -> Shown:
            return await self.look.at(patient_id, asking.after, strict=not page, lines=lines)

        shown = await self.views.show(asking, "care_view.timeline", patient_id, load)
        if not page:
            return Response(msgspec.json.encode(as_listed(shown)), media_type=JSON)
        return self.page("timeline.html", asking, shown, kind=kind, kinds=KINDS)

    def page(self, template: str, asking: Asking, shown: Shown, **values: Any) -> Response:
        return self.pages.of_patient(
            template,
            asking.caller,
            shown.view,
            shown=shown.presented,
            lines=shown.lines,
            behind_s=self.look.behind(),
            too_far_behind_s=BEHIND_S,
            rules_signed=all(scale.signed for scale in self.scales.values()),
            **values,
        )


def routes(answers: Answers, sign_in: SignIn) -> list[APIRouter]:
    router = APIRouter(dependencies=[sign_in.needed()])
    pages = answers.pages

    @router.get("/patients/{patient_id}")
    async def patient(patient_id: UUID, viewing: Viewing, request: Request) -> Response:
        """One patient's care, joined. `after` waits until the view has seen those facts; a page in a browser."""
        page = wants_page(request)
        return await told(answers.patient(viewing, patient_id, page=page), pages if page else None)

    @router.get("/patients/{patient_id}/timeline")
    async def timeline(
        patient_id: UUID,
        viewing: Viewing,
        request: Request,
        kind: Annotated[Kind | None, Query(description="Only lines of this kind.")] = None,
        before: Annotated[str | None, Query(max_length=500, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LINES_A_PAGE)] = LINES_A_PAGE,
    ) -> Response:
        """Every fact of the patient as a line that a person can read, the latest first."""
        page = wants_page(request)
        answer = answers.timeline(viewing, patient_id, kind, before, limit, page=page)
        return await told(answer, pages if page else None)

    return [router, sign_in.routes(), open_to_all(pages)]


def open_to_all(pages: Pages) -> APIRouter:
    """What shows nobody's record."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def start() -> Response:
        sentence = "Open a patient's page by its address: /patients/ and the patient's id."
        return pages.page("notice.html", title="Tandem: the care view", sentence=sentence)

    @router.get(STYLE.address)
    async def style() -> Response:
        return sent(STYLE)

    @router.get(ICON.address)
    async def icon() -> Response:
        return sent(ICON)

    return router


def sent(file: File) -> Response:
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(file.content, media_type=file.media_type, headers=headers)


async def told(answer: Awaitable[Response], pages: Pages | None) -> Response:
    """The answer; for a browser a refusal is a page too, for a person is to read it."""
    try:
        return await answer
    except (Problem, Refused, Stale, NotYetKnown) as refusal:
        if pages is None:
            raise
        problem = problem_of(refusal)
        title = HTTPStatus(problem.status_code).phrase
        return pages.problem(problem.status_code, title, problem.detail, problem.headers or {})


def as_listed(shown: Shown) -> dict[str, Any]:
    """The timeline as JSON: a line, the fact it comes from, who and when."""
    return {
        "patient_id": shown.presented.patient_id,
        "as_of": shown.presented.as_of,
        "simulated_time": shown.presented.simulated_time,
        "seen": shown.presented.seen,
        "stale_since": shown.presented.stale_since,
        "entries": [
            {
                "id": line.event_id,
                "source": line.source,
                "sequence": line.sequence,
                "kind": line.kind,
                "line": line.line,
                "type": line.type,
                "occurred_at": line.occurred_at,
                "recorded_at": line.recorded_at,
                "actor": line.actor,
                "actor_role": line.actor_role,
                "correlation_id": line.correlation_id,
            }
            for line in shown.lines.entries
        ],
        "next": shown.lines.before,
    }
