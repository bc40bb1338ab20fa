"""The house's canvas tells of every fact and every command, in the words of the code."""

from pathlib import Path
from typing import get_args

import pytest

from contracts.patients import PatientsFact
from contracts.permissions import PERMISSIONS

CANVAS = (Path(__file__).parents[2] / "services" / "patients" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("fact", get_args(PatientsFact))
def test_each_fact_stands_there_with_its_meaning(fact: type[PatientsFact]) -> None:
    assert f"| `{fact.TYPE}` | {fact.__doc__} |" in CANVAS


@pytest.mark.parametrize("name", [name for name in PERMISSIONS if name.startswith("patients.")])
def test_each_command_and_view_stands_there(name: str) -> None:
    assert name.removeprefix("patients.") in CANVAS
