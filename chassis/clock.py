"""The deployment's one clock: it decides timers, quiet hours and recorded times.

It is the database's. In a deployment that was created for it the time is simulated: a row that somebody moves, never
back. The SQL function `tandem_now()` is the same clock for statements.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from .database import DATABASE_ERRORS, is_transient

NOW = text("SELECT tandem_now()")
SIMULATED = text("SELECT simulated FROM deployment")
MOVE = text("""
    UPDATE deployment SET simulated_now = :to WHERE simulated AND simulated_now <= :to RETURNING simulated_now""")
TRUSTED_S = 1.0  # How long a comparison of this machine with the database holds; quartz drifts 0.1 ms in that time.
GOOD_FOR_S = 60.0  # And how long without the database: 6 ms.


class ClockRefused(Exception):
    """The clock may not be set like that; `args[0]` says why."""


class Clock:
    """Tells the time without asking the database each time, unless the time is simulated."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.simulated = False
        self.compared = asyncio.Lock()
        self.compared_at_s = float("-inf")  # Of this process's monotonic clock, which nobody sets.
        self.database_at_zero = datetime.min.replace(tzinfo=UTC)

    async def start(self) -> None:
        """Learn whether the time is simulated. The database has been migrated."""
        async with self.engine.connect() as session:
            self.simulated = (await session.execute(SIMULATED)).scalar_one()
        if not self.simulated:
            await self.compare()

    async def now(self) -> datetime:
        """The deployment's time, aware, in UTC."""
        if self.simulated:
            return (await self.asked()).astimezone(UTC)
        if time.monotonic() - self.compared_at_s > TRUSTED_S and not self.compared.locked():
            async with self.compared:  # One asks; the others go by the last comparison meanwhile.
                await self.compare_again()
        return self.database_at_zero + timedelta(seconds=time.monotonic())

    async def move(self, to: datetime) -> None:
        """Set simulated time forward. Raises ClockRefused when it would go back, or when the time is real."""
        async with self.engine.connect() as session:
            moved = (await session.execute(MOVE, {"to": to})).first()
        if moved is None:
            raise ClockRefused("Simulated time only moves forward." if self.simulated else "This deployment is real.")

    async def compare_again(self) -> None:
        """Or go by the last comparison: whether the database can be had is not for a clock to say."""
        try:
            await self.compare()
        except DATABASE_ERRORS as error:
            if not is_transient(error) or time.monotonic() - self.compared_at_s > GOOD_FOR_S:
                raise

    async def compare(self) -> None:
        """Take the database's time for the middle of the question's way there and back."""
        before_s = time.monotonic()
        answer = await self.asked()
        after_s = time.monotonic()
        self.database_at_zero = answer.astimezone(UTC) - timedelta(seconds=(before_s + after_s) / 2)
        self.compared_at_s = after_s

    async def asked(self) -> datetime:
        async with self.engine.connect() as session:
            found: datetime = (await session.execute(NOW)).scalar_one()
        return found
