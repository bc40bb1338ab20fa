"""The main job, shown: a clinic's six months played through a deployment of its own, then judged.

The deployment is created for the play, in simulated time, and thrown away at the next one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from contracts.topics import HOUSES
from deploy.local.places import DEFAULT_STATE

from . import expectations
from .audit import ARCHIVE, verified
from .clinic import BadLine, PersonLine, id_of, read
from .deployment import Deployment
from .playing import Played, Player
from .progress import Progress
from .simulated import SimulatedTime
from .story import Story
from .tokens import Tokens, operator_token

STATE = DEFAULT_STATE / "demo"
FOLDER = Path(__file__).parent / "demonstration"
CLINIC, EXPECTATIONS = FOLDER / "clinic.jsonl", FOLDER / "expectations.json"
STORY_OF, TOLD_BY, AUDITED_BY = "ana", "dr-lind", "a-dietz"
ANSWER_S = 30.0
FACTS_A_PAGE = 1_000


@dataclass(frozen=True)
class Outcome:
    """How a demonstration ended: what fell short, in sentences."""

    shortfalls: Sequence[str]
    page: str


def run(*, once: bool, without: Collection[str] = (), state: Path = STATE, console: Console) -> int:
    """Exit code 0 only when every expectation of the committed list was seen and nothing else went wrong."""
    began = time.monotonic()
    deployment = Deployment(state, simulated=True)
    deployment.discard()
    houses = [house for house in HOUSES if house not in without]
    try:
        console.rule("Starting")
        addresses = deployment.up(houses, with_me=True, progress=lambda text: console.print(f"  {text}"))
        console.print(f"  everything is up after {time.monotonic() - began:.1f} s")
        outcome = asyncio.run(shown(deployment, addresses, console))
        for shortfall in outcome.shortfalls:
            console.print(f"[red]Not as expected:[/red] {shortfall}")
        console.print(f"\n{outcome.page}")
        verdict = "NOT as expected" if outcome.shortfalls else "as expected"
        console.print(f"Done after {time.monotonic() - began:.1f} s: {verdict}.")
        if not once:
            console.print("Everything stays up until you press Ctrl-C.")
            stay()
        return 1 if outcome.shortfalls else 0
    finally:
        deployment.down()


def stay() -> None:
    """Until the terminal says that it is enough."""
    try:
        while True:
            time.sleep(3_600)
    except KeyboardInterrupt:
        return


async def shown(deployment: Deployment, addresses: Mapping[str, str], console: Console) -> Outcome:
    """Play, tell, and judge."""
    servers = deployment.stack.addresses()
    people = people_of(CLINIC)
    async with httpx2.AsyncClient(timeout=ANSWER_S) as http:
        issuer, secret = servers["TANDEM_ISSUER"], servers["TANDEM_CLIENT_SECRET"]
        tokens = Tokens(http, issuer, secret)
        clock = SimulatedTime(http, addresses, await operator_token(http, issuer, secret))
        player = Player(http, addresses, tokens, clock)
        console.rule("Ana's care, fact by fact")
        story = Story(
            http, addresses.get("care_view", ""), str(id_of(STORY_OF)), people[TOLD_BY], tokens, console.print
        )
        shortfalls = await played(player, story, clock, console)
        await clock.settled()
        console.rule("Mail that went out")
        mail = (await http.get(f"{servers['TANDEM_MAILBOX_URL']}/messages")).raise_for_status().json()
        for message in mail:
            console.print(f"  to {', '.join(message['to'])}: {message['subject']}", highlight=False)
        console.rule("Proof")
        shortfalls += await proved(deployment, addresses, console)
        facts = await archived(http, addresses.get("audit"), await tokens.of(people[AUDITED_BY]))
        found = [expectations.seen(each, facts, mail) for each in expectations.read(EXPECTATIONS)]
        met = sum(each.met for each in found)
        console.print(f"  {met} of {len(found)} expectations were seen among {len(facts)} facts")
        shortfalls += [each.shortfall for each in found if not each.met]
    page = f"{addresses.get('care_view', '(the care view is not running)')}/patients/{id_of(STORY_OF)}"
    return Outcome(shortfalls, f"Open {page} and sign in as {people[TOLD_BY].name}.")


async def played(player: Player, story: Story, clock: SimulatedTime, console: Console) -> list[str]:
    """Play the file, telling the story beside it; returns what was not as the file says."""
    shortfalls: list[str] = []
    houses: Counter[str] = Counter()
    lines = CLINIC.read_text("utf-8").splitlines()
    with Progress(console, total=len(lines)) as progress:
        async for outcome in player.play(lines):
            if isinstance(outcome, BadLine):
                shortfalls.append(f"line {outcome.number}: {outcome.reason}")
                continue
            progress.reached(outcome.asked.number, outcome.asked.line.at)
            houses[outcome.asked.line.house] += 1
            if not outcome.as_expected:
                shortfalls.append(misplayed(outcome))
            if outcome.asked.patient == str(id_of(STORY_OF)) and outcome.token:
                taken_ms = await story.shown(outcome)
                await clock.settled(readers=["care_view"])
                await story.tell(outcome, taken_ms)
    told = sorted(story.shown_after_ms)
    if told:
        median_ms = told[len(told) // 2]
        console.print(
            f"  {len(told)} commands of Ana's, seen after {median_ms:.0f} ms (median), {told[-1]:.0f} (slowest)"
        )
    console.print("  commands: " + ", ".join(f"{house} {number}" for house, number in sorted(houses.items())))
    return shortfalls


def misplayed(outcome: Played) -> str:
    """What a line brought instead of what it expects."""
    wanted = f"a refusal, {outcome.asked.line.expect}" if outcome.asked.line.expect else "to be accepted"
    detail = outcome.reply.get("detail", "")
    return f"line {outcome.asked.number} expects {wanted}; {outcome.refusal or 'it was accepted'}. {detail}"


async def proved(deployment: Deployment, houses: Collection[str], console: Console) -> list[str]:
    """Verify the chains; returns what is wrong."""
    if ARCHIVE not in houses:
        return ["the archive did not run, so nothing could be proved"]
    report = await verified(deployment.stack.addresses(), houses, lambda text: None)
    console.print(f"  {report.summary}")
    return [] if report.whole else [report.summary]


async def archived(http: httpx2.AsyncClient, audit: str | None, token: str) -> list[dict[str, Any]]:
    """Every fact in the archive, page by page; none when audit does not run."""
    facts: list[dict[str, Any]] = []
    cursor: str | None = None
    while audit:
        params: dict[str, str] = {"limit": str(FACTS_A_PAGE)} | ({"before": cursor} if cursor else {})
        answer = await http.get(f"{audit}/facts", params=params, headers={"Authorization": f"Bearer {token}"})
        page = answer.raise_for_status().json()
        facts += page["facts"]
        cursor = page.get("next")
        if not cursor:
            break
    return facts


def people_of(clinic: Path) -> dict[str, PersonLine]:
    """The staff that a file names."""
    found = read(clinic.read_text("utf-8").splitlines())
    return {line.person: line for line in found if isinstance(line, PersonLine)}
