"""Pages: templates filled on the server, with a style sheet from a file and nothing that runs in the browser."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chassis.identity import Caller

from ..projections import CareView, words
from ..projections.moments import zone_of

HERE = Path(__file__).parent
STATIC = HERE / "static"


@dataclass(frozen=True)
class File:
    """A file that pages name. Its address changes with its content, so that browsers may keep it for ever."""

    address: str
    content: bytes
    media_type: str


def file(name: str, media_type: str) -> File:
    content = (STATIC / name).read_bytes()
    stem, _, ending = name.partition(".")
    return File(f"/static/{stem}.{sha256(content).hexdigest()[:12]}.{ending}", content, media_type)


STYLE, ICON = file("style.css", "text/css; charset=utf-8"), file("icon.svg", "image/svg+xml")

# Everything that is not named is forbidden: no script, no frame, no other site, no style within a page.
CONTENT_SECURITY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Pages:
    """Fills the templates. Autoescape is on for all of them: what people wrote is text and never markup."""

    def __init__(self) -> None:
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals.update(style_address=STYLE.address, icon_address=ICON.address)
        filters: Mapping[str, Callable[..., Any]] = {
            "day": words.day,
            "wall": words.wall,
            "zone": words.zone,
            "dose": words.dose,
            "frequency": words.frequency,
            "listed": words.listed,
            "said": words.said,
            "route": lambda code: words.said(code, words.ROUTES),
            "approach": lambda code: words.said(code, words.APPROACHES),
            "channel": lambda code: words.said(code, words.CHANNELS),
            "follow_up": lambda code: words.said(code, words.FOLLOW_UPS),
            "ended_as": lambda code: words.said(code, words.ENDED_AS),
            "stopped_for": lambda code: words.said(code, words.STOPPED_FOR),
            "safety_action": lambda code: words.said(code, words.SAFETY_ACTIONS),
            "day_of": lambda text: words.day(date.fromisoformat(text)),
        }
        self.templates.filters.update(filters)

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """One template, as it is sent."""
        text = self.templates.get_template(template).render(**values)
        return Response(text, status, {"Content-Security-Policy": CONTENT_SECURITY}, "text/html; charset=utf-8")

    def of_patient(self, template: str, caller: Caller, view: CareView, **values: Any) -> Response:
        """A page about one patient, in the time zone in which the patient lives."""
        zone = zone_of(view)
        return self.page(template, caller=caller, zone=zone.key, local=Local(zone), who=Who(view), view=view, **values)

    def signed_out(self) -> Response:
        return self.page("notice.html", title="Signed out", sentence="You are signed out of the care view.")

    def problem(self, status: int, title: str, sentence: str, headers: Mapping[str, str]) -> Response:
        """A refusal, for a person."""
        answer = self.page("notice.html", status=status, title=title, sentence=sentence)
        answer.headers.update(headers)
        return answer


class Local:
    """Moments as the patient's clocks show them."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone

    def day(self, at: datetime) -> str:
        return words.day(at.astimezone(self.zone))

    def clock(self, at: datetime) -> str:
        return f"{at.astimezone(self.zone):%H:%M}"

    def minute(self, at: datetime) -> str:
        return f"{self.day(at)} {self.clock(at)}"


class Who:
    """People of the care team by name, also those who have left it; others by their id, shortened."""

    def __init__(self, view: CareView) -> None:
        self.names = {member.person: member.name for member in (*view.patient.released, *view.patient.team)}

    def __call__(self, person: str) -> str:
        return self.names.get(person) or (person if len(person) < 30 else f"{person[:8]}…")
