"""The rules that guard a dose: each looks at one case and says what it found, or nothing where it has no say.

A limit that the formulary does not plainly give is *not known*, and needs a prescriber's coded reason; it is never
passed. What was found is kept in the fact, with the rule's id and the version of the formulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args
from uuid import UUID

from chassis.decider import Rejected
from contracts.clinical import AllergyNoted, Check, RuleRef

from .commands import Override, OverrideReason
from .figures import Figure
from .formulary import Drug, Formulary, Route, mentions
from .intake import Quantity, in_words

LABEL_MAXIMUM = "DOSE-LABEL-MAX"
SOFT_MAXIMUM = "DOSE-SOFT-MAX"
RANGE_KNOWN = "DOSE-RANGE"
AGE_RANGE = "DOSE-AGE"
START_DOSE = "DOSE-START"
ALLERGY = "ALLERGY"
DUPLICATE = "DUPLICATE-INGREDIENT"

ADULT_FROM = 18  # Under it the formulary's figures are not known to hold. Source: clinical reference, Formulary.
OLDER_OVER = 65  # Over it likewise, unless a figure of the drug names that age.

LONGEST_MESSAGE = 2_000  # Of contracts.clinical.Text.

Outcome = Literal["passed", "warned", "reason_needed", "refused"]
Severity = Literal["contraindication", "not_recommended", "precaution"]  # The words of interactions.csv.


@dataclass(frozen=True)
class Case:
    """One dose for one patient, with all that the rules may look at. `change` is what the command does to the dose."""

    formulary: Formulary
    drug: Drug
    route: Route
    quantity: Quantity
    change: Literal["started", "raised", "lowered", "rescheduled"]
    age: int
    allergies: Sequence[AllergyNoted]
    in_force: Mapping[str, UUID]

    def found(
        self,
        rule_id: str,
        outcome: Outcome,
        message: str | None = None,
        *,
        severity: Severity = "precaution",
        refusal: str = "reason_needed",
        unverified: bool = False,
    ) -> "Finding":
        rule = RuleRef(rule_id=rule_id, version=self.formulary.version, unverified=unverified)
        return Finding(rule, outcome, message and message[:LONGEST_MESSAGE], severity, refusal)


@dataclass(frozen=True)
class Finding:
    """What one rule found. `message` is a sentence without its full stop; `refusal` the reason given when it stops."""

    rule: RuleRef
    outcome: Outcome
    message: str | None
    severity: Severity
    refusal: str


Rule = Callable[[Case], Finding | None]


def duplicate_ingredient(case: Case) -> Finding | None:
    """One ingredient is in force once only. No reason overrides it: the order in force is the one to adjust."""
    if case.change != "started":
        return None
    order = case.in_force.get(case.drug.name)
    if order is None:
        return case.found(DUPLICATE, "passed")
    message = f"{case.drug.name} is already in force as order {order}: adjust that order instead"
    return case.found(DUPLICATE, "refused", message, refusal="medication_already_taken")


def known_allergy(case: Case) -> Finding | None:
    """No drug to whose ingredient the patient is on record as allergic, by RxCUI or by any of its names."""
    on_record = [each for each in case.allergies if concerns(each, case.drug)]
    if not on_record:
        return case.found(ALLERGY, "passed")
    named = ", ".join(f"{each.substance} ({each.severity})" for each in on_record)
    message = f"An allergy or intolerance to {named} is on record and concerns {case.drug.name}"
    return case.found(ALLERGY, "reason_needed", message, severity="contraindication", refusal="allergy_on_record")


def concerns(allergy: AllergyNoted, drug: Drug) -> bool:
    return allergy.rxcui in drug.rxcuis or any(mentions(allergy.substance, name) for name in drug.names)


def label_maximum(case: Case) -> Finding | None:
    """Never above the label's maximum. Only a dose that is being lowered may still lie above it, with a reason:
    a birthday or a new formulary may have moved the limit below what the patient takes, and they must get down.
    """
    figure = case.drug.label_maximum
    if not figure.known:
        return None  # `range_known` asks for a reason.
    limit = figure.at_most(case.age)
    if case.quantity.counted <= limit:
        if figure.when_older is None or case.quantity.counted <= figure.when_older:
            return case.found(LABEL_MAXIMUM, "passed", unverified=figure.unverified)
        less_for_some = f"The label maximum of {case.drug.name} is {figure.text} {case.drug.basis}"
        return case.found(LABEL_MAXIMUM, "warned", less_for_some, unverified=figure.unverified)
    message = above(case, "label maximum", Fraction(limit), figure)
    if case.change == "lowered":
        return case.found(
            LABEL_MAXIMUM, "reason_needed", message, severity="contraindication", unverified=figure.unverified
        )
    what_to_do = f"{message}: order no more than that"
    return case.found(LABEL_MAXIMUM, "refused", what_to_do, refusal="above_label_maximum", unverified=figure.unverified)


def soft_maximum(case: Case) -> Finding | None:
    """Above the soft maximum only with a coded reason."""
    figure = case.drug.soft_maximum
    if not figure.known:
        return None  # `range_known` asks for a reason.
    limit = figure.surely(case.age)
    if case.quantity.counted <= limit:
        return case.found(SOFT_MAXIMUM, "passed", unverified=figure.unverified)
    message = above(case, "soft maximum", Fraction(limit), figure)
    return case.found(SOFT_MAXIMUM, "reason_needed", message, severity="not_recommended", unverified=figure.unverified)


def range_known(case: Case) -> Finding | None:
    """Where the formulary does not plainly give the range for this drug, route or schedule, a reason is needed."""
    drug, quantity = case.drug, case.quantity
    label, unknown = drug.label_maximum, []
    if case.route != drug.route:
        unknown.append(f"its figures are for {drug.route} use, not {case.route}")
    if not label.known:
        unknown.append(f"its label maximum is {label.text}, which cannot be worked out here")
    elif label.surely(case.age) < quantity.counted <= label.at_most(case.age):
        unknown.append(f"its label maximum depends on what is not known here: {label.text}")
    if not drug.soft_maximum.known:
        unknown.append(f"its soft maximum is {drug.soft_maximum.text}, which cannot be worked out here")
    if label.known and quantity.counted <= label.at_most(case.age) < quantity.most_on_a_day:
        unknown.append(
            f"{in_words(quantity.most_on_a_day)} mg on one day is above its label maximum of {label.text} {drug.basis},"
            " although the average is not"
        )
    if not unknown:
        return case.found(RANGE_KNOWN, "passed")
    message = f"The dose range of {drug.name} is not known for this order: {'; '.join(unknown)}"
    return case.found(RANGE_KNOWN, "reason_needed", message, unverified=label.unverified)


def age_range(case: Case) -> Finding | None:
    """The formulary's figures are for adults up to 65. For others a reason is needed, unless a figure names the age."""
    named = [each.over_age for each in (case.drug.soft_maximum, case.drug.label_maximum)]
    if case.age < ADULT_FROM:
        who = f"under {ADULT_FROM}"
    elif case.age > OLDER_OVER and not any(age is not None and age <= OLDER_OVER for age in named):
        who = f"over {OLDER_OVER}"
    else:
        return case.found(AGE_RANGE, "passed")
    return case.found(
        AGE_RANGE, "reason_needed", f"The dose range of {case.drug.name} is not known for this patient, who is {who}"
    )


