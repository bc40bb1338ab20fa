"""Kafka and PostgreSQL in containers, where Docker answers and the images are at hand."""

import asyncio
import os
import time
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from deploy.local.health import NotYet, ask
from deploy.local.ports import HOST, unused_port

IMAGES = Path(__file__).parents[2] / "deploy" / "images.toml"
HEALTHY_WITHIN_S = 90  # A first start in a container that has two cores.
ROLE = PASSWORD = "tandem"  # Of a server that only this machine can reach, for one run.


@contextmanager
def containers(wanted: Collection[str], say: Callable[[str], None]) -> Iterator[Mapping[str, str]]:
    """Addresses of containers by the names in `wanted`; none where containers are not to be had."""
    images = tomllib.loads(IMAGES.read_text("utf-8"))
    missing = what_is_missing(images)
    if missing:
        say(f"no containers: {missing}")
        yield {}
        return
    testcontainers_config.ryuk_image = images["reaper"]
    starts = {"KAFKA_BOOTSTRAP_SERVERS": start_kafka, "DATABASE_URL": start_postgres}
    with ExitStack() as ending:
        yield {name: starts[name](images, ending) for name in sorted(wanted)}


def what_is_missing(images: Mapping[str, str]) -> str:
    """Why containers are not to be had; empty when they are. `TANDEM_PULL=1` lets Docker fetch images."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        if os.environ.get("TANDEM_PULL") == "1":
            return ""
        for image in images.values():
            client.images.get(image)
    except ImageNotFound:
        return f"the image {image} is not here, and TANDEM_PULL=1 was not set"
    except DockerException:
        return "Docker does not answer"
    return ""


def start_postgres(images: Mapping[str, str], ending: ExitStack) -> str:
    container = (
        DockerContainer(images["postgres"])
        .with_envs(POSTGRES_USER=ROLE, POSTGRES_PASSWORD=PASSWORD)
        .with_command("-c max_connections=300 -c shared_buffers=256MB")
        .with_exposed_ports(5432)
    )
    ending.enter_context(container)
    address = f"://{ROLE}:{PASSWORD}@{container.get_container_host_ip()}:{container.get_exposed_port(5432)}/postgres"
    wait_for("postgresql" + address)
    return "postgresql+asyncpg" + address


def start_kafka(images: Mapping[str, str], ending: ExitStack) -> str:
    # A broker tells its clients where it is, so the port outside must be known before it starts.
    port = unused_port()
    settings = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": "BROKER://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"BROKER://{HOST}:{port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@localhost:9093",
        "auto.create.topics.enable": "false",
        "num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "log.retention.ms": "-1",
    }
    container = (
        DockerContainer(images["kafka"])
        .with_envs(**{"KAFKA_" + name.upper().replace(".", "_"): value for name, value in settings.items()})
        .with_bind_ports(9092, port)
    )
    ending.enter_context(container)
    wait_for(f"kafka://{HOST}:{port}")
    return f"{HOST}:{port}"


def wait_for(address: str) -> None:
    until = time.monotonic() + HEALTHY_WITHIN_S
    while True:
        try:
            asyncio.run(ask(address))
            return
        except NotYet:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
