"""A deployment on this machine: the embedded stack, and the houses that run on it."""

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from contracts.topics import HOUSES
from deploy.local import Addresses, Stack
from deploy.local.places import CHECKOUT, DEFAULT_STATE
from deploy.local.ports import HOST
from deploy.local.processes import Program

ALL_ROLES = "api,relay,worker"
SENDER = "care@clinic.example"  # Neutral, and reserved by RFC 2606: it reaches nobody.
LEASE_S = "1"  # On one machine a killed relay's successor is itself: it should not wait for a lease made for a network.
HOUSE_STOPS_WITHIN_S = 25.0  # Its own bound is 20 s.

Say = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """Houses on an embedded stack, by the folder that holds their state."""

    state: Path = DEFAULT_STATE
    simulated: bool = False

    @property
    def stack(self) -> Stack:
        return Stack(self.state)

    def up(self, houses: Iterable[str] = HOUSES, *, with_me: bool = False, progress: Say) -> Mapping[str, str]:
        """Start all that does not run yet and wait until it serves; returns each house's address.

        Raises deploy.local.control.Refused with the end of a log when a part or a house fails.
        """
        stack = self.stack
        servers = stack.up(with_me=with_me, progress=progress)
        addresses = {house: f"http://{HOST}:{stack.port_for(house)}" for house in houses}
        told = environment(servers, addresses, simulated=self.simulated)

        def start(house: str) -> None:
            stack.start(program(house, told, addresses[house]))
            progress(f"{house}: up")

        with ThreadPoolExecutor(len(HOUSES)) as side_by_side:
            list(side_by_side.map(start, addresses))
        return addresses

    def down(self) -> None:
        """End everything that runs here."""
        self.stack.down()

    def discard(self) -> None:
        """End everything that runs here and remove what it kept, nothing else that lies in the folder."""
        self.down()
        places = self.stack.places
        for folder in (places.run, places.log, places.data, places.secrets):
            if folder.exists():
                shutil.rmtree(folder)
        places.ports.unlink(missing_ok=True)

    def addresses(self) -> dict[str, str]:
        """Where the houses that run now listen. Raises NotRunning when there is no stack."""
        found = self.stack.status()
        return {
            house: f"http://{HOST}:{found[house]['port']}"
            for house in HOUSES
            if house in found and found[house]["runs"]
        }


def environment(
    servers: Addresses, addresses: Mapping[str, str], *, prefix: str = "", simulated: bool = False
) -> dict[str, str]:
    """What every house is told; see chassis/settings.py. `addresses` are those of the houses that run."""
    told = {
        **servers.environment,
        "TANDEM_PREFIX": prefix,
        "TANDEM_SIMULATED_TIME": "1" if simulated else "0",
        "TANDEM_SENDER_ADDRESS": SENDER,
        "TANDEM_RELAY_LEASE_S": LEASE_S,
    }
    if "patients" in addresses:
        told["TANDEM_PATIENTS_URL"] = addresses["patients"]
    if "care_view" in addresses:
        told["TANDEM_PUBLIC_URL"] = addresses["care_view"]
    return told


def program(
    house: str, told: Mapping[str, str], address: str, *, name: str = "", roles: str = ALL_ROLES, slot: str = "0"
) -> Program:
    """How one process of a house is run: restarted whenever it ends. `name` is the house's unless it has several."""
    port = int(address.rpartition(":")[2])
    command = (
        sys.executable,
        *("-m", "uvicorn", f"services.{house}.main:create_app", "--factory"),
        *("--host", HOST, "--port", str(port), "--loop", "uvloop", "--no-access-log"),
    )
    return Program(
        name=name or house,
        command=command,
        environment={**told, "TANDEM_CLIENT_ID": house, "TANDEM_ROLES": roles, "TANDEM_SLOT": slot},
        health=f"{address}/ready",
        port=port,
        stops_within_s=HOUSE_STOPS_WITHIN_S,
        folder=str(CHECKOUT),
    )
