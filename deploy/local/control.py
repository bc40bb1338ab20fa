"""How others talk to a running supervisor: one line of JSON each way, on a loopback port.

A request bears the supervisor's token, which only the owner of the state folder can read. (A Unix
socket would need no token; its path may have 107 bytes, and a checkout's is often longer.)
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .ports import HOST

LONGEST_LINE = 1 << 20  # An environment is a few kilobytes.

Answer = dict[str, Any]
Say = Callable[[str], None]
Handler = Callable[[Mapping[str, Any], Say], Awaitable[Answer]]


class Refused(Exception):
    """What the supervisor was asked for did not succeed."""


async def listen(token: str, handle: Handler) -> asyncio.Server:
    """Serve requests. `handle` may say lines of progress before its answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(message: Mapping[str, Any]) -> None:
            writer.write(json.dumps(message).encode() + b"\n")

        try:
            request = json.loads(await reader.readline())
            if not hmac.compare_digest(str(request.pop("token", "")), token):
                send({"refused": "wrong token"})
            else:
                try:
                    answer = await handle(request, lambda line: send({"progress": line}))
                    send({"answer": answer})
                except (RuntimeError, OSError, TimeoutError) as error:
                    send({"refused": str(error) or type(error).__name__})
            await writer.drain()
        except (ConnectionError, ValueError):
            pass  # The other side went away or is none of ours; there is nobody to tell.
        finally:
            writer.close()

    return await asyncio.start_server(serve, HOST, 0, limit=LONGEST_LINE)


def request(port: int, token: str, message: Mapping[str, Any], say: Say, timeout_s: float) -> Answer:
    """Ask a supervisor and wait for its answer; `timeout_s` bounds the time between two lines."""
    with socket.create_connection((HOST, port), timeout=timeout_s) as connection:
        connection.sendall(json.dumps({**message, "token": token}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                reply = json.loads(line)
                if "progress" in reply:
                    say(reply["progress"])
                elif "refused" in reply:
                    raise Refused(reply["refused"])
                else:
                    answer: Answer = reply["answer"]
                    return answer
    raise Refused("the supervisor ended without an answer; see log/supervisor.log")
