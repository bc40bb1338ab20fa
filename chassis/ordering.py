"""What becomes of one fact, judged by its place in the sequence. Pure: one key's page goes in, and is changed.

Per source and key the sequence has no holes: a lower number is a repeat, the same number with another hash a fork,
a higher one than the next a loss. A fact that cannot be applied is set aside, and what follows it from the same
source waits behind it, in order; other sources of the key flow on. A hole closes by itself when its number arrives.
"""

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from contracts.event import NO_HASH, Undecodable

from .codec import UnknownType, UnknownVersion
from .records import Junk, Received

S = TypeVar("S")
Take = Callable[[S, Received], S]

Mark = tuple[int, bytes]  # Sequence and hash of the last fact applied.
NOTHING: Mark = (0, NO_HASH)


class Verdict(StrEnum):
    """What became of a fact. All but the first two keep it waiting, and are the reason that is told."""

    APPLIED = "applied"
    REPEATED = "repeated"
    GAP = "gap"
    FORK = "fork"
    BEHIND = "behind"  # Another fact of its source waits already.
    UNDECODABLE = "undecodable"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_TYPE = "unknown_type"
    FAULT = "fault"  # A function of ours raised.
    REFUSED = "refused"  # PostgreSQL would not take what follows from it.


DONE = (Verdict.APPLIED, Verdict.REPEATED)


@dataclass(slots=True)
class Aside:
    """A record that waits. `id` is its row's, None while it has none."""

    fact: Received | Junk
    reason: Verdict
    id: int | None = None
    cause: Exception | None = None

    @property
    def turn(self) -> tuple[int, int]:
        """Waiting facts go by their sequence; of two with the same number, the first that came."""
        sequence = self.fact.place.sequence if isinstance(self.fact, Received) else 0
        return sequence, self.id if self.id is not None else 1 << 62


@dataclass(slots=True)
class Page(Generic[S]):
    """One key, under the lock of its row. `waiting` of a source is complete, in order, wherever it is needed."""

    key: str
    state: S
    seen: dict[str, Mark]
    stale_since: datetime | None = None
    blocked: dict[str, Verdict] = field(default_factory=dict)
    blocked_before: dict[str, Verdict] = field(default_factory=dict)  # As the table has it.
    waiting: dict[str, list[Aside]] = field(default_factory=dict)
    # What happened, for the tables and for those who watch.
    applied: int = 0
    repeated: int = 0
    set_aside: list[Aside] = field(default_factory=list)
    kept: list[Aside] = field(default_factory=list)
    released: list[Aside] = field(default_factory=list)

    def put_aside(self, aside: Aside, source: str) -> None:
        """This record waits from now on, and with it its source."""
        self.set_aside.append(aside)
        if isinstance(aside.fact, Received):
            insort(self.waiting.setdefault(source, []), aside, key=lambda one: one.turn)
        if source not in self.blocked:
            self.blocked[source] = aside.reason
            self.stale_since = self.stale_since or datetime.now(UTC)

    def keep_aside(self, aside: Aside, source: str) -> None:
        """It was its turn and it still cannot be applied."""
        self.kept.append(aside)
        self.blocked[source] = aside.reason

    def free(self, source: str) -> None:
        """Nothing of this source waits any more."""
        self.blocked.pop(source, None)
        if not self.blocked:
            self.stale_since = None


def arrive(page: Page[S], fact: Received, take: Take[S]) -> None:
    """A fact came from Kafka: apply it and what waited for it, or drop it, or set it aside."""
    source = fact.place.source
    verdict, cause = offer(page, fact, take)
    if verdict is Verdict.APPLIED:
        if source in page.blocked:
            resume(page, source, take)
    elif verdict is not Verdict.REPEATED:
        page.put_aside(Aside(fact, verdict, cause=cause), source)


def resume(page: Page[S], source: str, take: Take[S]) -> None:
    """Apply what waits of a source, in turn, up to the first that still cannot be."""
    waiting = page.waiting.setdefault(source, [])
    while waiting:
        aside = waiting[0]
        aside.reason, aside.cause = offer(page, aside.fact, take, in_turn=True)
        if aside.reason not in DONE:
            page.keep_aside(aside, source)
            return
        page.released.append(waiting.pop(0))
    page.free(source)


def offer(
    page: Page[S], fact: Received | Junk, take: Take[S], *, in_turn: bool = False
) -> tuple[Verdict, Exception | None]:
    """Apply one fact if it is next. `in_turn`: it waited, and nothing before it waits any more."""
    if isinstance(fact, Junk):
        return Verdict.UNDECODABLE, None
    verdict = judge(page, fact, in_turn)
    if verdict is Verdict.REPEATED:
        page.repeated += 1
    if verdict is not Verdict.APPLIED:
        return verdict, None
    try:
        page.state = take(page.state, fact)
    except MemoryError:
        raise  # Not the fact's fault.
    except Exception as error:
        return blame(error), error
    page.seen[fact.place.source] = fact.place.sequence, fact.place.hash
    page.applied += 1
    return Verdict.APPLIED, None


def judge(page: Page[S], fact: Received, in_turn: bool) -> Verdict:
    """By its place alone: whether to apply it."""
    place = fact.place
    last, known = page.seen.get(place.source, NOTHING)
    if place.sequence <= last:
        fork = place.sequence == last and place.hash != known
        return Verdict.FORK if fork else Verdict.REPEATED
    if not in_turn and place.source in page.blocked and not missed(page, fact):
        return Verdict.BEHIND
    return Verdict.GAP if place.sequence > last + 1 else Verdict.APPLIED


def missed(page: Page[S], fact: Received) -> bool:
    """Whether this is the number for which everything that waits of its source has been waiting."""
    last, _ = page.seen.get(fact.place.source, NOTHING)
    waiting = page.waiting.get(fact.place.source, [])
    return fact.place.sequence == last + 1 and all(aside.turn[0] > fact.place.sequence for aside in waiting)


def blame(error: Exception) -> Verdict:
    """Why a fact could not be taken."""
    match error:
        case UnknownType():
            return Verdict.UNKNOWN_TYPE
        case UnknownVersion():
            return Verdict.UNKNOWN_VERSION
        case Undecodable():
            return Verdict.UNDECODABLE
        case _:
            return Verdict.FAULT
