"""The words of a message: a template in the patient's language, filled in, and checked against the lexicon.

A template says nothing of drug, diagnosis, measure, kind of clinic or reason: a first name or none, day, time and where
to sign in. Every template is checked in every language, with every day and month, before the house starts.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from contracts.notifications import MessagePurpose

from .lexicon import LANGUAGES, Lexicon, latin_name

FILE = Path(__file__).parent / "templates.toml"
PLACES = frozenset({"name", "day", "date", "month", "time", "link"})
OF_A_VISIT = frozenset({"day", "date", "month", "time"})
PARTS = ("subject", "greeting", "greeting_by_name", "body")
TEMPLATE_FOR: Mapping[MessagePurpose, str] = {
    "appointment_reminder": "appointment_reminder",
    "follow_up": "follow_up_invitation",
}
EXAMPLE = datetime(2026, 1, 5, 9, 30)


class BadTemplates(Exception):
    """The templates cannot be used. `args[0]` names template, language and what is wrong."""


@dataclass(frozen=True)
class Calendar:
    """How days, months and hours are said in one language."""

    days: Sequence[str]
    months: Sequence[str]
    clock: Literal["12", "24"]
    at_one: str  # What stands before the hour, where a language has an article there.
    at_other_hours: str

    def said(self, at: datetime) -> Mapping[str, str]:
        hour, half = (at.hour % 12 or 12, " am" if at.hour < 12 else " pm") if self.clock == "12" else (at.hour, "")
        article = self.at_one if hour == 1 else self.at_other_hours
        return {
            "day": self.days[at.weekday()],
            "date": str(at.day),
            "month": self.months[at.month - 1],
            "time": f"{article}{hour}:{at.minute:02d}{half}",
        }


@dataclass(frozen=True)
class Template:
    """One message in one language; its parts hold places in braces."""

    subject: str
    greeting: str
    greeting_by_name: str
    body: str


@dataclass(frozen=True)
class Text:
    """A message as it is to leave."""

    language: str
    subject: str
    body: str


@dataclass(frozen=True)
class Wording:
    """All that is needed to write, and to see that nothing is given away."""

    lexicon: Lexicon
    versions: Mapping[str, str]  # Of each template, the newest.
    templates: Mapping[tuple[str, str, str], Template]  # By name, version and language.
    calendars: Mapping[str, Calendar]

    def write(
        self,
        template: str,
        version: str,
        *,
        language: str,
        given_name: str | None,
        link: str,
        wall_time: datetime | None,
    ) -> Text:
        """The text; in the first language where the patient's is none in which we write.

        A first name that could say something else is left out. Raises KeyError for a template that is not on file.
        """
        spoken = language.partition("-")[0].lower()
        spoken = spoken if spoken in LANGUAGES else LANGUAGES[0]
        found = self.templates[template, version, spoken]
        name = latin_name(given_name, self.lexicon) if given_name else None
        filling = {"link": link, "name": name or "", **(self.calendars[spoken].said(wall_time) if wall_time else {})}
        greeting = found.greeting_by_name if name else found.greeting
        return Text(
            language=spoken,
            subject=found.subject.format_map(filling),
            body=f"{greeting.format_map(filling)}\n\n{found.body.strip().format_map(filling)}\n",
        )


def load_wording(lexicon: Lexicon, file: Path = FILE) -> Wording:
    """The templates of a file. Raises BadTemplates."""
    return wording_from(tomllib.loads(file.read_text(encoding="utf-8")), lexicon)


def wording_from(found: Mapping[str, Any], lexicon: Lexicon) -> Wording:
    """The wording that the data makes. Raises BadTemplates for words that may not leave, or places that are none."""
    if set(found["calendar"]) != set(LANGUAGES):
        raise BadTemplates("a calendar for each language that has a lexicon, and for no other")
    calendars = {language: Calendar(**found["calendar"][language]) for language in LANGUAGES}
    templates: dict[tuple[str, str, str], Template] = {}
    versions: dict[str, str] = {}
    for row in found["template"]:
        name, version = row["name"], row["version"]
        if set(row) != {"name", "version", *LANGUAGES}:
            raise BadTemplates(f"{name} {version}: each language that has a lexicon, and no other")
        if (name, version, LANGUAGES[0]) in templates:
            raise BadTemplates(f"{name} {version} stands there twice")
        for language in LANGUAGES:
            templates[name, version, language] = template_from(f"{name} {version} {language}", row[language])
        versions[name] = max(version, versions.get(name, version), key=int)
    if missing := set(TEMPLATE_FOR.values()) - set(versions):
        raise BadTemplates(f"no template for {sorted(missing)}")
    wording = Wording(lexicon, versions, templates, calendars)
    check(wording)
    return wording


def template_from(which: str, row: Mapping[str, str]) -> Template:
    if set(row) != set(PARTS):
        raise BadTemplates(f"{which}: its parts are {', '.join(PARTS)}")
    for part, words in row.items():
        try:
            places = {place for _, place, _, _ in Formatter().parse(words) if place is not None}
        except ValueError as error:
            raise BadTemplates(f"{which}: {part}: {error}") from None
        if unknown := places - PLACES:
            raise BadTemplates(f"{which}: {part}: nothing is known to fill in for {sorted(unknown)}")
        if "\n" in words and part != "body":
            raise BadTemplates(f"{which}: {part} is one line")
    return Template(**row)


def check(wording: Wording) -> None:
    """Refuses a template that would give something away in any language, on any day, in any month."""
    for (name, version, language), template in wording.templates.items():
        if bool(OF_A_VISIT & places_of(template)) != (name == TEMPLATE_FOR["appointment_reminder"]):
            raise BadTemplates(f"{name} {version} {language}: a visit's time belongs into its reminder and only there")
        for days in (*range(7), *range(10, 365, 28)):
            for given_name in ("Ana", None):
                text = wording.write(
                    name,
                    version,
                    language=language,
                    given_name=given_name,
                    link="https://example.org",
                    wall_time=EXAMPLE + timedelta(days=days, hours=days),
                )
                if hits := wording.lexicon.found_in(text.subject, text.body):
                    raise BadTemplates(f"{name} {version} {language}: {hits} may not leave")


def places_of(template: Template) -> set[str]:
    words = template.subject + template.greeting + template.body
    return {place for _, place, _, _ in Formatter().parse(words) if place}
