"""What a play must have brought about: a committed list, judged by what the audit archive and the mailbox hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from .clinic import resolved


class Expectation(BaseModel):
    """One sentence, and how it is seen: facts of a type, or messages to an address.

    `where` names fields of the fact by their path (`rule.rule_id`) with the value each must have; `@name` stands
    for an id. Exactly `count` are expected, or at least `at_least`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentence: str
    patient: str | None = None
    type: str | None = None
    where: Mapping[str, Any] = Field(default_factory=dict)
    mail_to: str | None = None
    mail_matches: str = ""  # A regular expression that subject and body together must match.
    count: int | None = None
    at_least: int | None = None

    @model_validator(mode="after")
    def one_of_each(self) -> "Expectation":
        """Raises ValueError unless it is about facts or mail, and says how many."""
        if (self.type is None) == (self.mail_to is None):
            raise ValueError("an expectation is about facts (type) or about mail (mail_to)")
        if (self.count is None) == (self.at_least is None):
            raise ValueError("say count or at_least")
        return self


@dataclass(frozen=True)
class Seen:
    """An expectation and how many facts or messages met it."""

    expectation: Expectation
    number: int

    @property
    def met(self) -> bool:
        if self.expectation.count is not None:
            return self.number == self.expectation.count
        return self.number >= (self.expectation.at_least or 0)

    @property
    def shortfall(self) -> str:
        wanted = self.expectation
        number = f"{wanted.count}" if wanted.count is not None else f"at least {wanted.at_least}"
        return f"{wanted.sentence}: {number} expected, {self.number} seen"


def read(path: Path) -> list[Expectation]:
    """Raises pydantic's ValidationError, which names what is wrong."""
    return TypeAdapter(list[Expectation]).validate_json(path.read_bytes())


def seen(expectation: Expectation, facts: Sequence[Mapping[str, Any]], mail: Sequence[Mapping[str, Any]]) -> Seen:
    """`facts` as the audit archive lists them (`type`, `key`, `fact`), `mail` as the mailbox does."""
    if expectation.type:
        patient = resolved(expectation.patient) if expectation.patient else None
        number = sum(
            fact["type"] == expectation.type
            and patient in (None, fact["key"])
            and all(at(fact["fact"], path) == resolved(value) for path, value in expectation.where.items())
            for fact in facts
        )
    else:
        number = sum(
            expectation.mail_to in message["to"]
            and re.search(expectation.mail_matches, f"{message['subject']}\n{message['body']}") is not None
            for message in mail
        )
    return Seen(expectation, number)


def at(found: Any, path: str) -> Any:
    """The value at a path such as `rule.rule_id`; None where there is none."""
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
