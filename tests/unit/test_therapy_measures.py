"""Scores and bands by the committed files, and what the loaders refuse."""

import csv
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.therapy import ItemAnswer
from services.therapy.domain import measures as module
from services.therapy.domain.care import OFFERED
from services.therapy.domain.measures import TIERS, band, flags, load_measures, total
from services.therapy.domain.modalities import load_modalities
from services.therapy.domain.tables import DataRefused

DATA = Path(module.__file__).parent
MEASURES = load_measures()
PHQ9 = MEASURES["PHQ-9"]


def answers(*values: int) -> tuple[ItemAnswer, ...]:
    return tuple(ItemAnswer(item=item, value=value) for item, value in enumerate(values, 1))


def summing_to(score: int) -> tuple[ItemAnswer, ...]:
    """A full PHQ-9 of that total."""
    full, rest = divmod(score, 3)
    return answers(*([3] * full + [rest] + [0] * 9)[:9])


# By hand, from the published cut-offs of the PHQ-9: 5, 10, 15, 20.
@pytest.mark.parametrize(
    ("score", "name"),
    [
        *((0, "none"), (4, "none"), (5, "mild"), (9, "mild"), (10, "moderate"), (14, "moderate")),
        *((15, "moderately severe"), (19, "moderately severe"), (20, "severe"), (27, "severe")),
    ],
)
def test_a_phq_9_falls_in_its_band(score: int, name: str) -> None:
    assert total(PHQ9, summing_to(score)) == score
    assert band(PHQ9, score) == name


@pytest.mark.parametrize("row", list(csv.DictReader((DATA / "measure_bands.csv").open())), ids=lambda row: row["band"])
def test_each_band_on_file_holds_from_its_first_to_its_last_score(row: dict[str, str]) -> None:
    measure = MEASURES[row["measure"]]
    assert {band(measure, score) for score in range(int(row["from"]), int(row["to"]) + 1)} == {row["band"]}


def test_a_score_between_two_bands_is_in_the_lower_one() -> None:
    """WHO-5 is reported in steps of four: its bands leave out what cannot be reached."""
    assert band(MEASURES["WHO-5"], 31) == "likely depression"


def test_without_all_answers_there_is_no_total_and_without_a_total_no_band() -> None:
    assert total(PHQ9, summing_to(12)[:8]) is None
    assert band(PHQ9, None) is None


def test_a_measure_without_a_total_never_has_one() -> None:
    assert total(MEASURES["C-SSRS screener"], answers(0, 0, 0, 0, 0, 0)) is None


def test_a_flag_fires_from_its_limit_on_and_on_its_own_item_only() -> None:
    assert [flag.item for flag in flags(PHQ9, answers(3, 3, 3, 3, 3, 3, 3, 3, 0))] == []
    assert [flag.item for flag in flags(PHQ9, answers(0, 0, 0, 0, 0, 0, 0, 0, 1))] == [9]


def test_all_measures_and_bands_on_file_are_loaded() -> None:
    assert len(MEASURES) == 11
    assert sum(len(measure.bands) for measure in MEASURES.values()) == 28


def test_a_measures_version_and_trust_travel_with_it() -> None:
    assert (MEASURES["PCL-5"].scoring.version, MEASURES["PCL-5"].scoring.unverified) == ("2", False)
    assert MEASURES["MDQ"].scoring.unverified


def test_every_flag_of_an_offered_measure_has_its_tier() -> None:
    assert {flag.rule.rule_id for name in OFFERED for flag in MEASURES[name].flags} == set(TIERS)


def test_an_offered_measure_is_defined_wholly() -> None:
    for name in OFFERED:
        measure = MEASURES[name]
        assert measure.answers_needed == measure.items
        assert measure.multiplier == 1
        assert measure.bands[0].start == measure.item_min
        assert all(low.start < high.start for low, high in pairwise(measure.bands))


def test_the_modalities_on_file_are_loaded() -> None:
    assert len(load_modalities()) == 14
    assert {"CBT", "DBT", "Family or couples"} <= load_modalities()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("measures.csv", "measure_bands.csv", "modalities.csv"):
        shutil.copy(DATA / name, tmp_path)
    return tmp_path


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) >= 1, "the test spoils nothing"
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("PHQ-9,9,0,3", "PHQ-9,nine,0,3", "nine"),
        ("PHQ-9,9,0,3", "PHQ-9,-9,0,3", "-9"),
        ("PHQ-9,9,0,3", ",9,0,3", "first cell is empty"),
        ("PHQ-9,9,0,3", "PHQ-9,9,3,0", "cannot be"),
        ("PHQ-9,9,0,3,0,27", "PHQ-9,9,0,3,0,28", "total's range"),
        ("GAD-7,7", "PHQ-9,7", "twice"),
        ("9>=1", "9>1", "flag_items"),
        ("9>=1", "9>=1;9>=2", "item 9 twice"),
        ("9>=1", "10>=1", "no item 10"),
        (",true,50,5", ",yes,50,5", "higher_is_worse"),
        (",true,50,5", ",true,half,5", "response_drop_percent"),
        ("response_drop_percent,\"question", "response_drop,\"question", "unverified_fields"),
        ("3;5;6;7;8;9;10", "3;5;6;7;8;9;11", "no item 11"),
        ("item_min", "item_minimum", "columns"),
        ("GAD-7,7,0,3", "GAD-7,7,0,3,extra", "cells"),
        (",,9,,response_drop", ",,10,,response_drop", "answers_needed"),
        ("not scored; teen version 89204-2\"", "not scored; teen version 89204-2", "no table"),
    ],
)  # fmt: skip
def test_a_file_of_measures_with_one_bad_cell_is_refused_whole(folder: Path, old: str, new: str, says: str) -> None:
    spoil(folder / "measures.csv", old, new)
    with pytest.raises(DataRefused, match=says):
        load_measures(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("GAD-7,mild", "GAD-8,mild", "no such measure"),
        ("PHQ-9,mild", "PHQ-9,none", "twice"),
        ("PHQ-9,mild,5,9", "PHQ-9,mild,4,9", "overlaps"),
        ("PHQ-9,mild,5,9", "PHQ-9,mild,9,5", "overlaps"),
        ("PHQ-9,mild,5,9", "PHQ-9,mild,five,9", "five"),
        ("CamCOPS; US Core 8,false", "CamCOPS; US Core 8,no", "unverified"),
    ],
)
def test_a_file_of_bands_with_one_bad_cell_is_refused_whole(folder: Path, old: str, new: str, says: str) -> None:
    spoil(folder / "measure_bands.csv", old, new)
    with pytest.raises(DataRefused, match=says):
        load_measures(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("DBT,60", "CBT,60", "twice"),
        ("CBT,45,60", "CBT,sixty,60", "sixty"),
        ("CBT,45,60", "CBT,61,60", "no range"),
        ("CBT,45,60", "CBT,45,", "no range"),
        ("12,20,true", "12,20,maybe", "unverified"),
        ("session_minutes_from", "minutes_from", "columns"),
    ],
)
def test_a_file_of_modalities_with_one_bad_cell_is_refused_whole(folder: Path, old: str, new: str, says: str) -> None:
    spoil(folder / "modalities.csv", old, new)
    with pytest.raises(DataRefused, match=says):
        load_modalities(folder)
