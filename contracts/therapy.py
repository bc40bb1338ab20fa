"""Facts published by the therapy service. What is said in a session never leaves it; these facts may be shared."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from .clinical import Code, Noted, RuleRef, Text
from .fact import Fact, Value

SOURCE = "/therapy"

Modality = Code  # A row of modalities.csv.
Format = Literal["individual", "couple", "family", "group"]


class PatientNoted(Fact):
    """Therapy took note of what patients recorded, so that its own decisions can stand on it."""

    TYPE: ClassVar[str] = "therapy.patient-noted.v1"
    noted: Noted


class TherapyStarted(Fact):
    """Patient and therapist began a course of therapy."""

    TYPE: ClassVar[str] = "therapy.therapy-started.v1"
    ABOUT: ClassVar[str] = "therapy-episode/{episode_id}"
    episode_id: UUID
    modality: Modality
    therapist: Code
    planned_sessions: int = Field(ge=1, le=200)
    sessions_per_month: int = Field(ge=1, le=31)


class SessionCompleted(Fact):
    """A therapy session took place. `plan_summary` is what both disciplines may read; notes stay with their author."""

    TYPE: ClassVar[str] = "therapy.session-completed.v1"
    ABOUT: ClassVar[str] = "therapy-session/{session_id}"
    session_id: UUID
    episode_id: UUID
    kind: Literal["evaluation", "treatment", "crisis", "booster"]
    started_at: datetime
    ended_at: datetime
    modality: Modality
    format: Format
    group_session_id: UUID | None = None
    remote: bool
    interpreter: bool = False
    interventions: tuple[Code, ...] = ()
    plan_summary: Text | None = None
    medication_talked_about: tuple[Literal["adherence", "side_effects", "benefit", "wishes"], ...] = ()


class ItemAnswer(Value):
    """One answer: the item's number from 1, and its scored value."""

    item: int = Field(ge=1, le=100)
    value: int = Field(ge=0, le=10)


class MeasureRecorded(Fact):
    """The patient answered a questionnaire. Without all the answers it needs there is no total and no band."""

    TYPE: ClassVar[str] = "therapy.measure-recorded.v1"
    ABOUT: ClassVar[str] = "measure/{measure_record_id}"
    measure_record_id: UUID
    measure: Code
    answers: tuple[ItemAnswer, ...]
    total: int | None
    band: Code | None
    scoring: RuleRef
    loinc: Code | None = None  # The total's code, where the source names one.
    answered_by: Literal["patient", "carer", "clinician"]
    mode: Literal["in_person", "remote", "telephone", "paper"]
    language: Code  # BCP 47.


class RiskFlagRaised(Fact):
    """An answer asks for a safety assessment, on an incomplete form too; only a safety action closes it."""

    TYPE: ClassVar[str] = "therapy.risk-flag-raised.v1"
    ABOUT: ClassVar[str] = "risk-flag/{flag_id}"
    flag_id: UUID
    tier: Literal["imminent", "moderate", "low"]
    measure: Code
    item: int
    measure_record_id: UUID
    rule: RuleRef


class RiskFlagClosed(Fact):
    """A clinician recorded what was done for the patient's safety; the flag is closed by it and by nothing else."""

    TYPE: ClassVar[str] = "therapy.risk-flag-closed.v1"
    ABOUT: ClassVar[str] = "risk-flag/{flag_id}"
    flag_id: UUID
    safety_action: Literal[
        "safety_plan_agreed",
        "means_restricted",
        "crisis_contact_made",
        "emergency_assessment_arranged",
        "admission_arranged",
    ]
    text: Text


TherapyFact = PatientNoted | TherapyStarted | SessionCompleted | MeasureRecorded | RiskFlagRaised | RiskFlagClosed
