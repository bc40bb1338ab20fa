"""The care view's worker and prescribing's relay are killed again and again while commands pour in over HTTP.

What is compared: every fact in the services' tables, every record in Kafka (repeats dropped), every line that the
care view counted, and every document against a fold that shares no code with it.
"""

import asyncio
import itertools
import json
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import create_engine, house_url
from contracts import topics
from tests.reference.care_view_fold import care_view
from tests.support.houses import Houses, Staff, in_care, order_of
from tests.support.log import records_of
from tests.support.servers import Servers

SEED = 20_261_123
PATIENTS, CLIENTS = 32, 8
DOSES = ("75", "100", "125", "150")
WITHIN_S = 60.0
LEAST_FACTS, LEAST_RATE = 1_000, 100.0


@dataclass
class Load:
    """Commands that were accepted, and what each reply said."""

    http: httpx2.AsyncClient
    headers: Mapping[str, str]
    prescribing: str
    accepted: int = 0
    tokens: dict[UUID, str] = field(default_factory=dict)
    enough: bool = False

    async def pour(self, patients: list[UUID]) -> None:
        """One client: adjusts its patients' doses in turn until there is enough."""
        for dose, patient in itertools.cycle(itertools.product(DOSES, patients)):
            if self.enough:
                return
            body = {"dose": {"amount": dose, "unit": "mg"}, "schedule": {"times": 1}, "reason": "titration"}
            path = f"/patients/{patient}/orders/{order_of(patient)}/adjustments"
            answer = await self.http.post(
                f"{self.prescribing}{path}", json=body, headers={**self.headers, "Idempotency-Key": str(uuid4())}
            )
            assert answer.status_code == httpx2.codes.OK, answer.text
            self.accepted += 1
            self.tokens[patient] = answer.json()["position"]


@pytest.fixture
async def houses(servers: Servers, own_prefix: str) -> AsyncIterator[Houses]:
    found = Houses(servers, own_prefix)
    try:
        found.start("patients")
        found.start("prescribing-api", roles="api,worker")
        found.start("prescribing-relay", roles="relay")
        found.start("care_view-worker", roles="worker")
        found.start("care_view-api", roles="api,relay")
        yield found
    finally:
        found.stop()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=60.0, limits=httpx2.Limits(max_connections=40)) as client:
        yield client


async def test_ten_kills_of_worker_and_relay_under_load(
    houses: Houses, servers: Servers, http: httpx2.AsyncClient
) -> None:
    await killed_under_load(houses, servers, http, kills=10)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_fifty_kills_of_worker_and_relay_under_load(
    houses: Houses, servers: Servers, http: httpx2.AsyncClient
) -> None:
    await killed_under_load(houses, servers, http, kills=50)


async def killed_under_load(houses: Houses, servers: Servers, http: httpx2.AsyncClient, kills: int) -> None:
    staff = Staff(http, servers)
    patients = [uuid5(NAMESPACE_URL, f"{houses.prefix}{n}") for n in range(PATIENTS)]
    for number, patient in enumerate(patients):
        await in_care(houses, staff, patient, number, prescriber="dr-load", at="prescribing-api")
    headers = await staff.headers("dr-load", "prescriber", "north")
    load = Load(http, headers, houses.address("prescribing-api"))
    clients = [asyncio.create_task(load.pour(patients[n::CLIENTS])) for n in range(CLIENTS)]
    began = time.monotonic()
    try:
        await kill_in_turn(houses, kills)
    finally:
        load.enough = True
        taken_s = time.monotonic() - began
        await asyncio.gather(*clients)
    rate = load.accepted / taken_s
    print(f"\n{kills} kills of each in {taken_s:.0f} s under {rate:.0f} accepted commands/s, seed {SEED}")
    assert load.accepted >= LEAST_FACTS
    assert rate >= LEAST_RATE
    await seen_by_the_view(houses, staff, load.tokens)
    await judged(houses, servers)


