"""The house's canvas tells of every fact, command, rule and fact in, in the words of the code."""

from pathlib import Path
from typing import get_args

import pytest

from contracts.permissions import PERMISSIONS
from contracts.scheduling import SchedulingFact
from services.scheduling.domain.rules import load_rules
from services.scheduling.reactions import REACTS_TO

CANVAS = (Path(__file__).parents[2] / "services" / "scheduling" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("fact", get_args(SchedulingFact))
def test_each_fact_stands_there_with_its_meaning(fact: type[SchedulingFact]) -> None:
    assert f"| `{fact.TYPE}` | {' '.join((fact.__doc__ or '').split())} |" in CANVAS


@pytest.mark.parametrize("name", [name for name in PERMISSIONS if name.startswith("scheduling.")])
def test_each_command_stands_there(name: str) -> None:
    assert name.removeprefix("scheduling.") in CANVAS


@pytest.mark.parametrize("rule_id", load_rules().executed)
def test_each_rule_that_is_executed_stands_there(rule_id: str) -> None:
    assert f"| `{rule_id}` |" in CANVAS


@pytest.mark.parametrize("name", sorted(REACTS_TO))
def test_each_fact_in_stands_there(name: str) -> None:
    assert f"| `{name}` |" in CANVAS
