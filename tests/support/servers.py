"""Real servers for tests: those the environment names, else containers, else the embedded stack.

The token issuer, the mailbox and whatever houses a test starts run under the embedded stack's
supervisor in each case. A run has one stack, in a folder of its own that goes when the run ends,
however it ends: the supervisor watches the test process.
"""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local import Stack

from .containers import containers

KAFKA, DATABASE = "KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"
PARTS = {KAFKA: "kafka", DATABASE: "postgres"}  # By the variable that names it, each of the two that may be elsewhere.


@dataclass(frozen=True)
class Servers:
    """Where everything is, and what it runs on. `environment` is what a house's process is to be given."""

    environment: Mapping[str, str]
    stack: Stack
    """Starts and hurts processes; it runs Kafka and PostgreSQL too when `embedded` names them."""
    embedded: frozenset[str]
    described: str
    shared: bool
    """Others use them too, or later: what a run made there is removed when it ends."""

    @property
    def kafka(self) -> str:
        return self.environment[KAFKA]

    @property
    def database_url(self) -> str:
        return self.environment[DATABASE]

    @property
    def issuer_url(self) -> str:
        return self.environment["TANDEM_ISSUER"]

    @property
    def jwks_url(self) -> str:
        return self.environment["TANDEM_JWKS_URL"]

    @property
    def client_secret(self) -> str:
        """The issuer's: with it, a token for anybody may be had."""
        return self.environment["TANDEM_CLIENT_SECRET"]

    @property
    def smtp_host(self) -> str:
        return self.environment["SMTP_HOST"]

    @property
    def smtp_port(self) -> int:
        return int(self.environment["SMTP_PORT"])

    @property
    def mailbox_url(self) -> str:
        return self.environment["TANDEM_MAILBOX_URL"]


@contextmanager
def running_servers(say: Callable[[str], None]) -> Iterator[Servers]:
    """Servers for as long as the context lasts; `say` is told which."""
    if state := os.environ.get("TANDEM_TEST_STATE"):
        stack = Stack(Path(state))
        say(f"servers: the stack that runs in {state}")
        yield Servers(
            dict(stack.addresses().environment), stack, frozenset(PARTS.values()), f"the stack in {state}", shared=True
        )
        return
    named = {name: os.environ[name] for name in PARTS if os.environ.get(name)}
    with ExitStack() as ending:
        rest = PARTS.keys() - named.keys()
        contained = ending.enter_context(containers(rest, say)) if rest else {}
        embedded = frozenset(PARTS[name] for name in rest - contained.keys())
        where = {
            name: "named in the environment" if name in named else "in a container" if name in contained else "embedded"
            for name in PARTS
        }
        described = ", ".join(f"{PARTS[name]} {place}" for name, place in where.items())
        say(f"servers: {described}")
        stack = Stack(Path(tempfile.mkdtemp(prefix="tandem-test-")))
        ending.callback(stack.down)
        started = stack.up(parts=["issuer", "mailbox", *sorted(embedded)], with_me=True, discard=True, progress=say)
        yield Servers(
            {**started.environment, **named, **contained}, stack, embedded, described, shared=len(embedded) < 2
        )


def new_prefix() -> str:
    """A `TANDEM_PREFIX` that no other run has."""
    return f"t{secrets.token_hex(4)}_"


async def drop(servers: Servers, prefix: str) -> None:
    """Remove every database and topic whose name begins with a prefix; the empty groups go when Kafka forgets them."""
    connection = await asyncpg.connect(servers.database_url.replace("+asyncpg", ""))
    try:
        names = await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix)
        for (name,) in names:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
    await admin.start()
    try:
        topics = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
        if topics:
            await admin.delete_topics(topics)
    finally:
        await admin.close()
