"""Senders are killed and stopped at random while messages are due: none arrives twice, none without consent.

The mailbox of the embedded stack keeps every message before it says so; what it holds is compared with the facts and
with the list of what was to leave. Mail cannot be looked up, so a message that a dying sender had in its hands is left
to a person: it may have arrived, and is not sent again.
"""

import asyncio
import itertools
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.servers import Servers
from tests.support.ward import CLERK, ON_THE_TEAM, Ward, come_true, ward

SEED = 20_261_123
NOON = datetime(2026, 3, 10, 16, 0, tzinfo=UTC)  # In New York: nobody is disturbed.
BOOKED_AT = NOON - timedelta(days=3)
SENDERS = ("notifications", "notifications-b")
IN_HAND = 4  # Messages that one sender has in its hands at a time, at most.
STOPPED_S = 17.0  # Longer than a claim is held.
AT_A_TIME = 8
AT_REST = """
    SELECT count(*) = 0 FROM delivery
    WHERE state IN ('pending', 'claimed') OR (state = 'attempting' AND claimed_at > now() - interval '5 seconds')"""
ENDED = "SELECT count(*) FROM delivery WHERE state NOT IN ('pending', 'claimed')"


@pytest.fixture
async def clinic(servers: Servers, own_prefix: str) -> AsyncIterator[Ward]:
    async with ward(servers, own_prefix, ("patients", "scheduling", "notifications"), simulated=True) as found:
        found.houses.start("notifications-b", roles="worker", slot="1")
        await found.move(BOOKED_AT)
        yield found


@pytest.mark.timeout(240)
async def test_each_message_arrives_at_most_once_however_often_senders_die(clinic: Ward) -> None:
    await senders_die(clinic, patients=30, visits=4, kills=6, stopping=True)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_each_message_arrives_at_most_once_however_often_senders_die_in_full(clinic: Ward) -> None:
    await senders_die(clinic, patients=250, visits=40, kills=100, stopping=True)


async def senders_die(clinic: Ward, *, patients: int, visits: int, kills: int, stopping: bool) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    agreeing, refusing = patients - patients // 5, patients // 5
    willing = await gathered(visited(clinic, visits) for _ in range(agreeing))
    unwilling = await gathered(visited(clinic, visits) for _ in range(refusing))
    for patient, _ in unwilling:
        path = f"/patients/{patient}/consents/{patient}/withdrawal"
        await clinic.done("patients", path, {"how": "online"}, CLERK)
    database = await clinic.database("notifications")
    queued = patients * visits

    async def all_queued() -> bool:
        return bool(await database.fetchval("SELECT count(*) = $1 FROM delivery", queued))

    await come_true(all_queued)
    await clinic.move(NOON)

    stopped = asyncio.create_task(stop_one(clinic, dice)) if stopping else None
    for nth in range(kills):
        enough = (nth + 1) * queued // (kills + 2)
        await come_true(lambda enough=enough: reached(database, enough))
        await asyncio.sleep(dice.uniform(0, 0.02))
        victim = SENDERS[0] if stopped and not stopped.done() else dice.choice(SENDERS)
        clinic.houses.kill(victim)
        clinic.houses.until_ready(victim)
    if stopped:
        await stopped
    await come_true(lambda: at_rest(database), within_s=120)

    sent, undecided = await by_state(database, "sent"), await by_state(database, "attempting")
    undecided |= await by_state(database, "unknown")
    suppressed = await by_state(database, "suppressed")
    arrived = Counter(await message_ids(clinic, [address for _, address in willing]))
    print(f"{queued} due, {kills} kills: {len(sent)} sent, {len(undecided)} undecided, {len(suppressed)} suppressed")
    assert [message for message, times in arrived.items() if times > 1] == []
    assert sent <= set(arrived)
    assert set(arrived) <= sent | undecided
    assert len(undecided) <= IN_HAND * (kills + 1)
    assert len(sent) >= agreeing * visits - IN_HAND * (kills + 1)
    assert len(suppressed) + len(undecided & await of(database, unwilling)) == refusing * visits
    assert await message_ids(clinic, [address for _, address in unwilling]) == []
    assert await facts_of(clinic, database, "notifications.message-sent.v1") == Counter(sent)

    await nobody_decides_but_a_person(clinic, database, undecided)
    await replay(database)
    assert Counter(await message_ids(clinic, [address for _, address in willing])) == arrived


