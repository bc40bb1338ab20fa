"""`tandem`: the operator's command line.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted and resumable.
"""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console

from contracts.roles import ROLES
from contracts.topics import HOUSES
from deploy.local.control import Refused
from deploy.local.jars import JarsRefused
from deploy.local.places import DEFAULT_STATE
from deploy.local.stack import NotRunning

from . import audit, demo, play
from .clinic import PersonLine, person_id
from .deployment import Deployment
from .simulated import Unsettled
from .tokens import Tokens

FAILED, USAGE, INTERRUPTED = 1, 2, 130
FAULTS = (JarsRefused, NotRunning, Refused, Unsettled, httpx2.HTTPError)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
audit_app = typer.Typer(no_args_is_help=True, help="Prove that the record is whole.")
app.add_typer(audit_app, name="audit")

errors = Console(stderr=True)
State = Annotated[Path, typer.Option("--state", envvar="TANDEM_STATE", help="Folder of the deployment's state.")]


@app.command()
def up(
    state: State = DEFAULT_STATE,
    simulated: Annotated[bool, typer.Option("--simulated", help="Created for simulated time, for ever.")] = False,
) -> None:
    """Start Kafka, PostgreSQL, the token issuer, the mailbox and the seven houses; they stay up."""
    deployment = Deployment(state, simulated=simulated)
    for house, address in deployment.up(progress=errors.print).items():
        print(f"{house} {address}")


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """End everything that `up` started. What was recorded stays."""
    Deployment(state).down()


@app.command()
def status(
    state: State = DEFAULT_STATE,
    output: Annotated[
        str, typer.Option("--output", help="table, json, or env: the houses' addresses for a shell")
    ] = "table",
) -> None:
    """What runs, where, since how many starts."""
    if output == "env":
        for house, address in Deployment(state).addresses().items():
            print(f"{house.upper()}_URL={address}")
        return
    found = {name: dict(part) for name, part in sorted(Deployment(state).stack.status().items())}
    if output == "json":
        print(json.dumps(found))
        return
    for name, part in found.items():
        where = f"{part['host']}:{part['port']} pid {part['pid']}" if part["runs"] else "down"
        print(f"{name:14} {where}, started {part['starts']} times")
    if any(not part["runs"] for part in found.values()):
        raise typer.Exit(FAILED)


@app.command()
def token(
    sub: Annotated[str, typer.Argument(help="The person's name in a clinic's file, such as dr-lind.")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")],
    clinic: Annotated[list[str] | None, typer.Option(help="Where the person works; may be repeated.")] = None,
    patient: Annotated[str | None, typer.Option(help="Whose record is their own, as @name.")] = None,
    id_only: Annotated[bool, typer.Option("--id", help="Print the person's id instead.")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """Print a bearer token for a person of this development deployment."""
    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is not one of {', '.join(ROLES)}")
    person = PersonLine.model_validate(
        {"person": sub, "role": role, "clinics": clinic or [], "name": sub, "patient": patient}
    )
    if id_only:
        print(person_id(sub))
        return
    servers = Deployment(state).stack.addresses()

    async def ask() -> str:
        async with httpx2.AsyncClient() as http:
            tokens = Tokens(http, servers["TANDEM_ISSUER"], servers["TANDEM_CLIENT_SECRET"])
            await tokens.introduce(person)
            return await tokens.of(person)

    print(asyncio.run(ask()))


@app.command("play")
def play_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A clinic's days, as JSON lines.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Play a clinic's days through the services' HTTP APIs. Played again, nothing happens twice."""
    summary = asyncio.run(play.run(file.read_text("utf-8").splitlines(), Deployment(state), errors))
    print(summary.sentence)
    if summary.faults:
        raise typer.Exit(FAILED)


@app.command("demo")
def demonstrate(
    once: Annotated[bool, typer.Option("--once", help="End when done, with status 0 only if all was seen.")] = False,
    without: Annotated[list[str] | None, typer.Option(help="Leave a house out, to see it missed.")] = None,
    state: State = demo.STATE,
) -> None:
    """Twelve invented patients' six months, on a deployment of their own."""
    for house in without or []:
        if house not in HOUSES:
            raise typer.BadParameter(f"{house!r} is not one of {', '.join(HOUSES)}")
    raise typer.Exit(demo.run(once=once, without=without or [], state=state, console=Console()))


@audit_app.command("verify")
def verify(
    state: State = DEFAULT_STATE,
    output: Annotated[str, typer.Option("--output", help="table or json")] = "table",
) -> None:
    """Walk every chain in the services' tables and in the archive; name the first fact that is not as written."""
    deployment = Deployment(state)
    report = asyncio.run(audit.verified(deployment.stack.addresses(), HOUSES, errors.print))
    print(report.as_json() if output == "json" else report.summary)
    if not report.whole:
        raise typer.Exit(FAILED)


def run(arguments: list[str] | None = None) -> Any:
    """The entry point: a fault of the deployment is one sentence and status 1, not a traceback."""
    try:
        return app(arguments)
    except KeyboardInterrupt:
        errors.print("Interrupted; the same command goes on where this one stopped.")
        raise SystemExit(INTERRUPTED) from None
    except FAULTS as fault:
        errors.print(f"{fault or type(fault).__name__}", style="red", highlight=False)
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    run()
