"""README's requests, run as they stand, on a deployment started as README says."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.topics import HOUSES
from ops.deployment import Deployment

CHECKOUT = Path(__file__).resolve().parents[2]
WITHIN_S = 60


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("readme") / "state"
    deployment = Deployment(folder)
    try:
        deployment.up([house for house in HOUSES if house != "notifications"], with_me=True, progress=print)
        yield folder
    finally:
        deployment.down()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: README's requests were NOT RUN")
def test_the_requests_in_the_readme_answer_as_it_says(state: Path) -> None:
    block = re.search(r"```sh\n(.*?)```", (CHECKOUT / "README.md").read_text("utf-8"), re.DOTALL)
    assert block
    done = subprocess.run(
        ["bash", "-eu", "-c", block.group(1)],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "TANDEM_STATE": str(state)},
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert '"position":"prescribing:2"' in done.stdout
    assert '"type":"prescribing.dose-prescribed.v1"' in done.stdout
    assert "sertraline" in done.stdout.rpartition("prescribing.dose-prescribed.v1")[2]  # In the care view's answer.
