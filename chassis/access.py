"""Who may do and see what, here and now; and the record of who looked and who was refused.

Every house but the patients' own keeps a copy of what decides it, folded from the patients' facts. A copy that may
be more than five seconds behind decides nothing: what was withdrawn meanwhile would still be granted. What is shown
is recorded before the first byte leaves; what cannot be recorded is not shown.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts import topics
from contracts.access import AccessFact, AccessRefused, OperatorActed, RecordRead
from contracts.patients import CareTeamMemberAssigned, CareTeamMemberReleased, PatientEnrolled
from contracts.permissions import Known, Refusal, known, refused

from .clock import Clock
from .commanding import CommandHandler
from .decider import Ask, Decider
from .documents import Documents, NotLive
from .identity import Asking
from .metrics import ACCESS_AGE
from .position import Position
from .projecting import Projection
from .store import EventStore

STALE_AFTER_S = 5.0
WAIT_S = 5.0  # All that a request's `after` names must be seen within this time.
ENROLLING_S = 2.0  # A patient who has just been enrolled may not be in the copy yet.

COPY: Projection[Known | None] = Projection(
    name="access",
    version=1,
    topics=[topics.PATIENTS],
    initial=None,
    project=known,
    types=frozenset(fact.TYPE for fact in (PatientEnrolled, CareTeamMemberAssigned, CareTeamMemberReleased)),
    encode=msgspec.json.encode,
    decode=lambda document: msgspec.json.decode(document, type=Known | None),
)


class Refused(Exception):
    """The person may not; the refusal has been recorded."""

    def __init__(self, rule: Refusal) -> None:
        super().__init__(rule)
        self.rule = rule


class Stale(Exception):
    """The copy may be too old to decide by."""


class NotYetKnown(Exception):
    """What a request said must be seen first has not been seen in time. `args` are the positions."""


class Copy(Protocol):
    """What this house knows of who may see whom."""

    async def fresh(self) -> bool:
        """Whether it may be decided by."""

    async def get(self, patient: str) -> Known | None:
        """What is known of one patient, None if nothing is. Raises Stale if that patient's facts are held up."""

    async def wait(self, patient: str, after: Sequence[Position], timeout_s: float) -> bool:
        """Whether those facts of the patient are in the copy, after waiting."""


@dataclass(frozen=True)
class CopyOfTheLog:
    """Kept by a worker of this house; read, and its age judged, in whichever process asks."""

    documents: Documents[Known | None]
    look_age_s: Callable[[], float]

    async def fresh(self) -> bool:
        age_s = self.look_age_s()
        ACCESS_AGE.set(age_s)
        return age_s <= STALE_AFTER_S

    async def get(self, patient: str) -> Known | None:
        try:
            found = await self.documents.get(patient)
        except NotLive:  # A newer release keeps a newer copy, by rules that this one does not know.
            raise Stale from None
        if found and found.stale_since:
            raise Stale
        return found.document if found else None

    async def wait(self, patient: str, after: Sequence[Position], timeout_s: float) -> bool:
        return await self.documents.wait(patient, after, timeout_s)


@dataclass(frozen=True)
class OwnFacts:
    """The patients' own house needs no copy: it folds its own stream, to the database's tail."""

    look_up: Callable[[str], Awaitable[Known | None]]

    async def fresh(self) -> bool:
        return True

    async def get(self, patient: str) -> Known | None:
        return await self.look_up(patient)

    async def wait(self, patient: str, after: Sequence[Position], timeout_s: float) -> bool:
        return True  # The tail holds all that was ever answered with a position.


class Records:
    """Appends a house's access facts, each to the stream of the person who acted."""

    def __init__(self, engine: AsyncEngine, house: str, clock: Clock) -> None:
        self.clock = clock
        self.store = EventStore(engine, f"/{house}/access", topics.ACCESS)
        as_asked: Decider[None, AccessFact, AccessFact] = Decider(
            initial=None, decide=lambda _, ask: [ask.command], evolve=lambda state, _: state
        )
        self.handler = CommandHandler(as_asked, self.store, clock)

    async def append(self, asking: Asking, fact: AccessFact) -> None:
        """Appends one fact; when it returns, it is committed."""
        now = await self.clock.now()
        person = asking.caller.person
        await self.handler.handle(
            Ask(
                command=fact,
                key=person.id,
                id=uuid4(),  # Each look is a fact of its own.
                now=now,
                occurred_at=now,
                actor=person.id,
                actor_role=person.role,
                reason=asking.reason,
                correlation_id=asking.correlation_id,
            )
        )

    async def read(self, asking: Asking, what: str, patients: Sequence[UUID]) -> None:
        """Somebody is about to be shown records of these patients."""
        await self.append(asking, RecordRead(what=what, patients=tuple(patients)))

    async def operator_acted(self, asking: Asking, command: str, arguments: Sequence[str], why: str) -> None:
        """An operator is about to change how the system runs."""
        await self.append(asking, OperatorActed(command=command, arguments=tuple(arguments), why=why))


class Access:
    """Judges one request at a time. `zone` is where a day of membership in a care team begins and ends."""

    def __init__(self, copy: Copy, records: Records, clock: Clock, zone: ZoneInfo) -> None:
        self.copy, self.records, self.clock, self.zone = copy, records, clock, zone

    async def fresh(self) -> bool:
        """Whether this house may decide who may see whom. While it may not, nothing is sent to anybody either."""
        return await self.copy.fresh()

    async def allow(self, asking: Asking, what: str, patient: str | None) -> None:
        """Returns if the person may. Raises Refused (recorded), Stale, NotYetKnown.

        `what` is a name in contracts/permissions.py; `patient` is None for what concerns no single one.
        """
        rule = await self.judged(asking, what, patient)
        if rule is None:
            return
        patients = (UUID(patient),) if patient else ()
        await self.records.append(asking, AccessRefused(what=what, rule=rule, patients=patients))
        raise Refused(rule)

    async def judged(self, asking: Asking, what: str, patient: str | None) -> Refusal | None:
        """Which condition fails, by the copy as it must at least be."""
        person = asking.caller.person
        today = (await self.clock.now()).astimezone(self.zone).date()
        without_the_patient = refused(what, person, patient, None, today)
        if patient is None or without_the_patient in (None, "role"):
            return without_the_patient  # What is known of the patient would change nothing.
        if not await self.copy.fresh():
            raise Stale
        await self.caught_up(patient, tuple(position for position in asking.after if position.house == "patients"))
        found = await self.copy.get(patient)
        if found is None and await self.copy.wait(patient, [Position("patients", 1)], ENROLLING_S):
            found = await self.copy.get(patient)
        return refused(what, person, patient, found, today)

    async def caught_up(self, patient: str, after: Sequence[Position]) -> None:
        """Waits for what the request said must be seen first. Raises NotYetKnown, or Stale if it is held up."""
        if after and not await self.copy.wait(patient, after, WAIT_S):
            await self.copy.get(patient)
            raise NotYetKnown(*after)