async def visited(clinic: Ward, visits: int) -> tuple[UUID, str]:
    """A patient who agreed to be written to, with visits on the day after tomorrow's morning."""
    patient = await clinic.enrol()
    address = f"ana.{patient.hex}@mail.example"
    point = {"contact_point_id": str(uuid4()), "channel": "email", "address": address, "preferred": True}
    await clinic.done("patients", f"/patients/{patient}/contact-points", point, CLERK)
    consent = {
        "consent_id": str(patient),
        "scope": "email",
        "address": address,
        "purposes": ["appointment_reminder"],
        "wording_version": "1",
        "how": "in_person",
    }
    await clinic.done("patients", f"/patients/{patient}/consents", consent, CLERK)
    for nth in range(visits):
        start = NOON + timedelta(hours=23) - timedelta(minutes=5 * nth)
        visit = {
            "kind": "other",
            "clinician": {"person": str(uuid4()), "role": "prescriber"},
            "time_zone": "America/New_York",
            "starts_at": start.isoformat(),
            "minutes": 5,
        }
        path = f"/patients/{patient}/appointments"
        await clinic.done("scheduling", path, visit, CLERK, params={"after": ON_THE_TEAM})
    return patient, address


async def stop_one(clinic: Ward, dice: random.Random) -> None:
    """The second sender stands still with messages in its hands, and goes on when others have taken them over."""
    await asyncio.sleep(dice.uniform(0.05, 0.2))
    clinic.houses.kill(SENDERS[1], signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    clinic.houses.kill(SENDERS[1], signal.SIGCONT)


async def reached(database: Any, enough: int) -> bool:
    return bool(await database.fetchval(ENDED) >= enough)


async def at_rest(database: Any) -> bool:
    """Nothing waits any more; what is being attempted has been for so long that its sender must have died."""
    return bool(await database.fetchval(AT_REST))


async def by_state(database: Any, state: str) -> set[str]:
    return {str(row[0]) for row in await database.fetch("SELECT id FROM delivery WHERE state = $1", state)}


async def of(database: Any, patients: list[tuple[UUID, str]]) -> set[str]:
    keys = [str(patient) for patient, _ in patients]
    return {str(row[0]) for row in await database.fetch("SELECT id FROM delivery WHERE key = ANY($1)", keys)}


async def message_ids(clinic: Ward, addresses: list[str]) -> list[str]:
    """The ids of all that arrived there, as often as it arrived."""
    answer = await clinic.staff.http.get(f"{clinic.servers.mailbox_url}/messages")
    wanted = set(addresses)
    return [one["message_id"].strip("<").partition("@")[0] for one in answer.json() if wanted & set(one["to"])]


async def facts_of(clinic: Ward, database: Any, type_: str) -> Counter[str]:
    found = await database.fetch("SELECT headers ->> 'ce_subject' FROM event WHERE headers ->> 'ce_type' = $1", type_)
    return Counter(str(row[0]).removeprefix("message/") for row in found)


async def nobody_decides_but_a_person(clinic: Ward, database: Any, undecided: set[str]) -> None:
    """What a dead sender had in its hands becomes unknown, with a fact, once its time is up, and stays so."""
    await database.execute("UPDATE delivery SET claimed_at = claimed_at - interval '1 hour' WHERE state = 'attempting'")

    async def all_unknown() -> bool:
        return await by_state(database, "unknown") == undecided

    await come_true(all_unknown)
    assert await facts_of(clinic, database, "notifications.message-failed.v1") == Counter(undecided)


async def replay(database: Any) -> None:
    """The reaction reads its topic again from the beginning."""
    done = "SELECT sum(next_offset) FROM checkpoint WHERE work = 'messages'"
    before = await database.fetchval(done)
    facts = await database.fetchval("SELECT count(*) FROM event")
    async with database.transaction():
        await database.execute("UPDATE checkpoint SET next_offset = 0 WHERE work = 'messages'")
        await database.execute("DELETE FROM seen WHERE work = 'messages'")

    async def read_again() -> bool:
        return bool(await database.fetchval(done) >= before)

    await come_true(read_again, within_s=60)
    assert await at_rest(database)
    assert await database.fetchval("SELECT count(*) FROM event") == facts


async def gathered(tasks: Any) -> list[Any]:
    """The results of many, a few at a time."""
    found: list[Any] = []
    for batch in iter(lambda: list(itertools.islice(tasks, AT_A_TIME)), []):
        found += await asyncio.gather(*batch)
    return found
