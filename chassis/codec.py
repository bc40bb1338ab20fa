"""The one port between facts and bytes. Plain JSON for now; encryption will be another codec, nothing else changes.

Rule: the bytes are what counts. They are made once, at the append, and kept and published as they are.
"""

import re
from collections.abc import Mapping
from typing import Protocol

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from contracts.catalogue import FACTS, NAMES, without_version
from contracts.event import CONTENT_TYPE, Event, Undecodable, event_of
from contracts.fact import Fact

# An escaped NUL: PostgreSQL has no place for it in a text, so no reader could store it. An even number of
# backslashes before it are backslashes of the text itself.
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class UnknownType(Exception):
    """A fact that this release has never heard of. `args[0]` is its wire name."""


class UnknownVersion(Exception):
    """A fact that this release knows, in a version that it does not. `args[0]` is its wire name."""


class Unencodable(Exception):
    """A fact that may not be written: its text holds what readers could not store."""


class Codec(Protocol):
    """Turns facts into the bytes that are kept, and back."""

    def encode(self, fact: Fact) -> tuple[bytes, str]:
        """The value and its content type. Raises Unencodable."""

    def decode(self, type: str, content_type: str, value: bytes) -> Fact:
        """Raises UnknownType, UnknownVersion or Undecodable."""


class Plain:
    """JSON as pydantic writes and reads it."""

    def encode(self, fact: Fact) -> tuple[bytes, str]:
        try:
            value = fact.model_dump_json().encode()
        except (PydanticSerializationError, UnicodeEncodeError):  # A lone surrogate. The error would quote the text.
            raise Unencodable("a text is not valid Unicode") from None
        if b"\\u0000" in value and NUL.search(value):
            raise Unencodable("a text holds the character NUL")
        return value, CONTENT_TYPE

    def decode(self, type: str, content_type: str, value: bytes) -> Fact:
        fact = FACTS.get(type)
        if fact is None:
            raise UnknownVersion(type) if without_version(type) in NAMES else UnknownType(type)
        if content_type != CONTENT_TYPE:
            raise Undecodable("the content type is not JSON")
        try:
            return fact.model_validate_json(value)
        except ValidationError:  # It would quote what the value holds.
            raise Undecodable(f"the value is no {type}") from None


PLAIN: Codec = Plain()


def event_from(headers: Mapping[str, str], value: bytes, codec: Codec = PLAIN) -> Event[Fact]:
    """The event that a record holds. Raises UnknownType, UnknownVersion or Undecodable."""
    try:
        type, content_type = headers["ce_type"], headers["content-type"]
    except KeyError as missing:
        raise Undecodable(f"attribute {missing} is missing") from None
    return event_of(headers, codec.decode(type, content_type, value))
