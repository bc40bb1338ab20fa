"""Tables, brought up to date at start by one process while the others wait.

The chassis' own come first, then the house's; each keeps its place in a version table of its own. A house keeps only
`migrations/versions/`: alembic's environment is the one beside this file.

Rule: a database says once and for all whether its time is simulated. That mark is older than any of its tables.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = structlog.get_logger()

CHASSIS = Path(__file__).parent
LOCK = 7_461_001  # Any number that nothing else in the database uses.
IN_THIS_PROCESS = Lock()  # Alembic keeps what it works on in its modules: one database at a time.
TRY_LOCK = text("SELECT pg_try_advisory_lock(:lock)")
UNLOCK = text("SELECT pg_advisory_unlock(:lock)")
POLL_S = 0.1
WAIT_S = 120.0  # A migration that takes longer than this is run by hand, before the release.

MARK_TABLE = text("""
    CREATE TABLE deployment (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        created_at timestamptz NOT NULL DEFAULT now(),
        simulated boolean NOT NULL,
        simulated_now timestamptz CHECK (simulated = (simulated_now IS NOT NULL)),
        kafka_cluster_id text)""")
# Simulated time begins before anything that could be played: it only moves forward.
MARK = text("""
    INSERT INTO deployment (simulated, simulated_now)
    VALUES (:simulated, CASE WHEN :simulated THEN timestamptz 'epoch' END)""")
MARKED = text("SELECT simulated FROM deployment")
TABLES = text("""
    SELECT count(*) FILTER (WHERE tablename = 'deployment' AND schemaname = current_schema()) AS marks,
           count(*) AS tables
    FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')""")
FOR_AS_LONG_AS_IT_TAKES = ("statement_timeout", "transaction_timeout")


class WrongDeployment(Exception):
    """This database cannot serve the deployment that was asked for; `args[0]` says why and what to do."""


async def migrate(engine: AsyncEngine, house: str, scripts: Path | None, *, simulated: bool) -> None:
    """Bring the database up to date. `scripts` is the house's folder `migrations`, None when it has no tables.

    Raises WrongDeployment when the database's time is real and simulated time is asked for, or the reverse, and
    TimeoutError when another process migrates for too long.
    """
    # The lock is polled outside a transaction: to wait inside one deadlocks with CREATE INDEX CONCURRENTLY.
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as session, alone(session):
        await mark(engine, simulated=simulated)
        await upgrade(engine, CHASSIS, "version_chassis")
        if scripts is not None:
            await upgrade(engine, scripts, "version_house")
    log.info("database_migrated", house=house, simulated=simulated)


@asynccontextmanager
async def alone(session: AsyncConnection) -> AsyncIterator[None]:
    """Nobody else migrates this database, and this process no other."""
    async with asyncio.timeout(WAIT_S):
        while not IN_THIS_PROCESS.acquire(blocking=False):  # noqa: ASYNC110  Perhaps held in another event loop.
            await asyncio.sleep(POLL_S)
        try:
            while not await session.scalar(TRY_LOCK, {"lock": LOCK}):  # noqa: ASYNC110  Held in another process.
                await asyncio.sleep(POLL_S)
        except BaseException:
            IN_THIS_PROCESS.release()
            raise
    try:
        yield
    finally:
        IN_THIS_PROCESS.release()
        await session.execute(UNLOCK, {"lock": LOCK})


async def mark(engine: AsyncEngine, *, simulated: bool) -> None:
    """Say what kind of time this database lives in, or see that it agrees with what is asked."""
    async with engine.begin() as tx:
        marks, tables = (await tx.execute(TABLES)).one()
        if not marks:
            if tables and simulated:
                raise WrongDeployment("Simulated time needs a new, empty database; this one holds tables.")
            await tx.execute(MARK_TABLE)
            await tx.execute(MARK, {"simulated": simulated})
        elif (await tx.execute(MARKED)).scalar_one() != simulated:
            found, asked = ("simulated", "real") if not simulated else ("real", "simulated")
            raise WrongDeployment(
                f"This database was created for {found} time and is asked to serve {asked} time. "
                "That mark is permanent: correct TANDEM_SIMULATED_TIME, or use another TANDEM_PREFIX."
            )


async def upgrade(engine: AsyncEngine, scripts: Path, version_table: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(CHASSIS))
    config.set_main_option("path_separator", "newline")  # A checkout's path may hold blanks and colons.
    config.set_main_option("version_locations", str(scripts / "versions").replace("%", "%%"))

    def run(connection: Connection) -> None:
        config.attributes.update(connection=connection, version_table=version_table)
        command.upgrade(config, "heads")

    async with engine.connect() as session:
        await unbounded(session)
        await session.run_sync(run)
        await session.commit()
        await session.invalidate()  # Its time-outs are off: it may not go back to the pool.


async def unbounded(session: AsyncConnection) -> None:
    """An index over years of facts takes longer than any statement of ours may."""
    for name in FOR_AS_LONG_AS_IT_TAKES:
        known = text("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = :name")
        await session.execute(known, {"name": name})
    await session.commit()
