"""A fact: what happened, as one frozen value whose JSON is the value on the wire.

Facts are added, never edited: a name that was shipped is for ever. Readers ignore unknown fields, so a field
that would change the meaning of others needs a new fact.
"""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

SEGMENT_NONE = "00000000"  # As long as every segment's key id, so that length tells nothing.


class Value(BaseModel):
    """A part of a fact: frozen, tolerant of fields that a later release added."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fact(Value):
    """What happened. The docstring of each fact is its entry in the catalogue.

    `TYPE` is the wire name with its version; `ABOUT` is the subject's form, in which the fact's own fields and
    `patient_id` (the stream's key) may stand in braces.
    """

    TYPE: ClassVar[str]
    ABOUT: ClassVar[str] = "patient/{patient_id}"

    def subject(self, key: str) -> str:
        """What the fact is about, such as `medication-order/6f1c…`; `key` is the stream's."""
        return self.ABOUT.format(patient_id=key, **dict(self))
