"""How far a reader must have read: `patients:17`, a house and the sequence of one of its facts.

Valid for the patient (or person) whose command was answered with it; it says nothing about anybody else.
"""

import re
from dataclasses import dataclass
from typing import Self

from contracts.topics import HOUSES

FORM = re.compile(r"([a-z_]{1,32}):(0|[1-9][0-9]{0,11})", re.ASCII)  # Twelve digits, as in ce_sequence.


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """One place in one house's chain of a patient."""

    house: str
    sequence: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position that `text` spells. Raises ValueError for anything but a house's name and a number."""
        found = FORM.fullmatch(text)
        if found is None or found[1] not in HOUSES:
            raise ValueError("not a position")
        return cls(found[1], int(found[2]))

    @property
    def source(self) -> str:
        """The house as it stands in `ce_source`."""
        return f"/{self.house}"

    def __str__(self) -> str:
        return f"{self.house}:{self.sequence}"
