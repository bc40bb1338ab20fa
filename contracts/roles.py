"""Who may act, and why: the closed lists of roles and purposes of use."""

from typing import Literal, get_args

Role = Literal[
    "patient",
    "representative",
    "prescriber",
    "therapist",
    "nurse",
    "care_manager",
    "clerk",
    "pharmacist",
    "supervisor",
    "privacy_officer",
    "auditor",
    "operator",
    "service",
]
ROLES: tuple[Role, ...] = get_args(Role)
CLINICIANS: tuple[Role, ...] = ("prescriber", "therapist", "nurse", "care_manager", "pharmacist")

# HL7 v3 ActReason, value set PurposeOfUse.
Purpose = Literal["TREAT", "ETREAT", "HPAYMT", "HOPERAT", "PATRQT", "HRESCH", "PUBHLTH", "SYSADMIN"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
