"""The archive on a real Kafka and PostgreSQL: it keeps every fact as it was, and verification names one that is not.

What is tampered with is the data on disk, by SQL as superuser with the triggers off, and put back after each test.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import create_engine, ensure_database, house_url
from chassis.migrations import migrate
from contracts.event import chained
from contracts.topics import HOUSES
from services.audit.api.verification import Finding, Report, verify
from tests.support.history import Record, history
from tests.support.history.chaining import next_of
from tests.support.history.loading import into_kafka, into_tables
from tests.support.history.telling import Told
from tests.support.houses import Houses, Staff
from tests.support.servers import Servers

AUDITOR, PRESCRIBER = ("a-archive", "auditor"), ("p-archive", "prescriber")
WITHIN_S = 60.0
SOURCE, HOUSE = "/scheduling", "scheduling"
UNTIL_LAST = 3  # How many facts stand behind the one that is tampered with.

HISTORY = list(history(41, count=6, weeks=10))


def chain_of(source: str) -> list[Record]:
    """The longest chain of a source."""
    chains: dict[str, list[Record]] = {}
    for record in HISTORY:
        if record.event.source == source:
            chains.setdefault(record.event.key, []).append(record)
    return max(chains.values(), key=len)


CHAIN = chain_of(SOURCE)
VICTIM, NEXT, LAST = CHAIN[-1 - UNTIL_LAST], CHAIN[-UNTIL_LAST], CHAIN[-1]
KEY = VICTIM.event.key


@dataclass
class Archived:
    """An audit house that has archived a history, and the databases of the houses that told it."""

    servers: Servers
    prefix: str
    address: str
    engines: Mapping[str, AsyncEngine]
    staff: Staff

    @property
    def archive(self) -> AsyncEngine:
        return self.engines["audit"]

    async def verified(self, *, kafka: bool = True) -> Report:
        told: list[str] = []
        bootstrap = self.servers.kafka if kafka else None
        report = await verify(self.archive, self.engines, bootstrap, told.append, prefix=self.prefix)
        assert told, "a long walk tells how far it is"
        return report

    async def the_finding(self, **asked: bool) -> Finding:
        """The one finding; a second would blame a fact that nobody touched."""
        report = await self.verified(**asked)
        assert not report.whole
        assert len(report.findings) == 1, report.findings
        assert str(report.findings[0]) in report.summary
        return report.findings[0]

    async def get(self, path: str, who: tuple[str, str] = AUDITOR, **params: Any) -> httpx2.Response:
        headers = await self.staff.headers(*who, "north")
        return await self.staff.http.get(self.address + path, params=params, headers=headers)


@pytest.fixture(scope="module")
async def archived(servers: Servers, prefix: str) -> AsyncIterator[Archived]:
    houses = Houses(servers, f"{prefix}ar_")
    async with AsyncExitStack() as ending:
        ending.callback(houses.stop)
        address = houses.start("audit")
        engines = {}
        for house in HOUSES:
            url = house_url(servers.database_url, houses.prefix, house)
            await ensure_database(url)
            engines[house] = create_engine(url, application="test", pool_size=2)
            ending.push_async_callback(engines[house].dispose)
            if house != "audit":
                await migrate(engines[house], house, None, simulated=False)
        await into_tables(engines, HISTORY)
        await into_kafka(servers.kafka, houses.prefix, HISTORY)
        http = await ending.enter_async_context(httpx2.AsyncClient(timeout=WITHIN_S))
        found = Archived(servers, houses.prefix, address, engines, Staff(http, servers))
        await until_archived(found, len(HISTORY))
        yield found


async def until_archived(archived: Archived, count: int) -> None:
    until = time.monotonic() + WITHIN_S
    while await value(archived.archive, "SELECT count(*) FROM archive") < count:
        assert time.monotonic() < until, "the archive did not fill"
        await asyncio.sleep(0.1)


async def value(engine: AsyncEngine, statement: str, **values: Any) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(text(statement), values)


async def run(engine: AsyncEngine, statement: str, **values: Any) -> None:
    """As superuser, with every trigger off. Exactly what stands there must be hit."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        done = await connection.execute(text(statement), values)
        assert done.rowcount > 0, "nothing was tampered with"


