"""Views over HTTP: nobody is shown a record before it is recorded that they were."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import structlog

from contracts.permissions import PERMISSIONS

from ..access import Access
from ..house import House
from ..identity import Asking
from ..logs import failure, log
from .problems import RETRY_SOON, Problem

T = TypeVar("T")


class Views:
    """What may be seen of a house. `what` is always a name in contracts/permissions.py."""

    def __init__(self, house: House, access: Access) -> None:
        self.house, self.access = house, access

    async def show(self, viewing: Asking, what: str, patient: UUID, load: Callable[[], Awaitable[T]]) -> T:
        """What `load` finds of one patient, recorded as read.

        Both happen side by side, and both are over when this returns. `load` waits by itself for what `viewing.after`
        names. Raises what `Access.allow` raises, Problem when the reading cannot be recorded, and what `load` raises.
        """
        await self.allow(viewing, what, patient)
        recorded, found = await asyncio.gather(
            self.recorded(viewing, what, [patient]), outcome(load), return_exceptions=True
        )
        if isinstance(recorded, BaseException):
            raise recorded
        if isinstance(found, BaseException):
            raise found
        return found

    async def show_found(
        self, viewing: Asking, what: str, load: Callable[[], Awaitable[tuple[T, Sequence[UUID]]]]
    ) -> T:
        """What `load` finds of nobody in particular; whom it shows, its second answer, is known only then."""
        await self.allow(viewing, what, None)
        found, patients = await load()
        await self.recorded(viewing, what, patients)
        return found

    async def allow(self, viewing: Asking, what: str, patient: UUID | None) -> None:
        """Returns if the person may; records it if not. For what is neither a command nor shows a record."""
        if what not in PERMISSIONS or not what.startswith(f"{self.house.name}."):
            raise ValueError(f"{what} is no view of this house in contracts/permissions.py")
        if patient:
            structlog.contextvars.bind_contextvars(stream=str(patient))
        await self.access.allow(viewing, what, str(patient) if patient else None)

    async def recorded(self, viewing: Asking, what: str, patients: Sequence[UUID]) -> None:
        """Records that these patients' records are about to be shown. Raises Problem if that cannot be done."""
        try:
            await self.access.records.read(viewing, what, patients)
        except Exception as error:
            log.error("reading_not_recorded", what=what, **failure(error))
            sentence = "What is shown must be recorded, and that cannot be done now. Try again shortly."
            raise Problem(503, "reading_not_recorded", sentence, headers=RETRY_SOON) from None


async def outcome(load: Callable[[], Awaitable[T]]) -> T:
    """The answer of `load` as a coroutine, so that what it raises at once is an outcome too."""
    return await load()
