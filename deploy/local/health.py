"""Asking a server whether it serves, in its own protocol."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

ONE_ANSWER_S = 5  # A stopped process accepts connections and never answers.


class NotYet(Exception):
    """The server does not serve, for the reason given."""


async def ask(address: str) -> None:
    """Raises NotYet unless the server at the address serves."""
    try:
        async with asyncio.timeout(ONE_ANSWER_S):
            match urlsplit(address).scheme:
                case "http":
                    await ask_http(address)
                case "postgresql":
                    await ask_postgresql(address)
                case "kafka":
                    await ask_kafka(address)
                case "tcp":
                    await ask_tcp(address)
                case other:
                    raise ValueError(f"no way to ask a server of scheme {other!r}")
    except (OSError, TimeoutError, EOFError) as error:
        raise NotYet(f"{type(error).__name__}: {error}") from error


async def ask_tcp(address: str) -> None:
    where = urlsplit(address)
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.close()


async def ask_http(address: str) -> None:
    """A bare GET: an HTTP library would cost the supervisor a third of a second to import."""
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        target = (where.path or "/") + (f"?{where.query}" if where.query else "")
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readline()).decode("latin-1").split()
    finally:
        writer.close()
    if len(status) < 2 or not status[1].startswith("2"):
        raise NotYet(f"answered {' '.join(status) or 'nothing'}")


async def ask_postgresql(address: str) -> None:
    import asyncpg  # noqa: PLC0415  Imported while the server starts, not before it.

    try:
        connection = await asyncpg.connect(address, timeout=ONE_ANSWER_S)
    except asyncpg.CannotConnectNowError as error:
        raise NotYet("it is starting up") from error
    try:
        await connection.fetchval("SELECT 1")
    finally:
        connection.terminate()


async def ask_kafka(address: str) -> None:
    """Served once the broker lists itself: before that, topics cannot be created."""
    from aiokafka.client import AIOKafkaClient  # noqa: PLC0415  As above.
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    await ask_tcp(address)  # Before it listens, the client would write a warning for each look.
    client = AIOKafkaClient(bootstrap_servers=urlsplit(address).netloc, request_timeout_ms=4000)
    try:
        await client.bootstrap()
        if not client.cluster.brokers():
            raise NotYet("no broker has registered")
    except KafkaError as error:
        raise NotYet(type(error).__name__) from error
    finally:
        await client.close()
