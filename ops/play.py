"""`tandem play`: a file, the deployment that runs, and what became of each line."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
from rich.console import Console

from .clinic import BadLine
from .deployment import Deployment
from .playing import Played, Player, RealTime, Time
from .progress import Progress
from .simulated import SimulatedTime
from .tokens import Tokens, operator_token

ANSWER_S = 30.0


@dataclass
class Summary:
    """How many lines ended how."""

    accepted: int = 0
    repeated: int = 0
    refused_as_expected: int = 0
    faults: int = 0

    @property
    def sentence(self) -> str:
        return (
            f"{self.accepted} accepted, {self.repeated} had been done before, "
            f"{self.refused_as_expected} refused as expected, {self.faults} at fault"
        )


async def run(lines: Sequence[str], deployment: Deployment, console: Console) -> Summary:
    """Play lines on a deployment that is up. A deployment of simulated time is moved along, a real one is not."""
    servers, addresses = deployment.stack.addresses(), deployment.addresses()
    summary = Summary()
    async with httpx2.AsyncClient(timeout=ANSWER_S) as http:
        issuer, secret = servers["TANDEM_ISSUER"], servers["TANDEM_CLIENT_SECRET"]
        time: Time = RealTime()
        if await is_simulated(http, addresses):
            time = SimulatedTime(http, addresses, await operator_token(http, issuer, secret))
        player = Player(http, addresses, Tokens(http, issuer, secret), time)
        with Progress(console, total=len(lines)) as progress:
            async for outcome in player.play(lines):
                match outcome:
                    case BadLine(number, reason):
                        summary.faults += 1
                        console.print(f"line {number}: {reason}", style="red", highlight=False)
                    case Played():
                        count(summary, outcome, console)
                        progress.reached(outcome.asked.number, outcome.asked.line.at)
        if isinstance(time, SimulatedTime):
            await time.settled()
    return summary


def count(summary: Summary, outcome: Played, console: Console) -> None:
    """Add one outcome, and say what is wrong with it."""
    if not outcome.as_expected:
        summary.faults += 1
        said = outcome.refusal or "accepted, though a refusal was expected"
        text = f"line {outcome.asked.number}: {said}. {outcome.reply.get('detail', '')}"
        console.print(text, style="red", highlight=False)
    elif outcome.refusal:
        summary.refused_as_expected += 1
    elif outcome.repeated:
        summary.repeated += 1
    else:
        summary.accepted += 1


async def is_simulated(http: httpx2.AsyncClient, addresses: dict[str, str]) -> bool:
    """Whether the deployment was created for simulated time; it says so in its readiness."""
    for address in addresses.values():
        found = (await http.get(f"{address}/ready")).json()
        return bool(found.get("simulated_time"))
    return False
