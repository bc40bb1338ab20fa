"""A medicine's doses over time, from its line in the view: each with when it began and when it ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from ..projections.document import Medications
from ..projections.parts import CHANGES_KEPT, Line, Regimen

MEDICINES_DRAWN = 6


@dataclass(frozen=True)
class Course:
    """A medicine's doses over time: each with when it began and ended."""

    medication: str
    stretches: Sequence[tuple[datetime, datetime, Regimen]]
    ended: bool


def taken(medications: Medications, now: datetime) -> Iterator[Course]:
    """The courses to draw, by when they began: those in force, then the last that ended."""
    ended = [(one.line, day_after(one.last_dose_on)) for one in reversed(medications.ended)]
    in_force: list[tuple[Line, datetime | None]] = [(line, None) for line in medications.active.values()]
    chosen = [*in_force, *ended][:MEDICINES_DRAWN]
    for line, until in sorted(chosen, key=lambda one: one[0].since):
        yield Course(line.medication, list(stretches(line, until or now)), until is not None)


def stretches(line: Line, until: datetime) -> Iterator[tuple[datetime, datetime, Regimen]]:
    """Each dose with the time it was in force. Where earlier changes were let go, the course begins with the first
    change that is known: when the dose before it began is not."""
    changes = sorted(line.changes, key=lambda change: change.at)
    begins = line.since if len(changes) < CHANGES_KEPT else changes[0].at
    regimen = changes[0].before if changes else line.regimen
    for change in changes:
        if begins < change.at:
            yield begins, change.at, regimen
        begins, regimen = max(begins, change.at), change.after
    if begins < until:
        yield begins, until, regimen


def day_after(on: date) -> datetime:
    return datetime.combine(on + timedelta(days=1), time(), UTC)


def daily(regimen: Regimen) -> Decimal:
    return regimen.amount * regimen.times / regimen.period_days
