"""A clinic's days as JSON lines: who, when, which house, what.

A line either names a person of the staff or asks a house for something:

    {"person": "dr-lind", "role": "prescriber", "clinics": ["north"], "name": "Dr Mara Lind"}
    {"at": "2026-01-05T09:10:00-05:00", "who": "dr-lind", "house": "prescribing",
     "post": "/patients/@ana/orders", "with": {"order_id": "@ana/sertraline", …}}

Anything that begins with `@` (a whole text, or a segment of the path) is a name that stands for a UUID: the same
name gives the same id in every run. A person's id is that of `@person/NAME`. `expect` says that the line is to be
refused, with its reason; without it a refusal is a fault of the file. Empty lines and lines that begin with `#`
are passed over.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from contracts.roles import Role

House = Literal["patients", "prescribing", "therapy", "scheduling", "notifications", "care_view", "audit"]
NAMES = uuid5(NAMESPACE_URL, "tandem/clinic")
NAMED = re.compile(r"@[a-z0-9][a-z0-9.-]*(?:/[a-z0-9][a-z0-9.-]*)*")
LONGEST_LINE = 64 * 1024  # Characters; a command's body may not be larger either.


class Line(BaseModel):
    """Nothing but what is named here may stand in a line: a misspelt field is a fault, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class PersonLine(Line):
    """Somebody who acts in the file."""

    person: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    role: Role
    clinics: tuple[str, ...] = ()
    name: str = Field(min_length=1)
    patient: str | None = None


class CommandLine(Line):
    """One command: `post` is the path at the house, `body` (written `with`) what is sent there."""

    at: AwareDatetime
    who: str
    house: House
    post: str = Field(pattern=r"^/\S+$")
    body: dict[str, JsonValue] = Field(default_factory=dict, alias="with")
    expect: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")


@dataclass(frozen=True)
class Asked:
    """A command ready to be sent: names resolved, its idempotency key fixed by what the line says."""

    number: int
    line: CommandLine
    who: PersonLine
    path: str
    body: JsonValue
    key: str

    @property
    def patient(self) -> str | None:
        """The patient the path speaks of, or whom an enrolment brings in."""
        found = re.search(r"/patients/([0-9a-f-]{36})", self.path)
        if found:
            return found.group(1)
        brought = self.body.get("patient_id") if isinstance(self.body, dict) else None
        return brought if isinstance(brought, str) else None


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be used, and why, in words for whoever wrote it."""

    number: int
    reason: str


def id_of(name: str) -> UUID:
    """The id that `@name` stands for."""
    return uuid5(NAMES, name.removeprefix("@"))


def person_id(name: str) -> UUID:
    """The id under which a person of the file acts."""
    return id_of(f"person/{name}")


def resolved(value: JsonValue) -> JsonValue:
    """The value with every text that is a name replaced by its id."""
    if isinstance(value, str):
        return str(id_of(value)) if NAMED.fullmatch(value) else value
    if isinstance(value, list):
        return [resolved(item) for item in value]
    if isinstance(value, dict):
        return {key: resolved(item) for key, item in value.items()}
    return value


def resolved_path(path: str) -> str:
    """The path with every segment that begins with `@` replaced; `@ana~sertraline` stands for `@ana/sertraline`."""
    segments = path.split("/")
    return "/".join(str(id_of(s.replace("~", "/"))) if s.startswith("@") else s for s in segments)


def read(lines: Iterable[str]) -> Iterator[Asked | BadLine | PersonLine]:
    """The file's lines in order, each usable or with the reason why not. Never raises for what a line holds."""
    people: dict[str, PersonLine] = {}
    repeats: Counter[str] = Counter()
    latest: CommandLine | None = None
    for number, text in enumerate(lines, start=1):
        stripped = text.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            line = parsed(stripped)
        except ValueError as error:
            yield BadLine(number, reason_of(error))
            continue
        if isinstance(line, PersonLine):
            people[line.person] = line
            yield line
        elif line.who not in people:
            yield BadLine(number, f"nobody named {line.who!r} stands in a line above")
        elif latest and line.at < latest.at:
            yield BadLine(number, f"its time is before {latest.at.isoformat()}, that of a line above")
        else:
            latest = line
            repeats[stripped] += 1
            key = str(uuid5(NAMES, f"{repeats[stripped]} {stripped}"))
            yield Asked(number, line, people[line.who], resolved_path(line.post), resolved(line.body), key)


def parsed(text: str) -> PersonLine | CommandLine:
    """Raises ValueError (pydantic's included) for what is no line."""
    if len(text) > LONGEST_LINE:
        raise ValueError(f"it is longer than {LONGEST_LINE} characters")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return PersonLine.model_validate(found) if "person" in found else CommandLine.model_validate(found)


def reason_of(error: ValueError) -> str:
    """What is wrong, without quoting what the line holds."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'line'}: {e['msg']}" for e in error.errors())
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON at column {error.colno}: {error.msg}"
    return str(error)
