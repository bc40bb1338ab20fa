"""How much of a drug an order makes a patient take, in the measure of the formulary's figures.

Exact: fractions, never floats, so that 10 mg every third day is neither above nor below its limit by rounding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from chassis.decider import Rejected
from contracts.clinical import Dose, Schedule

from .formulary import Basis, Drug

MG: Mapping[str, Fraction] = {"mg": Fraction(1), "mcg": Fraction(1, 1000), "g": Fraction(1000)}
PATCH_UNIT = "mg/24h"


@dataclass(frozen=True)
class Quantity:
    """`counted` is what the formulary's figures are compared with, `most_on_a_day` what a day of dosing may bring."""

    counted: Fraction
    most_on_a_day: Fraction


def quantity(drug: Drug, dose: Dose, schedule: Schedule) -> Quantity:
    """How much an order comes to. Raises Rejected when the unit says nothing about the formulary's figures."""
    amount, doses_a_day = Fraction(dose.amount), Fraction(schedule.times, schedule.period_days)
    match drug.basis:
        case Basis.PATCH:
            if dose.unit != PATCH_UNIT:
                raise unit_does_not_fit(drug, dose, [PATCH_UNIT])
            worn = amount * max(Fraction(1), doses_a_day)  # A patch worn for a week gives its rate on each day of it.
            return Quantity(worn, worn)
        case Basis.DAY | Basis.DOSING_DAY:
            if dose.unit not in MG:
                raise unit_does_not_fit(drug, dose, list(MG))
            taken = amount * MG[dose.unit]
            most_on_a_day = taken * -(-schedule.times // schedule.period_days)
            average = taken * doses_a_day
            return Quantity(average if drug.basis is Basis.DAY else most_on_a_day, most_on_a_day)


def unit_does_not_fit(drug: Drug, dose: Dose, units: list[str]) -> Rejected:
    sentence = (
        f"{drug.name} in {dose.unit} cannot be compared with the formulary. Give the dose in {' or '.join(units)}."
    )
    return Rejected("unit_does_not_fit", sentence, units=units)


def in_words(quantity: Fraction | Decimal) -> str:
    """A number for people: at most four decimals, no trailing zeros."""
    exact = Fraction(quantity)
    rounded = (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(Decimal("0.0001"))
    return f"{rounded:f}".rstrip("0").rstrip(".")
