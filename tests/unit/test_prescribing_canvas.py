"""The house's canvas says what the house does: no fact, rule, command or refusal is missing from it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from contracts.prescribing import PrescribingFact
from services.prescribing.domain import checks
from services.prescribing.reactions import REACTS_TO

HOUSE = Path("services/prescribing")
CANVAS = (HOUSE / "README.md").read_text()
RULE_IDS = [
    checks.DUPLICATE,
    checks.LABEL_MAXIMUM,
    checks.ALLERGY,
    checks.SOFT_MAXIMUM,
    checks.RANGE_KNOWN,
    checks.AGE_RANGE,
    checks.START_DOSE,
]


def refusals() -> Iterator[str]:
    """Every reason that stands in the domain's source: the first argument of Rejected, or `refusal=`."""
    for file in sorted((HOUSE / "domain").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            named = [each.value for each in node.keywords if each.arg == "refusal"]
            first = node.args[:1] if isinstance(node.func, ast.Name) and node.func.id == "Rejected" else []
            for each in (*first, *named):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.value


REFUSALS = sorted({*refusals(), "reason_needed"})


def test_the_refusals_were_found_in_the_source() -> None:
    assert {"above_label_maximum", "allergy_on_record", "medication_unknown", "unit_does_not_fit"} <= set(REFUSALS)


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_refusal_stands_on_the_canvas(reason: str) -> None:
    assert f"`{reason}`" in CANVAS


@pytest.mark.parametrize("fact", get_args(PrescribingFact), ids=lambda fact: fact.TYPE)
def test_every_fact_out_stands_on_the_canvas_in_its_own_words(fact: type[PrescribingFact]) -> None:
    assert f"| `{fact.TYPE}` | {fact.__doc__} |" in CANVAS


@pytest.mark.parametrize("name", sorted(REACTS_TO))
def test_every_fact_in_stands_on_the_canvas(name: str) -> None:
    assert f"`{name}`" in CANVAS


@pytest.mark.parametrize("rule", RULE_IDS)
def test_every_rule_stands_on_the_canvas(rule: str) -> None:
    assert f"| {rule} |" in CANVAS


def test_no_rule_is_left_out_of_the_list_above() -> None:
    assert len(RULE_IDS) == len(checks.RULES)