@asynccontextmanager
async def tampered(engine: AsyncEngine, table: str, statement: str, **values: Any) -> AsyncIterator[None]:
    """One change on disk; when the test is over the chain stands as it did before."""
    columns = "source, key, sequence, hash, headers, value, patients, archived_at" if table == "archive" else "*"
    into = f"archive ({columns})" if table == "archive" else table
    chain = "source = '/scheduling' AND key = :key" if table == "archive" else "stream = :key"
    key = {"key": values["key"]}
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE as_it_was AS SELECT * FROM " + table + " WHERE " + chain), key)
    try:
        await run(engine, statement, **values)
        yield
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            await connection.execute(text(f"DELETE FROM {table} WHERE {chain}"), key)
            await connection.execute(text(f"INSERT INTO {into} SELECT {columns} FROM as_it_was"))
            await connection.execute(text("DROP TABLE as_it_was"))


def at(record: Record) -> dict[str, Any]:
    return {"key": record.event.key, "sequence": record.event.sequence}


def named(finding: Finding) -> tuple[str, str, str, int, str, str | None]:
    return finding.store, finding.source, finding.key, finding.sequence, finding.what, finding.event_id


def the(record: Record, store: str, what: str) -> tuple[str, str, str, int, str, str | None]:
    return store, record.event.source, record.event.key, record.event.sequence, what, str(record.event.id)


HERE = "source = '/scheduling' AND key = :key AND sequence = :sequence"
THERE = "stream = :key AND sequence = :sequence"
ONE_BYTE = "set_byte(value, length(value) - 1, get_byte(value, length(value) - 1) # 1)"


async def test_what_nobody_touched_verifies(archived: Archived) -> None:
    report = await archived.verified()
    assert report.findings == []
    assert report.whole
    assert report.summary.startswith("Whole: ")
    assert report.facts["archive"] == await value(archived.archive, "SELECT count(*) FROM archive")
    assert report.facts[HOUSE] == sum(record.event.source == SOURCE for record in HISTORY)


