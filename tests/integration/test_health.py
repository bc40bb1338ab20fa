"""What a process tells of itself: that it lives, whether it is ready, what has settled; and when it had better end."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text

from chassis import health
from chassis.database import create_engine, house_url
from tests.support.desk import Desk, patients, serving, settings_of
from tests.support.houses import Staff, enrolment
from tests.support.servers import Servers

ROOT = Path(__file__).parents[2]
OPERATOR, CLERK = ("op-health", "operator"), ("c-health", "clerk")
SECRET = "amaranth"


@pytest.fixture(scope="module")
async def staff(servers: Servers) -> AsyncIterator[Staff]:
    async with httpx2.AsyncClient() as http:
        yield Staff(http, servers)


async def ready(house: httpx2.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await house.get("/ready")
    return answer.status_code, answer.json()


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Asks until the answer is yes. Raises TimeoutError when it never is."""
    async with asyncio.timeout(60):
        while True:
            if await check():
                return
            await asyncio.sleep(0.05)


async def until_ready(house: httpx2.AsyncClient, status: int) -> dict[str, Any]:
    """What the house tells once it answers so."""

    async def answers() -> bool:
        return (await ready(house))[0] == status

    await until(answers)
    return (await ready(house))[1]


async def test_a_process_is_ready_when_its_works_have_claimed_their_partitions(
    servers: Servers, own_prefix: str
) -> None:
    async with serving(Desk().wire(settings_of(servers, own_prefix))) as desk:
        assert (await desk.get("/live")).json() == {"live": True}
        told = await until_ready(desk, 200)
        assert (told["ready"], told["started"], told["database"]) == (True, True, True)
        assert (told["house"], told["roles"]) == ("scheduling", ["api", "relay", "worker"])
        assert told["works"]["access"]["claimed"]
        assert not told["works"]["access"]["stalled"]
        assert told["unverified_rules"] == 3
        assert told["simulated_time"] is None


async def test_without_its_database_it_lives_but_is_not_ready(servers: Servers, own_prefix: str) -> None:
    """It would not be mended by a restart."""
    apart = create_engine(house_url(servers.database_url, "", "postgres"), application="test")
    name = f"{own_prefix}scheduling"
    async with serving(Desk().wire(settings_of(servers, own_prefix, TANDEM_ROLES="api,worker"))) as desk:
        await until_ready(desk, 200)
        try:
            async with apart.execution_options(isolation_level="AUTOCOMMIT").connect() as session:
                await session.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
                cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
                await session.execute(cut, {"name": name})
                told = await until_ready(desk, 503)
                assert (told["ready"], told["database"]) == (False, False)
                assert (await desk.get("/live")).status_code == 200
                await session.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
            await until_ready(desk, 200)
        finally:
            await apart.dispose()


async def test_a_stuck_event_loop_is_not_alive(
    servers: Servers, own_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Desk().wire(settings_of(servers, own_prefix, TANDEM_ROLES="api"))) as desk:
        monkeypatch.setattr(health, "STUCK_AFTER_S", 0.3)
        time.sleep(0.5)  # noqa: ASYNC251 - nothing else may run meanwhile
        answer = await desk.get("/live")
        assert (answer.status_code, answer.json()["reason"]) == (503, "event_loop_stuck")


async def test_prometheus_is_told_what_is_behind_and_what_was_asked(servers: Servers, own_prefix: str) -> None:
    async with serving(Desk().wire(settings_of(servers, own_prefix))) as desk:
        await until_ready(desk, 200)
        await desk.get("/nowhere")
        answer = await desk.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        for line in (
            'projection_lag_events{work="access"} 0.0',
            'outbox_oldest_age_seconds{house="scheduling"} 0.0',
            'http_request_seconds_count{method="any",route="unmatched",status="404"}',
            'problems_total{reason="no_such_address"}',
        ):
            assert line in answer.text


async def test_a_house_tells_an_operator_what_has_not_settled(servers: Servers, staff: Staff, own_prefix: str) -> None:
    waiting = [3]

    async def due() -> int:
        return waiting[0]

    async with (
        serving(patients(settings_of(servers, own_prefix))) as beside,
        serving(Desk(due={"deliveries_due": due}).wire(settings_of(servers, own_prefix))) as desk,
    ):
        operator = await staff.headers(*OPERATOR)

        async def settled(house: httpx2.AsyncClient, wait_s: float = 0) -> Mapping[str, Any]:
            answer = await house.get("/settled", params={"wait_s": wait_s}, headers=operator)
            found: Mapping[str, Any] = answer.json()
            return found

        nothing = {"lag": 0, "timers_due": 0, "outbox": 0, "next_due_at": None}
        assert await settled(desk) == {**nothing, "deliveries_due": 3}
        waiting[0] = 0
        clerk = await staff.headers(*CLERK, "north", key="k")
        await beside.post("/patients", json=enrolment(uuid4(), 1), headers=clerk)

        at_rest = {**nothing, "deliveries_due": 0}
        assert await settled(beside, wait_s=10) == at_rest  # Published,
        assert await settled(desk, wait_s=10) == at_rest  # and read.
        assert (await desk.get("/settled", headers=await staff.headers(*CLERK, "north"))).status_code == 403


