"""Sessions with PostgreSQL. Every one of them is bounded, or a stopped process would hold others behind its locks."""

from typing import Any

import asyncpg
import msgspec
from sqlalchemy import event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

SETTINGS = {
    # A process that was stopped inside a transaction gives its locks back after this long.
    "idle_in_transaction_session_timeout": "5s",
    # Longer than the one above: a claim or a command that waits behind a stopped process outlives it.
    "lock_timeout": "8s",
    # One statement of ours takes milliseconds. It also stands in for transaction_timeout before PostgreSQL 17.
    "statement_timeout": "30s",
    # A client that vanished without a word (a node lost, a cable cut) is noticed in 10 s, not in two hours.
    "tcp_user_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    # Our statements are short: compiling them costs more than it saves.
    "jit": "off",
    "timezone": "UTC",
}
TRANSACTION_TIMEOUT = "30s"  # However busy a transaction is: vacuum cannot clean an outbox behind a long one.
COMMAND_TIMEOUT_S = 40.0  # The server gives up before: this is for a server that no longer answers.
CONNECT_TIMEOUT_S = 10.0
POOL_TIMEOUT_S = 10.0  # A request that gets no session in this time is better answered with "busy".

# What passes by itself: tried again with a back-off, never parked, never blamed on a fact.
TRANSIENT_CLASSES = (
    "08",  # The connection.
    "40",  # Deadlock, serialization: undone, may be asked again.
    "53",  # Out of memory, disk or connections.
    "57",  # Shut down, cancelled, in recovery.
    "58",  # The server's own files.
)
TRANSIENT_STATES = (
    "25P02",  # The transaction had already failed.
    "25P03",  # Idle in a transaction for too long.
    "25P04",  # A transaction that took too long.
    "55P03",  # A lock that was not had in time.
    "25006",  # Read only: a standby that is about to be promoted, or a primary that was demoted.
)

VIOLATIONS = (IntegrityError, asyncpg.IntegrityConstraintViolationError)  # As the engine raises them, and the driver.
# The third is what a session says whose end the driver has half noticed: "another operation is in progress".
LOST = (OSError, TimeoutError, asyncpg.InternalClientError)
DATABASE_ERRORS = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, *LOST)


class Busy(Exception):
    """Not now: others were faster, or the database did not answer. It may have been done; ask again."""


def create_engine(url: str, *, application: str, pool_size: int = 10) -> AsyncEngine:
    """A pool of bounded sessions. `application` is shown in pg_stat_activity and in the server's log."""
    engine = create_async_engine(
        asyncpg_url(url),
        pool_size=pool_size,
        max_overflow=0,  # A bound that can be exceeded is none.
        pool_timeout=POOL_TIMEOUT_S,
        json_deserializer=msgspec.json.decode,
        hide_parameters=True,  # Parameters are patients' data; an error's text reaches a log.
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": COMMAND_TIMEOUT_S,
            "server_settings": {**SETTINGS, "application_name": application},
        },
    )
    event.listen(engine.sync_engine, "connect", bound_transactions)
    return engine


def bound_transactions(connection: Any, _record: Any) -> None:
    """transaction_timeout came with PostgreSQL 17; an older server would refuse the whole session for naming it."""

    async def bound(session: asyncpg.Connection) -> None:
        if session.get_server_version().major >= 17:
            await session.execute(f"SET transaction_timeout = '{TRANSACTION_TIMEOUT}'")

    connection.run_async(bound)


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed later, unchanged: a lost connection, a deadlock, a time-out.

    What was asked may have been done all the same: after a lost connection a commit's outcome is unknown.
    """
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig
        return cause is not None and is_transient(cause.__cause__ or cause)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in TRANSIENT_CLASSES or state in TRANSIENT_STATES or stale_plan(error)
    if isinstance(error, asyncpg.InterfaceError):  # Such as "connection is closed"; with a ValueError it is our data.
        return not isinstance(error, ValueError)
    return isinstance(error, (*LOST, PoolTimeout, Busy))


def stale_plan(error: asyncpg.PostgresError) -> bool:
    """A migration changed a table under a prepared statement: prepared again, it works."""
    return isinstance(error, asyncpg.exceptions.InvalidCachedStatementError)


def constraint_of(error: BaseException) -> str | None:
    """The name of the constraint that was violated, of one of VIOLATIONS."""
    cause = error.orig.__cause__ if isinstance(error, IntegrityError) and error.orig else error
    return getattr(cause, "constraint_name", None)


def asyncpg_url(url: str) -> URL:
    """The address with our driver, whichever of the usual spellings came in."""
    return make_url(url).set(drivername="postgresql+asyncpg")


def house_url(database_url: str, prefix: str, house: str) -> str:
    """The address of a house's own database, on the server that `database_url` names."""
    return asyncpg_url(database_url).set(database=f"{prefix}{house}").render_as_string(hide_password=False)


async def ensure_database(url: str) -> None:
    """Create the database that `url` names, unless it is there. Several processes may ask at once."""
    place = make_url(url).set(drivername="postgresql")
    try:
        session = await asyncpg.connect(dsn(place), timeout=CONNECT_TIMEOUT_S)
    except asyncpg.InvalidCatalogNameError:
        await create_database(place)
    else:
        await session.close()


async def create_database(place: URL) -> None:
    session = await asyncpg.connect(dsn(place.set(database="postgres")), timeout=CONNECT_TIMEOUT_S)
    try:
        # From template0: a session in template1 would refuse us. The name is quoted, not a parameter: none is allowed.
        name = str(place.database).replace('"', '""')
        await session.execute(f"CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass  # Another process was first; the second error is the same race, met in the catalogue's index.
    finally:
        await session.close()


def dsn(place: URL) -> str:
    return place.render_as_string(hide_password=False)