async def test_the_archive_holds_the_exact_bytes_of_every_fact(archived: Archived) -> None:
    statement = "SELECT headers, value FROM archive WHERE source = :source AND key = :key AND sequence = :sequence"
    async with archived.archive.connect() as connection:
        for record in HISTORY:
            asked = {"source": record.event.source, **at(record)}
            headers, bytes_kept = (await connection.execute(text(statement), asked)).one()
            assert (headers, bytes(bytes_kept)) == (record.headers, record.value)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE archive SET headers = '{}'", "DELETE FROM archive", "TRUNCATE archive"],
    ids=["update", "delete", "truncate"],
)
async def test_the_archive_is_append_only(archived: Archived, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with archived.archive.begin() as connection:
            await connection.execute(text(statement))


async def test_the_databases_own_hash_agrees_with_the_contracts(archived: Archived) -> None:
    first, second = CHAIN[0], CHAIN[1]
    statement = "SELECT fact_hash(:before, headers, value) FROM archive WHERE " + HERE
    found = await value(archived.archive, statement, before=first.event.hash, **at(second))
    assert bytes(found) == second.event.hash == chained(first.event.hash, second.headers, second.value)


async def test_one_byte_in_the_archive_is_named(archived: Archived) -> None:
    async with tampered(
        archived.archive, "archive", f"UPDATE archive SET value = {ONE_BYTE} WHERE {HERE}", **at(VICTIM)
    ):
        assert named(await archived.the_finding()) == the(VICTIM, "archive", "changed")


async def test_an_attribute_in_the_archive_is_named(archived: Archived) -> None:
    change = 'UPDATE archive SET headers = headers || \'{"ce_actor": "somebody else"}\' WHERE ' + HERE
    async with tampered(archived.archive, "archive", change, **at(VICTIM)):
        assert named(await archived.the_finding()) == the(VICTIM, "archive", "changed")


async def test_one_row_of_a_houses_table_is_named(archived: Archived) -> None:
    engine = archived.engines[HOUSE]
    async with tampered(engine, "event", f"UPDATE event SET value = {ONE_BYTE} WHERE {THERE}", **at(VICTIM)):
        assert named(await archived.the_finding()) == the(VICTIM, HOUSE, "changed")


async def test_a_row_that_was_given_another_id_is_named(archived: Archived) -> None:
    engine, other = archived.engines[HOUSE], uuid5(VICTIM.event.id, "another")
    async with tampered(engine, "event", f"UPDATE event SET id = :other WHERE {THERE}", other=other, **at(VICTIM)):
        assert named(await archived.the_finding()) == the(VICTIM, HOUSE, "changed")


@pytest.mark.parametrize("store", ["archive", HOUSE])
async def test_two_rows_whose_order_was_swapped_are_named(archived: Archived, store: str) -> None:
    where = "source = '/scheduling' AND key = :key" if store == "archive" else "stream = :key"
    table, engine = ("archive", archived.archive) if store == "archive" else ("event", archived.engines[HOUSE])
    far = 1_000_000_000  # Out of the way of the primary key, which is checked row by row.
    both = f"{where} AND sequence BETWEEN :sequence AND CAST(:sequence AS bigint) + 1"
    change = f"UPDATE {table} SET sequence = sequence + {far} WHERE {both}"
    swapped = f"2 * CAST(:sequence AS bigint) + 1 + {far} - sequence"
    back = f"UPDATE {table} SET sequence = {swapped} WHERE {where} AND sequence > {far}"
    async with tampered(engine, table, change, **at(VICTIM)):
        await run(engine, back, **at(VICTIM))
        finding = await archived.the_finding()
        assert named(finding) == the(VICTIM, store, "reordered")
        assert f"number {NEXT.event.sequence}" in finding.sentence


@pytest.mark.parametrize("store", ["archive", HOUSE])
async def test_a_row_that_was_deleted_is_named(archived: Archived, store: str) -> None:
    table, where = ("archive", HERE) if store == "archive" else ("event", THERE)
    engine = archived.archive if store == "archive" else archived.engines[HOUSE]
    async with tampered(engine, table, f"DELETE FROM {table} WHERE {where}", **at(VICTIM)):
        assert named(await archived.the_finding()) == the(VICTIM, store, "removed")


@pytest.mark.parametrize("kafka", [True, False], ids=["with Kafka", "without Kafka"])
@pytest.mark.parametrize("store", ["archive", HOUSE])
@pytest.mark.parametrize("first", [VICTIM, LAST, CHAIN[0]], ids=["some", "the last", "all"])
async def test_a_tail_that_was_cut_off_is_named(archived: Archived, store: str, first: Record, kafka: bool) -> None:
    table, where = ("archive", HERE) if store == "archive" else ("event", THERE)
    engine = archived.archive if store == "archive" else archived.engines[HOUSE]
    change = f"DELETE FROM {table} WHERE {where.replace('sequence =', 'sequence >=')}"
    async with tampered(engine, table, change, **at(first)):
        assert named(await archived.the_finding(kafka=kafka)) == the(first, store, "removed")


@pytest.mark.parametrize("record", [VICTIM, LAST], ids=["within the chain", "at its end"])
@pytest.mark.parametrize("store", ["archive", HOUSE])
async def test_a_fact_that_was_replaced_with_a_hash_that_fits_is_named(
    archived: Archived, store: str, record: Record
) -> None:
    table, where = ("archive", HERE) if store == "archive" else ("event", THERE)
    engine = archived.archive if store == "archive" else archived.engines[HOUSE]
    forged = forgery(record, CHAIN[record.event.sequence - 2].event.hash)
    change = f"UPDATE {table} SET value = :value, hash = :hash, headers = CAST(:headers AS jsonb) WHERE {where}"
    async with tampered(engine, table, change, **at(record), **forged):
        assert named(await archived.the_finding()) == the(record, store, "changed")


def forgery(record: Record, before: bytes) -> dict[str, Any]:
    """Another body under the same attributes, with the hash that it must have."""
    value = record.value.replace(b"{", b'{"forged":true,', 1)
    found = chained(before, record.headers, value)
    return {"value": value, "hash": found, "headers": json.dumps({**record.headers, "ce_hash": found.hex()})}


async def test_a_whole_chain_written_anew_is_named_where_it_departs(archived: Archived) -> None:
    engine = archived.engines[HOUSE]
    before, rest = CHAIN[VICTIM.event.sequence - 2].event.hash, CHAIN[VICTIM.event.sequence - 1 :]
    change = "UPDATE event SET value = :value, hash = :hash, headers = CAST(:headers AS jsonb) WHERE " + THERE
    async with AsyncExitStack() as undone:
        for nth, record in enumerate(rest):
            forged = forgery(record, before)
            before = forged["hash"]
            if nth == 0:
                await undone.enter_async_context(tampered(engine, "event", change, **at(record), **forged))
            else:
                await run(engine, change, **at(record), **forged)
        assert named(await archived.the_finding()) == the(VICTIM, HOUSE, "changed")


def one_more(key: str = KEY) -> Record:
    """A fact that would be next in the chain, hash and all."""
    event = LAST.event
    told = Told(
        source=event.source,
        key=key,
        fact=event.fact,
        id=uuid5(event.id, "one more"),
        occurred_at=event.recorded_at + timedelta(minutes=1),
        recorded_at=event.recorded_at + timedelta(minutes=1),
        actor=event.actor,
        role=event.actor_role,
        correlation_id=event.correlation_id,
        causation_id=None,
    )
    return next_of(told, event.sequence + 1, event.hash)


@asynccontextmanager
async def written(archived: Archived, record: Record) -> AsyncIterator[None]:
    """A fact that a table holds, and nobody has published."""
    engine = archived.engines[HOUSE]
    await into_tables({HOUSE: engine}, [record])
    try:
        yield
    finally:
        await run(engine, f"DELETE FROM event WHERE {THERE}", **at(record))


async def test_a_fact_that_no_command_brought_is_named(archived: Archived) -> None:
    extra = one_more()
    async with written(archived, extra):
        assert named(await archived.the_finding()) == the(extra, HOUSE, "inserted")
        assert named(await archived.the_finding(kafka=False)) == the(extra, HOUSE, "inserted")


async def test_a_fact_that_waits_for_the_relay_is_no_fault(archived: Archived) -> None:
    extra, engine = one_more(), archived.engines[HOUSE]
    queue = "INSERT INTO outbox (stream, sequence, topic) VALUES (:key, :sequence, 'scheduling.events')"
    async with written(archived, extra):
        await run(engine, queue, **at(extra))
        report = await archived.verified()
        await run(engine, f"DELETE FROM outbox WHERE {THERE}", **at(extra))
    assert report.whole
    assert report.not_yet_archived == 1
    assert "1 are not yet archived" in report.summary


INSERT = """
    INSERT INTO archive (source, key, sequence, hash, headers, value)
    SELECT source, key, CAST(:sequence AS bigint), :hash, CAST(:headers AS jsonb), :value
    FROM archive WHERE source = '/scheduling' AND key = :key LIMIT 1"""


async def test_a_fact_put_into_the_archive_beside_the_genuine_one_is_named(archived: Archived) -> None:
    forged = forgery(VICTIM, CHAIN[VICTIM.event.sequence - 2].event.hash)
    async with tampered(archived.archive, "archive", INSERT, **at(VICTIM), **forged):
        assert named(await archived.the_finding()) == the(VICTIM, "archive", "inserted")


async def test_a_fact_put_behind_the_archives_last_is_named(archived: Archived) -> None:
    extra = one_more()
    row = {"hash": extra.event.hash, "headers": json.dumps(dict(extra.headers)), "value": extra.value}
    async with tampered(archived.archive, "archive", INSERT, **at(extra), **row):
        finding = await archived.the_finding()
        assert (finding.store, finding.sequence, finding.what) == ("archive", extra.event.sequence, "inserted")


async def test_of_several_faults_the_first_of_each_chain_in_each_store_is_named(archived: Archived) -> None:
    other = next(record for record in HISTORY if record.event.source == "/therapy" and record.event.sequence == 3)
    flip = f"UPDATE event SET value = {ONE_BYTE} WHERE {THERE}"
    async with (
        tampered(archived.engines[HOUSE], "event", flip, **at(VICTIM)),
        tampered(archived.engines["therapy"], "event", flip, **at(other)),
    ):
        await run(archived.engines[HOUSE], flip, **at(LAST))
        report = await archived.verified()
    assert [named(one) for one in report.findings] == [the(VICTIM, HOUSE, "changed"), the(other, "therapy", "changed")]
    assert report.first == report.findings[0]


async def test_facts_are_found_by_patient_actor_type_and_time_and_paged_without_loss(archived: Archived) -> None:
    patient = KEY
    mine = {
        str(record.event.id)
        for record in HISTORY
        if record.event.key == patient or UUID(patient) in getattr(record.event.fact, "patients", ())
    }
    found: list[str] = []
    before: dict[str, Any] = {}
    while True:
        answer = await archived.get("/facts", patient=patient, limit=17, **before)
        assert answer.status_code == httpx2.codes.OK, answer.text
        page = answer.json()
        found += [fact["id"] for fact in page["facts"]]
        if not page["next"]:
            break
        before = {"before": page["next"]}
    assert len(found) == len(set(found))
    assert mine <= set(found)
    assert all(one in mine or one not in {str(record.event.id) for record in HISTORY} for one in found)
    kind = VICTIM.event.fact.TYPE
    asked: dict[str, Any] = {
        "type": kind,
        "actor": VICTIM.event.actor,
        "since": VICTIM.event.recorded_at.isoformat(),
        "limit": 1000,
    }
    later = (await archived.get("/facts", **asked)).json()["facts"]
    expected = {
        str(record.event.id)
        for record in HISTORY
        if (record.event.fact.TYPE, record.event.actor) == (kind, VICTIM.event.actor)
        and record.event.recorded_at >= VICTIM.event.recorded_at
    }
    assert {fact["id"] for fact in later} == expected
    assert [fact["recorded_at"] for fact in later] == sorted((fact["recorded_at"] for fact in later), reverse=True)


async def test_who_searches_the_archive_is_archived_with_whom_they_were_shown(archived: Archived) -> None:
    held = "SELECT count(*) FROM archive WHERE source = '/audit/access' AND patients @> ARRAY[:patient]"
    earlier = await value(archived.archive, held, patient=KEY)
    answer = await archived.get("/facts", patient=KEY, limit=5)
    assert answer.status_code == httpx2.codes.OK
    until = time.monotonic() + WITHIN_S
    while await value(archived.archive, held, patient=KEY) == earlier:
        assert time.monotonic() < until, "the search was not archived"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("path", ["/facts", "/verifications"])
async def test_only_those_who_oversee_may_ask(archived: Archived, path: str) -> None:
    headers = await archived.staff.headers(*PRESCRIBER, "north")
    method = "GET" if path == "/facts" else "POST"
    answer = await archived.staff.http.request(method, archived.address + path, headers=headers)
    assert answer.status_code == httpx2.codes.FORBIDDEN
    assert answer.json()["reason"] == "role_not_permitted"


async def test_a_cursor_that_is_none_is_refused(archived: Archived) -> None:
    answer = await archived.get("/facts", before="bm90IGEgY3Vyc29y")
    assert (answer.status_code, answer.json()["reason"]) == (422, "unknown_cursor")


@pytest.mark.parametrize("asked", [{"actor": "a\0b"}, {"type": "\0"}, {"limit": 0}, {"since": "yesterday"}])
async def test_a_search_that_makes_no_sense_is_refused(archived: Archived, asked: dict[str, Any]) -> None:
    answer = await archived.get("/facts", **asked)
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_request")


async def test_a_verification_over_http_walks_the_archive(archived: Archived) -> None:
    headers = await archived.staff.headers(*AUDITOR, "north")
    flip = f"UPDATE archive SET value = {ONE_BYTE} WHERE {HERE}"
    whole = await archived.staff.http.post(f"{archived.address}/verifications", headers=headers)
    assert whole.json()["whole"], whole.text
    async with tampered(archived.archive, "archive", flip, **at(VICTIM)):
        broken = (await archived.staff.http.post(f"{archived.address}/verifications", headers=headers)).json()
    assert not broken["whole"]
    assert broken["first"]["event_id"] == str(VICTIM.event.id)


async def test_a_fact_whose_hash_continues_nothing_is_kept_and_alarmed(archived: Archived) -> None:
    """The last test: what Kafka has brought cannot be taken back, so its whole chain is a stranger's."""
    first = one_more(str(uuid5(UUID(KEY), "a stranger")))
    headers = {**first.headers, "ce_sequence": f"{1:012d}"}  # The hash is now another fact's.
    forged = replace(first, headers=headers, event=replace(first.event, sequence=1))
    await into_kafka(archived.servers.kafka, archived.prefix, [forged])
    held = "SELECT count(*) FROM broken_link WHERE key = :key"
    until = time.monotonic() + WITHIN_S
    while await value(archived.archive, held, key=forged.event.key) == 0:
        assert time.monotonic() < until, "nobody noticed"
        await asyncio.sleep(0.1)
    assert await value(archived.archive, "SELECT count(*) FROM archive WHERE key = :key", key=forged.event.key) == 1
    assert await value(archived.archive, "SELECT count(*) FROM broken_link") == 1
    finding = await archived.the_finding()
    assert (finding.store, finding.key, finding.what) == ("archive", forged.event.key, "changed")
    until = time.monotonic() + WITHIN_S
    while "audit_broken_links 1.0" not in (await archived.staff.http.get(f"{archived.address}/metrics")).text:
        assert time.monotonic() < until, "Prometheus is not told"
        await asyncio.sleep(0.2)
