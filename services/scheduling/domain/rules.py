"""The rules of follow-up as data: which follow-up a cause demands, by when, and what answers it.

`follow_up.csv` is the source, taken over as it stands; beside it stand what is executed of it with its conditions
and answers in typed columns (`executable.csv`, `closes_by.csv`), and what is not, each with its reason
(`not_executable.csv`). A loader that finds anything it does not understand refuses the whole.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from contracts.clinical import RuleRef
from contracts.roles import ROLES, Role
from contracts.scheduling import Kind

Row = Mapping[str, str]
T = TypeVar("T")

AnsweredWith = Literal["medication_review", "contact", "therapy_session"]
Form = Literal["in_person", "video", "telephone", "message"]

FOLDER = Path(__file__).parent
PROTOCOLS = ("cautious", "default")  # What holds where nobody chose another.
ALL_PROTOCOLS = (*PROTOCOLS, "nice_ng222", "intensive", "cocm")
TIERS = ("", "imminent", "moderate", "low")
ALWAYS_ON = ("FU-SAFETY-", "FU-FLOOR")  # Unverified, and on: silence is the greater risk.
OLDEST = 130  # Years; nobody is older.

STARTED = "antidepressant_started"
INCREASED = "antidepressant_dose_increased"
IN_TREATMENT = "treatment_active"
# Which fact says that a trigger came about; a rule with another trigger cannot be executed.
TRIGGERS: Mapping[str, str] = {
    STARTED: "prescribing.dose-prescribed",
    INCREASED: "prescribing.dose-adjusted",
    IN_TREATMENT: "prescribing.dose-prescribed",
}


class BadRules(Exception):
    """The data cannot be trusted. `args[0]` names file, rule and what is wrong."""


@dataclass(frozen=True)
class Closer:
    """One kind of answer: who did what, in which form. `delegates` count when they act on behalf of somebody named."""

    answered_with: AnsweredWith
    roles: frozenset[Role]
    delegates: frozenset[Role]
    forms: frozenset[Form]
    risk_asked: bool


@dataclass(frozen=True)
class Rule:
    """One rule. Ages are in whole years, `age_below` not included; days are whole local days."""

    ref: RuleRef
    trigger: str
    age_from: int
    age_below: int
    raised_risk: bool | None  # None: whatever the risk.
    needs_risk_cleared: bool  # Until a review records that risk is not clinically important, reviews stay weekly.
    due_after_days: int
    window_days: int
    grace_days: int | None
    repeat_every_days: int | None
    repeat_window_days: int
    until_days: int | None
    closers: tuple[Closer, ...]
    kind: Kind
    owner_role: Role

    @property
    def id(self) -> str:
        return self.ref.rule_id

    def holds(self, trigger: str, age: int, *, raised_risk: bool) -> bool:
        return (
            self.trigger == trigger
            and self.age_from <= age < self.age_below
            and self.raised_risk in (None, raised_risk)
        )


@dataclass(frozen=True)
class Rules:
    """The rules that are executed, by id, and why the others are not."""

    executed: Mapping[str, Rule]
    not_executed: Mapping[str, str]

    def matching(self, trigger: str, age: int, *, raised_risk: bool) -> Rule:
        """The one rule for a cause. The loader has made sure that there is exactly one for every age and risk."""
        known = min(max(age, 0), OLDEST - 1)  # A wrong birth date must not leave anybody without a rule.
        return next(rule for rule in self.executed.values() if rule.holds(trigger, known, raised_risk=raised_risk))

    @property
    def floor(self) -> Rule:
        return next(rule for rule in self.executed.values() if rule.trigger == IN_TREATMENT)


def load_rules(folder: Path = FOLDER) -> Rules:
    """The rules of a folder. Raises BadRules, naming the rule."""
    return rules_from(
        table(folder / "follow_up.csv"),
        table(folder / "executable.csv"),
        table(folder / "closes_by.csv"),
        table(folder / "not_executable.csv"),
    )


def rules_from(
    source: Sequence[Row], executable: Sequence[Row], closes_by: Sequence[Row], not_executable: Sequence[Row]
) -> Rules:
    """The rules that four tables make. Raises BadRules."""
    rows = by_id("follow_up.csv", source)
    chosen = by_id("executable.csv", executable)
    waiting = by_id("not_executable.csv", not_executable)
    for rule_id, row in rows.items():
        check_source(rule_id, row)
    if both := chosen.keys() & waiting.keys():
        raise BadRules(f"executed and not executed: {sorted(both)}")
    if unknown := (chosen.keys() | waiting.keys()) - rows.keys():
        raise BadRules(f"not in follow_up.csv: {sorted(unknown)}")
    if missing := rows.keys() - chosen.keys() - waiting.keys():
        raise BadRules(f"neither executed nor listed with a reason: {sorted(missing)}")
    if silent := [rule_id for rule_id, row in waiting.items() if not row["reason"]]:
        raise BadRules(f"not_executable.csv: without a reason: {silent}")
    closers = closers_from(closes_by)
    rules = Rules(
        executed={rule_id: rule_from(rows[rule_id], row, closers) for rule_id, row in chosen.items()},
        not_executed={rule_id: row["reason"] for rule_id, row in waiting.items()},
    )
    check_exactly_one(rules)
    return rules


def rule_from(row: Row, chosen: Row, closers: Mapping[str, tuple[Closer, ...]]) -> Rule:
    """One executed rule. Raises BadRules for one that no fact answers, or that nobody has reviewed."""
    rule_id = row["rule_id"]
    unverified = flag(rule_id, "unverified", row["unverified"])
    if unverified and not rule_id.startswith(ALWAYS_ON):
        raise BadRules(f"{rule_id}: unverified, and no named reviewer has turned it on")
    if row["protocol"] not in PROTOCOLS:
        raise BadRules(f"{rule_id}: protocol {row['protocol']} holds only where it was chosen")
    if row["trigger"] not in TRIGGERS:
        raise BadRules(f"{rule_id}: no fact is recorded that says {row['trigger']}")
    if (row["version"], row["condition"]) != (chosen["version"], chosen["condition"]):
        raise BadRules(f"{rule_id}: version or condition changed; read it again and state it in executable.csv")
    if row["closes_by"] not in closers:
        raise BadRules(f"{rule_id}: no fact is recorded that says {row['closes_by']!r}")
    due = number(rule_id, "due_after_days", row["due_after_days"])
    window = number(rule_id, "window_days", row["window_days"])
    if due is None or window is None:
        raise BadRules(f"{rule_id}: without due_after_days or window_days no day can be named")
    repeat = number(rule_id, "then_repeat_every_days", row["then_repeat_every_days"])
    repeat_window = number(rule_id, "repeat_window_days", row["repeat_window_days"])
    if repeat is not None and repeat_window is None:
        raise BadRules(f"{rule_id}: repeats, but without repeat_window_days")
    age_below = number(rule_id, "age_below", chosen["age_below"])
    risk = chosen["raised_risk"]
    return Rule(
        ref=RuleRef(rule_id=rule_id, version=row["version"], unverified=unverified),
        trigger=row["trigger"],
        age_from=number(rule_id, "age_from", chosen["age_from"]) or 0,
        age_below=OLDEST if age_below is None else age_below,
        raised_risk=flag(rule_id, "raised_risk", risk) if risk else None,
        needs_risk_cleared=flag(rule_id, "needs_risk_cleared", chosen["needs_risk_cleared"]),
        due_after_days=due,
        window_days=window,
        grace_days=number(rule_id, "grace_days", row["grace_days"]),
        repeat_every_days=repeat,
        repeat_window_days=repeat_window or 0,
        until_days=number(rule_id, "until_days", row["until_days"]),
        closers=closers[row["closes_by"]],
        kind=one_of(rule_id, "kind", chosen["kind"], get_args(Kind)),
        owner_role=one_of(rule_id, "owner_role", chosen["owner_role"], ROLES),
    )


def closers_from(rows: Iterable[Row]) -> Mapping[str, tuple[Closer, ...]]:
    """What answers, by the words of `closes_by`."""
    found: dict[str, tuple[Closer, ...]] = {}
    for row in rows:
        words = row["closes_by"]
        closer = Closer(
            answered_with=one_of(words, "answered_with", row["answered_with"], get_args(AnsweredWith)),
            roles=some_of(words, "roles", row["roles"], ROLES),
            delegates=some_of(words, "delegates", row["delegates"], ROLES),
            forms=some_of(words, "forms", row["forms"], get_args(Form)),
            risk_asked=flag(words, "risk_asked", row["risk_asked"]),
        )
        if not closer.roles or not closer.forms:
            raise BadRules(f"closes_by.csv: {words!r}: nobody, or no form, could answer it")
        if any(closer.answered_with == other.answered_with for other in found.get(words, ())):
            raise BadRules(f"closes_by.csv: {words!r}: {closer.answered_with} stands there twice")
        found[words] = (*found.get(words, ()), closer)
    return found


def check_source(rule_id: str, row: Row) -> None:
    """Refuses what no rule may hold, executed or not."""
    for column in ("due_after_days", "window_days", "then_repeat_every_days", "until_days", "grace_days"):
        number(rule_id, column, row[column])
    for column in ("repeat_window_days", "ack_within_minutes", "due_within_hours", "due_within_working_days"):
        number(rule_id, column, row[column])
    if number(rule_id, "version", row["version"]) is None:
        raise BadRules(f"{rule_id}: without a version")
    flag(rule_id, "unverified", row["unverified"])
    one_of(rule_id, "protocol", row["protocol"], ALL_PROTOCOLS)
    one_of(rule_id, "risk_tier", row["risk_tier"], TIERS)
    for column in ("trigger", "closes_by", "source"):
        if not row[column]:
            raise BadRules(f"{rule_id}: {column} is empty")


def check_exactly_one(rules: Rules) -> None:
    """Refuses rules of which none, or more than one, would hold for somebody."""
    always = (STARTED, IN_TREATMENT)
    cases = [(trigger, age, risk) for trigger in always for age in range(OLDEST) for risk in (True, False)]
    cases += [(INCREASED, age, False) for age in range(OLDEST)]  # While risk is raised, the weekly review holds.
    for trigger, age, risk in cases:
        holding = [rule.id for rule in rules.executed.values() if rule.holds(trigger, age, raised_risk=risk)]
        if len(holding) != 1:
            raise BadRules(f"{trigger}, age {age}, raised risk {risk}: exactly one rule must hold, not {holding}")


def table(path: Path) -> Sequence[Row]:
    """The rows of a file. Raises BadRules for a row with a cell too many or too few."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
    for row in rows:
        if None in row or None in row.values():
            raise BadRules(f"{path.name}: a row has a cell too many or too few: {list(row.values())[:1]}")
    return rows


def by_id(name: str, rows: Iterable[Row]) -> Mapping[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        if row["rule_id"] in found:
            raise BadRules(f"{name}: {row['rule_id']} stands there twice")
        found[row["rule_id"]] = row
    return found


def number(what: str, column: str, text: str) -> int | None:
    """A whole number, or None for an empty cell."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise BadRules(f"{what}: {column} is no whole number: {text!r}")
    return int(text)


def flag(what: str, column: str, text: str) -> bool:
    return {"true": True, "false": False}[one_of(what, column, text, ("true", "false"))]


def one_of(what: str, column: str, text: str, known: Sequence[T]) -> T:
    """The value that `text` names. Raises BadRules when it is none of the known."""
    for value in known:
        if value == text:
            return value
    raise BadRules(f"{what}: {column} is unknown: {text!r}")


def some_of(what: str, column: str, text: str, known: Sequence[T]) -> frozenset[T]:
    return frozenset(one_of(what, column, part, known) for part in text.split())
