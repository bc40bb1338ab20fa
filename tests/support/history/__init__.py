"""Seeded histories of whole care: real facts of every topic, chained as the services chain them.

The same seed gives the same bytes, on every machine and in any time zone. Each patient's months are told by one
generator; they are merged by recorded time, so that patients, sources and readers interleave as they would, and only
then numbered and hashed, for a person who looks at records has one chain over all patients.
"""

from collections.abc import Iterator
from datetime import timedelta
from heapq import merge
from operator import attrgetter
from random import Random

from .chaining import Record, published
from .enrolment import begins, seldom
from .looking import look
from .owing import owed, visit
from .telling import Telling, Told, patient_id
from .treatment import measure, medicines, prescribe, sessions

__all__ = ["Record", "history", "patient_id"]


def history(seed: int, *, count: int, weeks: int = 26, reads: bool = True) -> Iterator[Record]:
    """`count` patients, each over `weeks`, in order of recorded time; about six facts a patient and week.

    `reads` adds who looked (`access.events`); the histories of the patients are the same with and without.
    """
    return published(merge(*(care(seed, n, weeks, reads) for n in range(count)), key=attrgetter("recorded_at")))


def care(seed: int, n: int, weeks: int, reads: bool) -> Iterator[Told]:
    """One patient's months, in order of recorded time."""
    telling = Telling(seed, n)
    looks = Random(f"{seed}/{n}/reads")  # Apart from the rest, so that reads change nothing else.
    for fact in (*begins(telling), *(fact for week in range(weeks) for fact in one_week(telling, week, weeks))):
        yield fact
        if reads and looks.random() < 0.2:
            yield look(telling, fact, looks)


def one_week(telling: Telling, week: int, weeks: int) -> Iterator[Told]:
    """What happens in a week: medicines, sessions, scores, what is owed, what is written to the patient."""
    week_ends = telling.now + timedelta(days=7)
    if week == 0 and telling.approach in {"combined", "medication"}:
        yield from prescribe(telling)
    elif telling.orders:
        yield from medicines(telling)
    if telling.episode:
        yield from sessions(telling, week)
    if week % 2 == 0:
        yield from measure(telling, week, weeks)
    yield from owed(telling)
    if telling.chance(0.4):
        yield from visit(telling)
    if telling.chance(0.15):
        yield from seldom(telling)
    telling.now = max(telling.now, week_ends + timedelta(minutes=telling.random.randrange(300)))
