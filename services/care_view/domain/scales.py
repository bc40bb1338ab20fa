"""Severity bands of the measures, as `measure_bands.csv` gives them: for drawing; therapy has judged the score."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

BANDS = Path(__file__).parent / "measure_bands.csv"


@dataclass(frozen=True)
class Band:
    """Scores from `low` to `high`, both counted."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Scale:
    """One measure's bands, the lowest first. `signed`: a named reviewer stands behind every one of them."""

    measure: str
    bands: Sequence[Band]
    signed: bool

    @property
    def highest(self) -> int:
        return self.bands[-1].high


def load_scales(path: Path = BANDS) -> Mapping[str, Scale]:
    """By measure. Raises ValueError when bands overlap or a number does not parse."""
    rows: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["measure"], []).append(row)
    return {measure: scale(measure, found) for measure, found in rows.items()}


def scale(measure: str, rows: Sequence[Mapping[str, str]]) -> Scale:
    bands = sorted((Band(row["band"], int(row["from"]), int(row["to"])) for row in rows), key=lambda band: band.low)
    if any(upper.low <= lower.high for lower, upper in pairwise(bands)):
        raise ValueError(f"the bands of {measure} overlap")
    return Scale(measure, tuple(bands), all(row.get("reviewed_by") for row in rows))