async def kill_in_turn(houses: Houses, kills: int) -> None:
    """Kill both at moments that the seed chooses, each time once they serve again."""
    chance = random.Random(SEED)
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        houses.kill("care_view-worker", signal.SIGKILL)
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        houses.kill("prescribing-relay", signal.SIGKILL)
        await asyncio.gather(
            *(asyncio.to_thread(houses.until_ready, name) for name in ("care_view-worker", "prescribing-relay"))
        )


async def seen_by_the_view(houses: Houses, staff: Staff, tokens: Mapping[UUID, str]) -> None:
    """Wait, bounded, until the view has seen each patient's last command, as a clinician would."""
    headers = await staff.headers("dr-load", "prescriber", "north")
    address = houses.address("care_view-api")
    for patient, token in tokens.items():
        until = time.monotonic() + WITHIN_S
        while True:
            answer = await staff.http.get(f"{address}/patients/{patient}", params={"after": token}, headers=headers)
            if answer.status_code == httpx2.codes.OK:
                break
            assert time.monotonic() < until, answer.text
            await asyncio.sleep(0.2)


async def judged(houses: Houses, servers: Servers) -> None:
    """Compare tables, Kafka, timeline and documents."""
    engines = {
        house: create_engine(house_url(servers.database_url, houses.prefix, house), application="test")
        for house in ("patients", "prescribing", "care_view")
    }
    try:
        written = {house: await facts_of(engines[house], house) for house in ("patients", "prescribing")}
        for house, topic in (("patients", topics.PATIENTS), ("prescribing", topics.PRESCRIBING)):
            published = await records_of(servers.kafka, houses.prefix + topic.name)
            in_order: dict[str, list[tuple[int, str]]] = {}
            for headers, _ in published:
                chain = in_order.setdefault(headers["ce_partitionkey"], [])
                place = int(headers["ce_sequence"]), headers["ce_hash"]
                if place not in chain:  # Order holds after dropping repeats.
                    chain.append(place)
            told: dict[str, list[tuple[int, str]]] = {}
            for headers, _ in written[house]:
                told.setdefault(headers["ce_partitionkey"], []).append(
                    (int(headers["ce_sequence"]), headers["ce_hash"])
                )
            assert in_order == told, f"{house}: Kafka without repeats differs from the tables"
        every = [*written["patients"], *written["prescribing"]]
        counted = await lines_of(engines["care_view"])
        assert counted == Counter((h["ce_source"], h["ce_partitionkey"], int(h["ce_sequence"])) for h, _ in every)
        by_patient: dict[str, list[tuple[Mapping[str, str], bytes]]] = {}
        for headers, value in every:
            by_patient.setdefault(headers["ce_partitionkey"], []).append((headers, value))
        documents = await documents_of(engines["care_view"])
        assert documents == {patient: care_view(records) for patient, records in by_patient.items()}
    finally:
        for engine in engines.values():
            await engine.dispose()


async def facts_of(engine: AsyncEngine, house: str) -> list[tuple[Mapping[str, str], bytes]]:
    """A house's domain facts in the order of their chains; gapless, or the test fails."""
    query = "SELECT stream, sequence, headers::text, value FROM event ORDER BY stream, sequence"
    async with engine.connect() as connection:
        rows = (await connection.execute(text(query))).all()
    found = [(row.stream, row.sequence, json.loads(row.headers), bytes(row.value)) for row in rows]
    found = [each for each in found if each[2]["ce_source"] == f"/{house}"]
    for stream, chain in itertools.groupby(found, key=lambda each: each[0]):
        numbers = [each[1] for each in chain]
        assert numbers == list(range(1, len(numbers) + 1)), f"{house}, {stream}: {numbers}"
    return [(headers, value) for _, _, headers, value in found]


async def lines_of(engine: AsyncEngine) -> Counter[tuple[str, str, int]]:
    """How often the view counted each fact, by its lines: each fact here has one."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT source, key, sequence FROM care_view_v1.entry"))
        return Counter((row.source, row.key, row.sequence) for row in rows)


async def documents_of(engine: AsyncEngine) -> dict[str, object]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT key, document FROM care_view_v1.document"))
        return {row.key: json.loads(bytes(row.document)) for row in rows}
