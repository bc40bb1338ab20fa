"""The timeline: every fact is a line that a person can read."""

import re
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from contracts import catalogue, prescribing, scheduling
from contracts.access import RecordRead
from contracts.clinical import Check, Dose, Medication, RuleRef, Schedule
from contracts.fact import Fact
from services.care_view.projections import KINDS, TYPES, entries, words
from tests.support.history import history
from tests.support.scenario import NOW, event_of

FACTS = {type(record.event.fact): record.event for record in history(5, count=60, weeks=20)}
TOLD = {name: fact for name, fact in catalogue.FACTS.items() if not name.startswith("access.")}
UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")


def test_the_timeline_knows_every_fact_of_every_topic_that_the_care_view_reads() -> None:
    assert set(TOLD) == TYPES


@pytest.mark.parametrize("fact", TOLD.values(), ids=TOLD)
def test_every_fact_is_one_line_that_a_person_can_read(fact: type[Fact]) -> None:
    [(kind, line)] = entries(FACTS[fact])
    assert kind in KINDS
    assert line[0].isupper() or line.split()[0].islower(), line
    assert len(line) > 8
    assert not UUID_TEXT.search(line), "ids are for programs"
    assert "_" not in line.split("@")[0], "codes are for programs"
    assert "None" not in line
    assert "datetime" not in line


def test_who_looked_is_not_part_of_a_patients_timeline() -> None:
    assert list(entries(event_of(RecordRead(what="care_view.patient", patients=()), source="/care_view/access"))) == []


def test_a_prescription_reads_as_it_would_be_said() -> None:
    fact = prescribing.DosePrescribed(
        order_id=UUID(int=1),
        medication=Medication(name="sertraline"),
        dose=Dose(amount=Decimal("50.0"), unit="mg"),
        schedule=Schedule(times=1),
        route="oral",
        indication="depressive episode",
        days_supply=30,
        refills=0,
        formulary_version="1",
        checks=(
            Check(rule=RuleRef(rule_id="A", version="1"), outcome="passed"),
            Check(rule=RuleRef(rule_id="B", version="1"), outcome="warned", message="start is low over 65"),
        ),
    )
    assert list(entries(event_of(fact))) == [
        (
            "medication",
            "sertraline 50 mg once a day, by mouth, prescribed for depressive episode; warned: start is low over 65",
        )
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule(times=2), "twice a day"),
        (Schedule(times=1, period_days=7), "once a week"),
        (Schedule(times=1, period_days=14), "once every 2 weeks"),
        (Schedule(times=3, period_days=5), "3 times every 5 days"),
        (Schedule(times=4, as_needed=True), "as needed, at most 4 times a day"),
    ],
)
def test_a_schedule_is_said_in_words(schedule: Schedule, said: str) -> None:
    assert words.frequency(schedule) == said


@pytest.mark.parametrize(("amount", "said"), [("12.50", "12.5 mg"), ("100", "100 mg"), ("0.1", "0.1 mg")])
def test_a_dose_is_written_without_trailing_zeros_and_without_exponent(amount: str, said: str) -> None:
    assert words.dose(Dose(amount=Decimal(amount), unit="mg")) == said


def test_a_visit_whose_wall_time_cannot_be_read_is_shown_as_it_stands() -> None:
    fact = scheduling.AppointmentBooked(
        appointment_id=UUID(int=1),
        kind="lab",
        clinician=scheduling.Staff(person="x", role="nurse"),
        starts_at=NOW + timedelta(days=1),
        wall_time="tomorrow at noon",
        time_zone="Europe/Lisbon",
        minutes=15,
        remote=False,
    )
    [(_, line)] = entries(event_of(fact))
    assert line == "Booked: lab on tomorrow at noon (Lisbon time), 15 minutes, in person"


@pytest.mark.parametrize(
    ("items", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_list_is_said_with_one_and(items: list[str], said: str) -> None:
    assert words.listed(items) == said