async def test_simulated_time_is_moved_forward_only_and_only_where_it_was_chosen(
    servers: Servers, staff: Staff, own_prefix: str
) -> None:
    operator = await staff.headers(*OPERATOR)
    settings = settings_of(servers, own_prefix, TANDEM_SIMULATED_TIME=1, TANDEM_ROLES="api")
    async with serving(Desk().wire(settings)) as desk:

        async def move(to: str, **headers: str) -> httpx2.Response:
            return await desk.put("/clock", json={"now": to}, headers={**operator, **headers})

        assert (await move("2036-01-02T03:04:05Z")).json() == {"now": "2036-01-02T03:04:05+00:00"}
        assert (await until_ready(desk, 200))["simulated_time"] == "2036-01-02T03:04:05+00:00"
        back = await move("2035-01-01T00:00:00Z")
        assert (back.status_code, back.json()["reason"]) == (409, "clock_not_moved")
        for wrong in ("2036-01-03T00:00:00", "soon"):
            assert (await move(wrong)).status_code == 422
        clerk = await staff.headers(*CLERK, "north")
        assert (await move("2037-01-01T00:00:00Z", **clerk)).status_code == 403
        assert (await until_ready(desk, 200))["simulated_time"] == "2036-01-02T03:04:05+00:00"
    async with serving(Desk().wire(settings_of(servers, f"{own_prefix}r_", TANDEM_ROLES="api"))) as desk:
        answer = await desk.put("/clock", json={"now": "2036-01-02T03:04:05Z"}, headers=operator)
        assert (answer.status_code, answer.json()["reason"]) == (409, "clock_not_moved")


HOUSE = f"""
import asyncio
from chassis.http import Problem
from chassis.service import House, serve
from chassis.settings import Settings

async def dies():
    await asyncio.sleep(0.2)
    raise ValueError("{SECRET}")

async def returns():
    await asyncio.sleep(0.2)

async def unheard():
    async def fails():
        raise ValueError("{SECRET}")
    asyncio.create_task(fails())
    await asyncio.Event().wait()

def create_app():
    house = House("scheduling", Settings())
    return serve(house, house.access(), routes=[], loops={{"part": LOOP}})
"""


async def run(
    servers: Servers, tmp_path: Path, prefix: str, loop: str, **environment: str
) -> tuple[asyncio.subprocess.Process, Path]:
    """A process of its own that serves a house with one loop; and where it logs."""
    (tmp_path / "one_house.py").write_text(HOUSE.replace("LOOP", loop))
    log = tmp_path / "log"
    told = {**os.environ, **servers.environment, "TANDEM_PREFIX": prefix, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    arguments = ["-m", "uvicorn", "one_house:create_app", "--factory", "--port", "0"]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=ROOT, env={**told, **environment}, stdout=out, stderr=out
        )
    return process, log


@pytest.mark.parametrize(("loop", "event"), [("dies", "part_died"), ("returns", "part_ended")])
async def test_a_part_that_ends_ends_the_process(
    servers: Servers, tmp_path: Path, own_prefix: str, loop: str, event: str
) -> None:
    process, log = await run(servers, tmp_path, own_prefix, loop)
    assert await asyncio.wait_for(process.wait(), 60) == 70
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines][-2:] == [event, "process_stopped"]
    assert SECRET not in log.read_text()


async def test_a_start_that_cannot_succeed_ends_the_process_and_quotes_nothing(
    servers: Servers, tmp_path: Path, own_prefix: str
) -> None:
    wrong = f"postgresql://nobody:{SECRET}@{servers.database_url.rpartition('@')[2]}"
    process, log = await run(servers, tmp_path, own_prefix, "dies", DATABASE_URL=wrong)
    assert await asyncio.wait_for(process.wait(), 60) == 70
    assert SECRET not in log.read_text()
    assert "start_failed" in log.read_text()


async def test_told_to_stop_it_stops_in_time_and_failures_that_nobody_awaited_are_logged_without_their_text(
    servers: Servers, tmp_path: Path, own_prefix: str
) -> None:
    process, log = await run(servers, tmp_path, own_prefix, "unheard")

    async def logged() -> bool:
        return all(event in log.read_text() for event in ("exception_unheard", "partitions_claimed"))

    await until(logged)
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 25) in (0, -signal.SIGTERM)
    assert SECRET not in log.read_text()
    assert '"event": "house_stopped"' in log.read_text()
    assert "stop_incomplete" not in log.read_text()
