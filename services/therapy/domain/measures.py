"""The questionnaires: their items, how a total is made, which band it falls in, which answer raises a flag.

The figures are in `measures.csv` and `measure_bands.csv`, as the clinical reference data has them. A file with a
duplicate, an unknown value or a number that does not parse is refused as a whole: half a measure scores wrongly.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contracts.clinical import RuleRef
from contracts.therapy import ItemAnswer

from .tables import DataRefused, number, optional_number, parsed, rows, truth

Tier = Literal["imminent", "moderate", "low"]

MEASURE_COLUMNS = (
    *("measure", "items", "item_min", "item_max", "total_min", "total_max", "multiplier", "higher_is_worse"),
    *("response_drop_percent", "remission_below", "reliable_change", "caseness_at", "flag_items"),
    *("loinc_panel", "loinc_total", "source", "unverified", "caseness_at_women", "answers_needed", "reverse_items"),
    *("unverified_fields", "note", "version", "reviewed_by"),
)
BAND_COLUMNS = ("measure", "band", "from", "to", "source", "unverified")

# Which tier of risk the answer behind a flag belongs to; the hours of each tier are scheduling's. Source: clinical
# reference data, risk tiers. There are rows for the measures that are offered.
TIERS: Mapping[str, Tier] = {"PHQ-9:flag:9": "moderate"}


@dataclass(frozen=True)
class Band:
    """A reported score from `start` up to where the next band begins."""

    name: str
    start: int


@dataclass(frozen=True)
class Flag:
    """An answer of `at_least` or more to `item` asks for a safety assessment."""

    item: int
    at_least: int
    rule: RuleRef


@dataclass(frozen=True)
class Measure:
    """One questionnaire in one version; bands and flags belong to that version. Bands are in order of their start."""

    name: str
    items: int
    item_min: int
    item_max: int
    multiplier: int
    answers_needed: int | None  # None: the measure has no total.
    bands: Sequence[Band]
    flags: Sequence[Flag]
    loinc_total: str | None
    scoring: RuleRef


Measures = Mapping[str, Measure]


def total(measure: Measure, answers: Sequence[ItemAnswer]) -> int | None:
    """The reported score: the sum of all answers times the measure's multiplier. None while answers are missing.

    There is no prorating: a measure that allows it (CORE-10) cannot be scored here yet.
    """
    if measure.answers_needed is None or len(answers) < measure.items:
        return None
    return measure.multiplier * sum(answer.value for answer in answers)


def band(measure: Measure, score: int | None) -> str | None:
    """The band that begins last at or below the score. None without a score, or where the measure has no bands."""
    if score is None:
        return None
    return next((band.name for band in reversed(measure.bands) if band.start <= score), None)


def flags(measure: Measure, answers: Sequence[ItemAnswer]) -> Iterator[Flag]:
    """The flags that the answers raise, in order of their items; each on its own answer, on an incomplete form too."""
    values = {answer.item: answer.value for answer in answers}
    for flag in measure.flags:
        if flag.item in values and values[flag.item] >= flag.at_least:
            yield flag


def load_measures(folder: Path = Path(__file__).parent) -> Measures:
    """All measures of both files. Raises DataRefused."""
    named: dict[str, Mapping[str, str]] = {}
    for row in rows(folder / "measures.csv", MEASURE_COLUMNS):
        if row["measure"] in named:
            raise DataRefused(f"measures.csv: {row['measure']} stands there twice")
        named[row["measure"]] = row
    bands: dict[str, list[Band]] = {name: [] for name in named}
    ended: dict[str, int] = {}
    for row in rows(folder / "measure_bands.csv", BAND_COLUMNS):
        name, where = row["measure"], f"measure_bands.csv: {row['measure']}, {row['band']}"
        if name not in named:
            raise DataRefused(f"{where}: no such measure")
        if any(known.name == row["band"] for known in bands[name]):
            raise DataRefused(f"{where}: the band stands there twice")
        start, end = number(row, "from", where), number(row, "to", where)
        truth(row, "unverified", where)
        if not ended.get(name, -1) < start <= end:
            raise DataRefused(f"{where}: {start} to {end} overlaps the band before, or ends before it begins")
        bands[name].append(Band(row["band"], start))
        ended[name] = end
    return {name: measure(row, bands[name]) for name, row in named.items()}


def measure(row: Mapping[str, str], bands: Sequence[Band]) -> Measure:
    """One row as a measure. Every cell is read, also those that nothing is decided by yet. Raises DataRefused."""
    name, where = row["measure"], f"measures.csv: {row['measure']}"
    items, low, high = (number(row, column, where) for column in ("items", "item_min", "item_max"))
    multiplier = number(row, "multiplier", where)
    needed = optional_number(row, "answers_needed", where)
    total_min, total_max = optional_number(row, "total_min", where), optional_number(row, "total_max", where)
    for column in ("response_drop_percent", "remission_below", "reliable_change", "caseness_at", "caseness_at_women"):
        optional_number(row, column, where)
    truth(row, "higher_is_worse", where)
    for column in filter(None, row["unverified_fields"].split(";")):
        if column not in MEASURE_COLUMNS:
            raise DataRefused(f"{where}: unverified_fields names {column!r}, which is no column")
    if not (items >= 1 and low < high and multiplier >= 1 and (needed is None or 1 <= needed <= items)):
        raise DataRefused(f"{where}: items, their range, multiplier or answers_needed cannot be")
    if needed is not None and (total_min, total_max) != (low * items, high * items):
        raise DataRefused(f"{where}: the total's range is not that of {items} items of {low} to {high}")
    for item in filter(None, row["reverse_items"].split(";")):
        within(parsed(item, f"{where}: reverse_items"), items, where)
    version, unverified = str(number(row, "version", where)), truth(row, "unverified", where)
    return Measure(
        name=name,
        items=items,
        item_min=low,
        item_max=high,
        multiplier=multiplier,
        answers_needed=needed,
        bands=tuple(bands),
        flags=tuple(flag_items(row, items, version, unverified, where)),
        loinc_total=row["loinc_total"] or None,
        scoring=RuleRef(rule_id=name, version=version, unverified=unverified),
    )


def flag_items(row: Mapping[str, str], items: int, version: str, unverified: bool, where: str) -> Iterator[Flag]:
    """`9>=1` is read as: item 9 at 1 or more. Several are parted by semicolons."""
    seen: set[int] = set()
    for text in filter(None, row["flag_items"].split(";")):
        found = re.fullmatch(r"([0-9]+)>=([0-9]+)", text)
        if not found:
            raise DataRefused(f"{where}: flag_items holds {text!r}, which is not of the form 9>=1")
        item = within(int(found[1]), items, where)
        if item in seen:
            raise DataRefused(f"{where}: flag_items names item {item} twice")
        seen.add(item)
        rule = RuleRef(rule_id=f"{row['measure']}:flag:{item}", version=version, unverified=unverified)
        yield Flag(item=item, at_least=int(found[2]), rule=rule)


def within(item: int, items: int, where: str) -> int:
    if not 1 <= item <= items:
        raise DataRefused(f"{where}: there is no item {item}")
    return item
