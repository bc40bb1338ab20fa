"""Values that facts of several houses share: a drug, a dose, what a rule found, what was noted of a patient."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from .fact import Value

Text = Annotated[str, Field(min_length=1, max_length=2_000)]
Code = Annotated[str, Field(min_length=1, max_length=100)]
AdministrativeSex = Literal["female", "male", "other", "unknown"]  # FHIR AdministrativeGender.


class RuleRef(Value):
    """Which rule decided, in which version; `unverified` when no named source or reviewer stands behind it."""

    rule_id: Code
    version: Code
    unverified: bool = False


class Check(Value):
    """What one rule found: `passed`, `warned` (shown, nothing asked), or `overridden` (a coded reason was given)."""

    rule: RuleRef
    outcome: Literal["passed", "warned", "overridden"]
    message: Text | None = None


class Medication(Value):
    """A drug by ingredient: RxNorm's id where it is known, and the classes it belongs to."""

    name: Code
    rxcui: Code | None = None
    classes: tuple[Code, ...] = ()


class Dose(Value):
    """A quantity of one drug, taken at one time."""

    amount: Decimal = Field(gt=0, max_digits=9, decimal_places=4)  # Not float: 0.1 mg must survive JSON.
    unit: Literal["mg", "mcg", "g", "mL", "unit", "mg/24h"]


class Schedule(Value):
    """How often a dose is taken: `times` in every `period_days` days (FHIR Timing frequency and period)."""

    times: int = Field(ge=1, le=24)
    period_days: int = Field(default=1, ge=1, le=366)
    as_needed: bool = False


class BirthDateNoted(Value):
    """Birth date and administrative sex, as patients last recorded them."""

    what: Literal["birth_date"] = "birth_date"
    birth_date: date
    sex: AdministrativeSex


class AllergyNoted(Value):
    """An allergy or intolerance; `active` is false once it was refuted."""

    what: Literal["allergy"] = "allergy"
    allergy_id: UUID
    substance: Code
    rxcui: Code | None = None
    severity: Literal["mild", "moderate", "severe"]
    active: bool


class ConditionNoted(Value):
    """A diagnosis by its ICD-10-CM code; `active` is false once it was resolved."""

    what: Literal["condition"] = "condition"
    condition_id: UUID
    icd10cm: Code
    active: bool


class RiskFlagNoted(Value):
    """A risk flag that therapy raised; `open` is false once it was closed by a safety action."""

    what: Literal["risk_flag"] = "risk_flag"
    flag_id: UUID
    tier: Literal["imminent", "moderate", "low"]
    open: bool


class TimeZoneNoted(Value):
    """Where the patient lives, by the IANA name of the time zone, and which clinic cares for them."""

    what: Literal["time_zone"] = "time_zone"
    time_zone: Code
    clinic: Code


Noted = Annotated[
    BirthDateNoted | TimeZoneNoted | AllergyNoted | ConditionNoted | RiskFlagNoted, Field(discriminator="what")
]
