"""From the reply to a command until the care view shows it, asked over HTTP as a clinician's client would."""

import asyncio
import time
from collections.abc import Mapping
from statistics import quantiles
from uuid import NAMESPACE_URL, uuid4, uuid5

import httpx2

from tests.support.houses import Houses, Staff, in_care, order_of
from tests.support.servers import Servers, drop, new_prefix

NAME = "live"
MEDIAN, SLOW = "reply → visible, p50 at 50 commands/s", "reply → visible, p99 at 50 commands/s"
BARS: Mapping[str, tuple[str, float]] = {MEDIAN: ("<=", 30.0), SLOW: ("<=", 150.0)}
PER_S, PATIENTS = 50, 50
DOSES = ("75", "100", "125", "150")


async def measure(servers: Servers, quick: bool) -> list[tuple[str, float, str]]:
    """Open-loop load: a command every 20 ms, whatever the answers take; its view is asked for right after its reply."""
    prefix = new_prefix()
    houses = Houses(servers, prefix)
    try:
        for house in ("patients", "prescribing", "care_view"):
            await asyncio.to_thread(houses.start, house)
        async with httpx2.AsyncClient(timeout=30.0, limits=httpx2.Limits(max_connections=200)) as http:
            visible_ms, answered_ms = await looked(houses, Staff(http, servers), seconds=4 if quick else 20)
    finally:
        await asyncio.to_thread(houses.stop)
        if servers.shared:
            await drop(servers, prefix)
    cuts = quantiles(visible_ms, n=100)
    return [
        ("commands", len(visible_ms), ""),
        ("command → reply, p50", quantiles(answered_ms, n=100)[49], "ms"),
        (MEDIAN, cuts[49], "ms"),
        (SLOW, cuts[98], "ms"),
    ]


async def looked(houses: Houses, staff: Staff, seconds: int) -> tuple[list[float], list[float]]:
    """Milliseconds from reply to view, and from command to reply, of every command."""
    patients = [uuid5(NAMESPACE_URL, f"{houses.prefix}{n}") for n in range(PATIENTS)]
    for number, patient in enumerate(patients):
        await in_care(houses, staff, patient, number, prescriber="dr-bench", at="prescribing")
    headers = await staff.headers("dr-bench", "prescriber", "north")
    visible_ms: list[float] = []
    answered_ms: list[float] = []

    async def one(number: int) -> None:
        patient = patients[number % PATIENTS]
        dose = {"amount": DOSES[number // PATIENTS % len(DOSES)], "unit": "mg"}
        body = {"dose": dose, "schedule": {"times": 1}, "reason": "titration"}
        path = f"/patients/{patient}/orders/{order_of(patient)}/adjustments"
        asked_at = time.perf_counter()
        answer = await staff.http.post(
            houses.address("prescribing") + path, json=body, headers={**headers, "Idempotency-Key": str(uuid4())}
        )
        replied_at = time.perf_counter()
        token = answer.raise_for_status().json()["position"]
        view = await staff.http.get(
            f"{houses.address('care_view')}/patients/{patient}", params={"after": token}, headers=headers
        )
        view.raise_for_status()
        visible_ms.append((time.perf_counter() - replied_at) * 1_000)
        answered_ms.append((replied_at - asked_at) * 1_000)

    async with asyncio.TaskGroup() as group:
        began = time.perf_counter()
        for number in range(PER_S * seconds):
            await asyncio.sleep(max(0.0, began + number / PER_S - time.perf_counter()))
            group.create_task(one(number))
    return visible_ms, answered_ms
