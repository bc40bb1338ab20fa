"""What a dose cell of the formulary says: its numbers where they are plain, its words always.

A cell that begins with a digit claims a number, and must keep the claim. A cell without a plain number is *not
known*; it is never read as *no limit*.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

NUMBER = r"\d+(?:\.\d+)?"
CLAIM = re.compile(rf"(?P<low>{NUMBER})(?:-(?P<high>{NUMBER}))?(?P<words>/session|\s.*)?", re.ASCII)
APART = re.compile(r";|\s/\s")  # Between alternatives: `60 IR / 72 OROS`; `400 with inducers; 100 with valproate`.
BRACKETED = re.compile(r"\([^)]*\)")
LESS_WHEN_OLDER = re.compile(rf"(?P<amount>{NUMBER}) if age>(?P<age>\d+)")  # `40 (20 if age>60, …)`
ONLY_WHEN_OLDER = re.compile(r">(?P<age>\d+)y\b")  # `2 (>65y: T1)`: the number itself stands for that age.
OTHER_UNIT = re.compile(r"\s*(?:mcg|g|ml|unit|units|%)\b", re.IGNORECASE)  # The table is in mg; other units are a slip.
PER_KILOGRAM = "mg/kg"
GENERAL_KNOWLEDGE = re.compile(r"\bK\b")


class BadTable(ValueError):
    """A table of clinical data that is not to be used, not even in part. `args[0]` says where and what to do."""


@dataclass(frozen=True)
class Range:
    """From and to, the same where one number is named."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class Figure:
    """One dose cell. `ranges` are alternatives whose conditions only a person can judge; none: not known.

    `over_age` and `when_older` hold where the cell names a figure for people over an age.
    `unverified`: no named source stands behind it.
    """

    text: str
    ranges: tuple[Range, ...] = ()
    over_age: int | None = None
    when_older: Decimal | None = None
    unverified: bool = False

    @property
    def known(self) -> bool:
        return bool(self.ranges)

    def surely(self, age: int) -> Decimal:
        """The figure that holds whichever of the alternatives applies. Only where it is known."""
        lowest = min(found.high for found in self.ranges)
        if self.when_older is not None and self.over_age is not None and age > self.over_age:
            return min(lowest, self.when_older)
        return lowest

    def at_most(self, age: int) -> Decimal:
        """The figure above which no alternative applies. Only where it is known."""
        if self.when_older is not None and self.over_age is not None and age > self.over_age:
            return self.when_older
        return max(found.high for found in self.ranges)


def figure(cell: str, *, unverified: bool = False) -> Figure:
    """Reads one cell. Raises BadTable when it claims a number and does not hold one."""
    text = cell.strip()
    if not text[:1].isdigit():
        return Figure(text or "no figure", unverified=unverified)
    parts = alternatives(text)
    if any(per_kilogram(part) for part in parts):
        return Figure(text, unverified=unverified)  # The weight is not known here, so the limit is not either.
    older = LESS_WHEN_OLDER.search(text)
    only = ONLY_WHEN_OLDER.search(text)
    ranges = tuple(range_of(part) for part in parts)
    return Figure(
        text,
        ranges,
        over_age=int(older["age"]) if older else int(only["age"]) if only else None,
        when_older=Decimal(older["amount"]) if older else ranges[0].high if only else None,
        unverified=unverified or bool(GENERAL_KNOWLEDGE.search(text)),
    )


def maximum(cell: str, *, unverified: bool = False) -> Figure:
    """Reads a cell that names a greatest dose. Raises BadTable for a range: it would leave open which end is meant."""
    found = figure(cell, unverified=unverified)
    if any(each.low != each.high for each in found.ranges):
        raise BadTable(f"{cell!r} is a range; a maximum is one number")
    return found


def range_of(part: str) -> Range:
    claimed = CLAIM.fullmatch(part)
    if not claimed or OTHER_UNIT.match(claimed["words"] or ""):
        raise BadTable(f"{part!r} begins like a number of mg and is none; write 50, 50-100 or 50 (note)")
    low = Decimal(claimed["low"])
    high = Decimal(claimed["high"] or low)
    if not 0 < low <= high:
        raise BadTable(f"{part!r} is not a dose: it must be above 0, and not end below its beginning")
    return Range(low, high)


def per_kilogram(part: str) -> bool:
    claimed = CLAIM.fullmatch(part)
    return claimed is not None and (claimed["words"] or "").strip().startswith(PER_KILOGRAM)


def alternatives(text: str) -> list[str]:
    """The cell's parts, each with its note: what stands in brackets never separates."""
    kept = BRACKETED.sub(lambda found: "_" * len(found[0]), text)
    cuts = [(found.start(), found.end()) for found in APART.finditer(kept)]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
