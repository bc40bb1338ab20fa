"""A proxy before PostgreSQL that cuts a connection at the worst moment: the commit is made, the answer is not given."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

COMMITTED = b"COMMIT\0"  # The tag with which the server answers a commit.


@dataclass
class Cutting:
    """Passes everything on, until it is armed: then the next so many commits stay unanswered."""

    host: str
    port: int
    armed: int = 0
    cut: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a worker's."""
        try:
            upstream_reader, upstream = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.close()
            return
        asking = asyncio.create_task(self.forward(reader, upstream))
        with suppress(OSError):
            while answer := await upstream_reader.read(65_536):
                if self.armed and COMMITTED in answer:
                    self.armed -= 1
                    self.cut += 1
                    break
                writer.write(answer)
                await writer.drain()
        asking.cancel()
        for one in (writer, upstream):
            one.transport.abort()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while asked := await reader.read(65_536):
                writer.write(asked)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def cutting(database_url: str) -> AsyncIterator[tuple[Cutting, str]]:
    """A proxy, and the address of the same database through it."""
    place = urlsplit(database_url)
    assert place.hostname
    assert place.port
    proxy = Cutting(place.hostname, place.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        credentials = place.netloc.rpartition("@")[0]
        yield proxy, place._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()
    finally:
        server.close()