def start_dose(case: Case) -> Finding | None:
    """A first dose below or above the usual start is shown; nothing is asked."""
    start = case.drug.start
    if case.change != "started" or case.route != case.drug.route:
        return None
    if not start.known:
        return case.found(START_DOSE, "warned", f"The formulary gives no start dose of {case.drug.name}: {start.text}")
    usual = start.ranges[0]
    if usual.low <= case.quantity.counted <= usual.high:
        return case.found(START_DOSE, "passed", unverified=start.unverified)
    side = "below" if case.quantity.counted < usual.low else "above"
    message = f"{of(case)} is {side} the start dose of {start.text} {case.drug.basis}{sourced(start.unverified)}"
    return case.found(START_DOSE, "warned", message, unverified=start.unverified)


RULES: tuple[Rule, ...] = (
    duplicate_ingredient,
    label_maximum,
    known_allergy,
    soft_maximum,
    range_known,
    age_range,
    start_dose,
)


def findings(case: Case) -> list[Finding]:
    """What every rule that has a say found, in the order of the rules."""
    return [found for found in (rule(case) for rule in RULES) if found]


@dataclass(frozen=True)
class Settled:
    """What becomes of the findings: the checks to keep with the order, and each warning with its answer."""

    checks: tuple[Check, ...]
    overridden: tuple[tuple[Finding, Override], ...]


def settle(found: Sequence[Finding], overrides: Sequence[Override]) -> Settled:
    """Weighs the findings against the prescriber's answers. Raises Rejected unless all that asks is answered."""
    if refused := [each for each in found if each.outcome == "refused"]:
        raise Rejected(refused[0].refusal, sentences(refused), rules=[each.rule.rule_id for each in refused])
    answers = {each.rule_id: each for each in overrides}
    asking = [each for each in found if each.outcome == "reason_needed"]
    if unanswered := [each for each in asking if each.rule.rule_id not in answers]:
        names = [each.rule.rule_id for each in unanswered]
        strongest = next((each for each in unanswered if each.refusal != "reason_needed"), unanswered[0])
        what_to_do = f"To go on, send it again with a coded reason for {' and '.join(names)} in `overrides`."
        raise Rejected(
            strongest.refusal,
            f"{sentences(unanswered)} {what_to_do}",
            rules=names,
            reason_codes=list(get_args(OverrideReason)),
        )
    if needless := sorted(set(answers) - {each.rule.rule_id for each in asking}):
        what = f"No warning of {' or '.join(needless)} stands against this dose; send it without that override."
        raise Rejected("nothing_to_override", what, rules=needless)
    overridden = tuple((each, answers[each.rule.rule_id]) for each in asking)
    return Settled(tuple(check(each) for each in found), overridden)


def check(finding: Finding) -> Check:
    """The finding as it is kept. What asked for a reason and got this far was given one."""
    match finding.outcome:
        case "passed" | "warned":
            return Check(rule=finding.rule, outcome=finding.outcome, message=finding.message)
        case "reason_needed" | "refused":
            return Check(rule=finding.rule, outcome="overridden", message=finding.message)


def sentences(found: Sequence[Finding]) -> str:
    return " ".join(f"{each.message}." for each in found)


def above(case: Case, limit: str, amount: Fraction, figure: Figure) -> str:
    words = f"{of(case)} is above the {limit} of {in_words(amount)} {case.drug.basis}"
    told = "" if figure.text == in_words(amount) else f" (formulary: {figure.text})"
    return words + told + sourced(figure.unverified)


def of(case: Case) -> str:
    return f"{case.drug.name} {in_words(case.quantity.counted)} {case.drug.basis}"


def sourced(unverified: bool) -> str:
    return ", a figure without a named source" if unverified else ""
