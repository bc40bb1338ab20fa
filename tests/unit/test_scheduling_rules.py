"""The rules of follow-up as data: every rule is executed or says why not, and what is not understood is refused."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.scheduling.domain.rules import FOLDER, BadRules, Row, Rules, load_rules, rules_from, table

TABLES = ("follow_up.csv", "executable.csv", "closes_by.csv", "not_executable.csv")


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules()


def test_every_rule_is_executed_or_says_why_it_is_not(rules: Rules) -> None:
    with (FOLDER / "follow_up.csv").open(encoding="utf-8", newline="") as file:
        ids = [row["rule_id"] for row in csv.DictReader(file)]
    assert len(ids) == 50
    assert sorted([*rules.executed, *rules.not_executed]) == sorted(ids)
    assert all(reason for reason in rules.not_executed.values())


def test_what_nobody_has_reviewed_is_not_executed_but_for_the_floor(rules: Rules) -> None:
    assert [rule.id for rule in rules.executed.values() if rule.ref.unverified] == ["FU-FLOOR"]


@pytest.mark.parametrize(
    ("age", "rule_id"),
    [(29, "FU-AD-FIRST-YOUNG"), (30, "FU-AD-FIRST-STD"), (-1, "FU-AD-FIRST-YOUNG"), (200, "FU-AD-FIRST-STD")],
)
def test_one_rule_holds_for_whatever_age_is_on_record(rules: Rules, age: int, rule_id: str) -> None:
    assert rules.matching("antidepressant_started", age, raised_risk=False).id == rule_id


@pytest.mark.parametrize(
    ("where", "rule_id", "column", "value", "named"),
    [
        ("follow_up.csv", "FU-AD-FIRST-STD", "due_after_days", "a fortnight", "FU-AD-FIRST-STD: due_after_days"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "due_after_days", "-1", "FU-AD-FIRST-STD: due_after_days"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "due_after_days", "", "FU-AD-FIRST-STD: without due_after_days"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "version", "3", "FU-AD-FIRST-STD: version or condition changed"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "condition", "age >= 40", "FU-AD-FIRST-STD: version or condition changed"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "unverified", "true", "FU-AD-FIRST-STD: unverified"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "unverified", "perhaps", "FU-AD-FIRST-STD: unverified is unknown"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "protocol", "nice_ng222", "FU-AD-FIRST-STD: protocol"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "protocol", "mine", "FU-AD-FIRST-STD: protocol is unknown"),
        (
            "follow_up.csv",
            "FU-AD-FIRST-STD",
            "trigger",
            "drug_dreamt_of",
            "no fact is recorded that says drug_dreamt_of",
        ),
        ("follow_up.csv", "FU-AD-FIRST-STD", "closes_by", "a kind word", "no fact is recorded that says 'a kind word'"),
        ("follow_up.csv", "FU-AD-FIRST-STD", "repeat_window_days", "", "FU-AD-FIRST-STD: repeats"),
        ("follow_up.csv", "FU-DC-7", "risk_tier", "extreme", "FU-DC-7: risk_tier is unknown"),
        ("follow_up.csv", "FU-DC-7", "rule_id", "FU-DC-30", "FU-DC-30 stands there twice"),
        ("follow_up.csv", "FU-DC-7", "rule_id", "FU-DC-8", "not in follow_up.csv: ['FU-DC-7']"),
        (
            "executable.csv",
            "FU-AD-FIRST-STD",
            "age_from",
            "31",
            "age 30, raised risk False: exactly one rule must hold",
        ),
        (
            "executable.csv",
            "FU-AD-FIRST-STD",
            "age_from",
            "29",
            "age 29, raised risk False: exactly one rule must hold",
        ),
        ("executable.csv", "FU-AD-FIRST-STD", "raised_risk", "maybe", "FU-AD-FIRST-STD: raised_risk is unknown"),
        ("executable.csv", "FU-AD-FIRST-STD", "kind", "chat", "FU-AD-FIRST-STD: kind is unknown"),
        ("executable.csv", "FU-AD-FIRST-STD", "owner_role", "porter", "FU-AD-FIRST-STD: owner_role is unknown"),
        ("not_executable.csv", "FU-DC-7", "reason", "", "without a reason: ['FU-DC-7']"),
        ("not_executable.csv", "FU-DC-7", "rule_id", "FU-FLOOR", "executed and not executed: ['FU-FLOOR']"),
    ],
)
def test_data_that_is_not_understood_is_refused_by_name(
    where: str, rule_id: str, column: str, value: str, named: str
) -> None:
    with pytest.raises(BadRules) as refused:
        rules_from(*(changed(name, rule_id, column, value) if name == where else read(name) for name in TABLES))
    assert named in refused.value.args[0]


def test_a_rule_that_is_neither_executed_nor_listed_is_named() -> None:
    source, executable, closes_by, waiting = (read(name) for name in TABLES)
    with pytest.raises(BadRules, match="neither executed nor listed with a reason"):
        rules_from(source, executable, closes_by, waiting[1:])


@pytest.mark.parametrize(
    ("column", "value"),
    [("answered_with", "letter"), ("roles", "porter"), ("roles", ""), ("forms", "dream"), ("risk_asked", "yes")],
)
def test_an_answer_that_is_not_understood_is_refused(column: str, value: str) -> None:
    source, executable, closes_by, waiting = (read(name) for name in TABLES)
    with pytest.raises(BadRules):
        rules_from(source, executable, [{**closes_by[0], column: value}, *closes_by[1:]], waiting)


def test_one_kind_of_answer_is_described_once() -> None:
    source, executable, closes_by, waiting = (read(name) for name in TABLES)
    with pytest.raises(BadRules, match="stands there twice"):
        rules_from(source, executable, [closes_by[0], *closes_by], waiting)


@pytest.mark.parametrize("row", ["FU-X,1", "FU-X" + "," * 40])
def test_a_row_with_a_cell_too_many_or_too_few_is_refused(tmp_path: Path, row: str) -> None:
    text = (FOLDER / "follow_up.csv").read_text(encoding="utf-8")
    (tmp_path / "follow_up.csv").write_text(text + row + "\n", encoding="utf-8")
    with pytest.raises(BadRules, match="a cell too many or too few"):
        table(tmp_path / "follow_up.csv")


def read(name: str) -> Sequence[Row]:
    return table(FOLDER / name)


def changed(name: str, rule_id: str, column: str, value: str) -> Sequence[Row]:
    return [{**row, column: value} if row["rule_id"] == rule_id else row for row in read(name)]
