"""One clock per deployment, real or simulated, on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from chassis import clock as chassis_clock
from chassis.clock import Clock, ClockRefused
from chassis.database import create_engine
from tests.support.servers import Servers
from tests.support.writing import Writing, writing

LATER = timedelta(days=180)


async def database_now(house: Writing) -> datetime:
    async with house.engine.connect() as session:
        found: datetime = (await session.execute(text("SELECT tandem_now()"))).scalar_one()
    return found


async def test_a_real_deployment_goes_by_the_databases_clock(servers: Servers, own_prefix: str) -> None:
    async with writing(servers, own_prefix) as house:
        before = await database_now(house)
        told = await house.clock.now()
        after = await database_now(house)

        assert not house.clock.simulated
        assert before - timedelta(milliseconds=50) <= told <= after + timedelta(milliseconds=50)
        assert told.tzinfo is UTC


async def test_the_comparison_with_the_database_is_renewed(servers: Servers, own_prefix: str) -> None:
    async with writing(servers, own_prefix) as house:
        house.clock.database_at_zero -= LATER  # As if this machine had slept: its monotonic clock stood still.
        house.clock.compared_at_s -= 2 * chassis_clock.TRUSTED_S

        assert abs(await house.clock.now() - await database_now(house)) < timedelta(seconds=1)


async def test_a_clock_goes_on_for_a_while_without_its_database(servers: Servers, own_prefix: str) -> None:
    async with writing(servers, own_prefix) as house:
        house.clock.engine = create_engine("postgresql://nobody@127.0.0.1:1/nowhere", application="test")
        house.clock.compared_at_s -= 2 * chassis_clock.TRUSTED_S
        assert abs(await house.clock.now() - await database_now(house)) < timedelta(seconds=1)

        house.clock.compared_at_s -= 2 * chassis_clock.GOOD_FOR_S
        with pytest.raises(OSError, match=r".*"):
            await house.clock.now()


async def test_nobody_moves_the_clock_of_a_real_deployment(servers: Servers, own_prefix: str) -> None:
    async with writing(servers, own_prefix) as house:
        with pytest.raises(ClockRefused, match="real"):
            await house.clock.move(await house.clock.now() + LATER)
        assert await database_now(house) < datetime.now(UTC) + timedelta(hours=1)


async def test_simulated_time_stands_still_until_it_is_moved_and_never_goes_back(
    servers: Servers, own_prefix: str
) -> None:
    async with writing(servers, own_prefix, simulated=True) as house:
        elsewhere = Clock(house.engine)
        await elsewhere.start()
        began = await house.clock.now()
        assert await house.clock.now() == began

        await house.clock.move(began + LATER)

        assert await house.clock.now() == await elsewhere.now() == await database_now(house) == began + LATER
        with pytest.raises(ClockRefused, match="forward"):
            await house.clock.move(began)
        await house.clock.move(began + LATER)  # The player's line is played again: nothing happens.
        assert await house.clock.now() == began + LATER
