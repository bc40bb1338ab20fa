"""Real houses for tests: processes of their own, on the run's servers, under names that no other test has."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import httpx2

from contracts.topics import HOUSES
from deploy.local import Identity
from deploy.local.ports import HOST
from ops.clinic import PersonLine, person_id
from ops.deployment import ALL_ROLES, environment, program
from ops.tokens import Tokens

from .servers import Servers

ANSWER_S = 30.0


@dataclass
class Houses:
    """The processes that one test runs. A process is named by its house, or house and part (`prescribing-relay`)."""

    servers: Servers
    prefix: str
    simulated: bool = False
    started: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)

    def address(self, process: str) -> str:
        """Where a process listens, the same after a restart."""
        if process not in self.ports:
            self.ports[process] = self.servers.stack.port_for(self.prefix + process)
        return f"http://{HOST}:{self.ports[process]}"

    def start(self, process: str, roles: str = ALL_ROLES, slot: str = "0", **extra: str) -> str:
        """Start one process and wait until it is ready; returns its address."""
        house = process.partition("-")[0]
        addresses = {name: self.address(name) for name in HOUSES}
        told = environment(self.servers, addresses, prefix=self.prefix, simulated=self.simulated)
        told |= extra
        name = self.prefix + process
        self.servers.stack.start(program(house, told, self.address(process), name=name, roles=roles, slot=slot))
        self.started.append(process)
        return self.address(process)

    def kill(self, process: str, number: int = signal.SIGKILL) -> Identity:
        """Signal the very process that was started; the supervisor brings a killed one back."""
        return self.servers.stack.signal(self.prefix + process, number)

    def until_ready(self, process: str) -> None:
        """Wait until a process that was killed serves again."""
        self.servers.stack.until_healthy(self.prefix + process)

    def stop(self) -> None:
        """End all of them, the last one started first."""
        for process in reversed(self.started):
            self.servers.stack.hold(self.prefix + process)
        self.started.clear()


@dataclass
class Staff:
    """People with tokens of the local issuer."""

    http: httpx2.AsyncClient
    servers: Servers
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.http, self.servers.issuer_url, self.servers.client_secret)

    async def headers(self, name: str, role: str, *clinics: str, key: str = "") -> dict[str, str]:
        """What a request of this person carries; `key` makes it a command."""
        person = PersonLine.model_validate({"person": name, "role": role, "clinics": clinics, "name": name})
        found = {"Authorization": f"Bearer {await self.tokens.of(person)}"}
        return found | ({"Idempotency-Key": key} if key else {})


def enrolment(patient: UUID, number: int) -> Mapping[str, object]:
    """An invented patient of the clinic `north`, thirty-four years old at the least."""
    return {
        "patient_id": str(patient),
        "given_name": "Invented",
        "family_name": f"Patient {number}",
        "birth_date": "1990-04-02",
        "sex": "unknown",
        "language": "en",
        "time_zone": "America/New_York",
        "clinic": "north",
        "record_number": f"T-{number:06d}",
    }


def order_of(patient: UUID) -> UUID:
    """The one order that `in_care` put in force."""
    return uuid5(patient, "order")


async def in_care(houses: Houses, staff: Staff, patient: UUID, number: int, *, prescriber: str, at: str) -> None:
    """Enrol a patient, put a prescriber on the team and sertraline 50 mg in force; `at` is prescribing's process."""
    address = houses.address("patients")
    clerk = await staff.headers("clerk", "clerk", "north", key=f"enrol-{patient}")
    enrolled = await staff.http.post(f"{address}/patients", json=enrolment(patient, number), headers=clerk)
    assert enrolled.status_code == httpx2.codes.OK, enrolled.text
    supervisor = await staff.headers("supervisor", "supervisor", "north", key=f"team-{patient}")
    member = {"person": str(person_id(prescriber)), "name": "Dr Load", "role": "prescriber", "from_on": "2020-01-01"}
    joined = await staff.http.post(f"{address}/patients/{patient}/care-team", json=member, headers=supervisor)
    assert joined.status_code == httpx2.codes.OK, joined.text
    order = {
        "order_id": str(order_of(patient)),
        "medication": "sertraline",
        "dose": {"amount": "50", "unit": "mg"},
        "schedule": {"times": 1},
        "route": "oral",
        "indication": "depression",
        "days_supply": 30,
        "refills": 0,
    }
    prescribed = await staff.http.post(
        f"{houses.address(at)}/patients/{patient}/orders",
        json=order,
        params={"after": joined.json()["position"]},
        headers=await staff.headers(prescriber, "prescriber", "north", key=f"order-{patient}"),
    )
    assert prescribed.status_code == httpx2.codes.OK, prescribed.text
