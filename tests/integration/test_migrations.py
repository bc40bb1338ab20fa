"""Bringing databases up to date, and the permanent mark of simulated time, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import migrations
from chassis.database import create_engine, ensure_database, house_url
from chassis.migrations import WrongDeployment, migrate
from tests.support.servers import Servers


@pytest.fixture
async def empty(servers: Servers, own_prefix: str) -> AsyncIterator[AsyncEngine]:
    url = house_url(servers.database_url, own_prefix, "prescribing")
    await asyncio.gather(*(ensure_database(url) for _ in range(4)))  # As houses that start together do.
    engine = create_engine(url, application="test", pool_size=10)
    yield engine
    await engine.dispose()


def house(folder: Path, *bodies: str) -> Path:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(bodies, start=1):
        script = f"""
            from alembic import op

            revision = "{number:04d}"
            down_revision = {f'"{number - 1:04d}"' if number > 1 else None}


            def upgrade():
                {body}
        """
        (folder / "versions" / f"{number:04d}_change.py").write_text(dedent(script))
    return folder


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as session:
        found = await session.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return set(found.scalars())


async def test_several_processes_at_once_leave_one_database(empty: AsyncEngine, tmp_path: Path) -> None:
    scripts = house(tmp_path / "a folder", 'op.execute("CREATE TABLE booking (id int)")')

    await asyncio.gather(*(migrate(empty, "prescribing", scripts, simulated=False) for _ in range(4)))

    assert {"event", "command", "outbox", "timer", "booking", "version_chassis", "version_house"} <= await tables(empty)


async def test_a_later_release_adds_what_is_new_and_keeps_what_is_there(empty: AsyncEngine, tmp_path: Path) -> None:
    await migrate(empty, "prescribing", house(tmp_path, 'op.execute("CREATE TABLE booking (id int)")'), simulated=False)
    async with empty.begin() as tx:
        await tx.execute(text("INSERT INTO booking VALUES (1)"))

    later = house(
        tmp_path, 'op.execute("CREATE TABLE booking (id int)")', 'op.execute("ALTER TABLE booking ADD at date")'
    )
    await migrate(empty, "prescribing", later, simulated=False)

    async with empty.connect() as session:
        assert (await session.execute(text("SELECT id, at FROM booking"))).all() == [(1, None)]


async def test_a_migration_that_fails_lets_the_next_try_in(empty: AsyncEngine, tmp_path: Path) -> None:
    with pytest.raises(ProgrammingError):
        await migrate(empty, "prescribing", house(tmp_path, 'op.execute("CREATE TABLE")'), simulated=False)
    await migrate(empty, "prescribing", house(tmp_path, 'op.execute("CREATE TABLE booking (id int)")'), simulated=False)
    assert "booking" in await tables(empty)


async def test_who_waits_too_long_says_so(empty: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "WAIT_S", 0.3)
    async with empty.execution_options(isolation_level="AUTOCOMMIT").connect() as other, migrations.alone(other):
        with pytest.raises(TimeoutError):
            await migrate(empty, "prescribing", None, simulated=False)
    await migrate(empty, "prescribing", None, simulated=False)


async def test_the_mark_of_simulated_time_is_permanent_and_so_is_that_of_real_time(empty: AsyncEngine) -> None:
    await migrate(empty, "prescribing", None, simulated=True)
    with pytest.raises(WrongDeployment, match="created for simulated time"):
        await migrate(empty, "prescribing", None, simulated=False)
    await migrate(empty, "prescribing", None, simulated=True)


async def test_a_database_that_was_ever_real_is_never_simulated(empty: AsyncEngine) -> None:
    await migrate(empty, "prescribing", None, simulated=False)
    with pytest.raises(WrongDeployment, match="created for real time"):
        await migrate(empty, "prescribing", None, simulated=True)


async def test_simulated_time_wants_an_empty_database(empty: AsyncEngine) -> None:
    async with empty.begin() as tx:
        await tx.execute(text("CREATE TABLE somebody_elses (id int)"))
    with pytest.raises(WrongDeployment, match="empty"):
        await migrate(empty, "prescribing", None, simulated=True)
    assert await tables(empty) == {"somebody_elses"}


async def test_every_session_is_bounded(empty: AsyncEngine) -> None:
    async with empty.connect() as session:
        version = (await session.execute(text("SHOW server_version_num"))).scalar_one()
        names = ["idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout", "tcp_user_timeout"]
        names += ["transaction_timeout"] if int(version) >= 170_000 else []
        shown = [(await session.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert shown == ["5s", "8s", "30s", "10000", "30s"][: len(names)]
