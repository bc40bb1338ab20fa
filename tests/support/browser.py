"""A real Chromium, driven over its own debugging pipe: no driver to install, no port to collide on.

Only what tests of pages need: go somewhere, ask the page, press and type, look at it, hear what it complained about.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ANSWER_S = 20.0
COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown")


def found() -> str | None:
    """Where a Chromium is on this machine: `TANDEM_CHROMIUM`, or one on the path; None if there is none."""
    named = os.environ.get("TANDEM_CHROMIUM")
    return named or next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One page in one fresh profile."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers = commands, answers
        self.number = 0
        self.rest = b""
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer. Raises AssertionError with what the browser says."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)
        raise AssertionError(f"{method} was not answered")

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            read = os.read(self.answers, 1 << 20)
            assert read, "the browser has ended"
            self.rest += read
        message, self.rest = self.rest.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def size(self, width: int, height: int = 900) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def go(self, address: str) -> None:
        """Open an address and wait until it has loaded, wherever it led."""
        self.events.clear()
        self.send("Page.navigate", url=address)
        self.loaded()

    def loaded(self) -> None:
        """Wait until the page that is on its way has loaded."""
        until = time.monotonic() + ANSWER_S
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < until, "the page did not load"
            self.ask("1")
            time.sleep(0.02)
        self.events = [event for event in self.events if event.get("method") != "Page.loadEventFired"]

    def press(self, selector: str) -> None:
        """Press something that leads to another page."""
        self.events = [event for event in self.events if event.get("method") in COMPLAINTS]
        pressed = self.ask(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " if (it) it.click(); return !!it; })()"
        )
        assert pressed, f"nothing on the page is {selector}"
        self.loaded()

    def ask(self, expression: str) -> Any:
        """What a JavaScript expression gives on the page, asked from outside it."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """What a person can read on the page."""
        return str(self.ask("document.body.innerText"))

    def picture(self, path: Path) -> Path:
        """The whole page as PNG."""
        taken = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(taken["data"]))
        return path

    def complaints(self) -> list[str]:
        """Errors that the page or the browser logged: forbidden styles and scripts, missing files."""
        self.ask("1")
        told = [event["params"] for event in self.events if event.get("method") in COMPLAINTS]
        return [str(one.get("entry", one)) for one in told if one.get("entry", {}).get("level", "error") == "error"]


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser for as long as the context lasts. Raises AssertionError when there is none; ask `found` first."""
    program = found()
    assert program, "no Chromium on this machine"
    commands_read, commands = os.pipe()
    answers, answers_write = os.pipe()
    duplicates = {3: commands_read, 4: answers_write}

    def at_their_numbers() -> None:
        kept = {number: os.dup(pipe) for number, pipe in duplicates.items()}
        for number, pipe in kept.items():
            os.dup2(pipe, number)

    process = subprocess.Popen(
        [
            program,
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",  # Tests run as root in containers, where it cannot be had; they open our own pages only.
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(3, 4, commands_read, answers_write),
        preexec_fn=at_their_numbers,  # noqa: PLW1509  It only renumbers two pipes.
    )
    os.close(commands_read)
    os.close(answers_write)
    try:
        yield Browser(commands, answers)
    finally:
        process.terminate()
        process.wait(20)
        os.close(commands)
        os.close(answers)
