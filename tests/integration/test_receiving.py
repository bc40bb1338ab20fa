"""One batch, one transaction: what is applied, dropped or set aside, and when nothing happens at all."""

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from chassis.checkpoints import ClaimRefused, Fenced, Held
from chassis.database import is_transient
from chassis.parking import TooManyBlocked
from contracts import topics
from contracts.event import NO_HASH
from tests.reference.counted import documents, sections_of
from tests.support.reading import Feed, Published, Reading, facts_of, made, operated, patient, reading
from tests.support.servers import Servers

SOURCES = ("/patients", "/prescribing", "/therapy")
ANA, BO = patient(1), patient(2)


@pytest.fixture(scope="module")
async def shared(servers: Servers, prefix: str) -> AsyncIterator[Reading]:
    async with reading(servers, f"{prefix}receiving_", topics_too=False) as found:
        yield found


@pytest.fixture
async def house(shared: Reading) -> Reading:
    return await shared.emptied()


@pytest.fixture
def feed(house: Reading) -> Feed:
    return Feed(house.counting())


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"work": "counting", **labels}) or 0.0


async def parked(house: Reading) -> list[tuple[str | None, str | None, int | None, str]]:
    """Key, source, sequence and reason of all that waits."""
    rows = await house.rows("SELECT key, source, sequence, reason FROM parked ORDER BY id")
    return [(row.key, row.source, row.sequence, row.reason) for row in rows]


async def counts(house: Reading, *expected: Published) -> None:
    """Exactly these facts were applied, each once, and the documents are what they come to."""
    wanted = facts_of(expected)
    assert await house.counted() == wanted
    found = {key: sections_of(document) for key, document in (await house.documents()).items()}
    assert found == documents(wanted)


async def test_facts_of_several_sources_and_patients_are_applied_in_one_batch(house: Reading, feed: Feed) -> None:
    facts = [house.chains.next(source, key) for _ in range(3) for source in SOURCES for key in (ANA, BO)]
    await feed(*facts)
    await counts(house, *facts)


async def test_a_fact_that_comes_again_is_dropped_and_counted(house: Reading, feed: Feed) -> None:
    facts = [house.chains.next("/patients", ANA) for _ in range(3)]
    await feed(*facts)
    before = metric("duplicate_dropped_total")
    await feed(*facts)
    await counts(house, *facts)
    assert metric("duplicate_dropped_total") == before + 3


async def test_what_follows_a_gap_waits_and_the_patients_other_sources_flow_on(house: Reading, feed: Feed) -> None:
    first, missing, third = (house.chains.next("/patients", ANA) for _ in range(3))
    other = house.chains.next("/therapy", ANA)
    before = metric("sequence_gap_total")
    await feed(first, third, other)
    await counts(house, first, other)
    assert await parked(house) == [(ANA, "/patients", 3, "gap")]
    assert metric("sequence_gap_total") == before + 1
    [row] = await house.rows("SELECT stale_since FROM counting_v1.document WHERE key = :key", key=ANA)
    assert row.stale_since is not None

    await feed(missing)
    await counts(house, first, missing, third, other)
    assert await parked(house) == []
    assert await house.rows("SELECT * FROM blocked") == []
    [row] = await house.rows("SELECT stale_since FROM counting_v1.document WHERE key = :key", key=ANA)
    assert row.stale_since is None


async def test_a_gap_and_its_number_in_one_batch_leave_no_trace(house: Reading, feed: Feed) -> None:
    first, second, third = (house.chains.next("/patients", ANA) for _ in range(3))
    await feed(first, third, second)
    await counts(house, first, second, third)
    assert await parked(house) == []


async def test_a_fork_is_set_aside_with_what_follows_it(house: Reading, feed: Feed) -> None:
    first = house.chains.next("/patients", ANA)
    forked = made("/patients", ANA, 1, NO_HASH, operated("forked"))
    second = house.chains.next("/patients", ANA)
    await feed(first, forked, second)
    await counts(house, first)
    assert await parked(house) == [(ANA, "/patients", 1, "fork"), (ANA, "/patients", 2, "behind")]


async def test_a_fork_of_a_waiting_number_waits_too(house: Reading, feed: Feed) -> None:
    house.chains.next("/patients", ANA)
    second = house.chains.next("/patients", ANA)
    await feed(second)
    await feed(made("/patients", ANA, 2, NO_HASH, operated("forked")), second)
    assert [(row[2], row[3]) for row in await parked(house)] == [(2, "gap"), (2, "behind")]


def undecodable(fact: Published) -> Published:
    return replace(fact, value=b"\xff{")


def of_invalid_field(fact: Published) -> Published:
    return replace(fact, value=b'{"command": "count", "why": 7}')


def of_unknown_version(fact: Published) -> Published:
    return fact.but(ce_type=b"access.operator-acted.v9")


def without_a_type(fact: Published) -> Published:
    return fact.but(ce_type=None)


def without_a_time(fact: Published) -> Published:
    return fact.but(ce_recordedtime=None)


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (undecodable, "undecodable"),
        (of_invalid_field, "undecodable"),
        (of_unknown_version, "unknown_version"),
        (without_a_type, "undecodable"),
        (without_a_time, "undecodable"),
    ],
)
async def test_a_poisoned_fact_blocks_its_source_of_its_patient_alone(
    house: Reading, feed: Feed, poison: type, reason: str
) -> None:
    first = house.chains.next("/patients", ANA)
    poisoned = poison(house.chains.next("/patients", ANA))
    behind = house.chains.next("/patients", ANA)
    others = [house.chains.next("/therapy", ANA), house.chains.next("/patients", BO)]
    await feed(first, poisoned, behind, *others)
    await counts(house, first, *others)
    assert await parked(house) == [(ANA, "/patients", 2, reason), (ANA, "/patients", 3, "behind")]


async def test_a_fold_that_raises_sets_the_fact_aside(house: Reading, feed: Feed) -> None:
    first = house.chains.next("/patients", ANA)
    poisoned = house.chains.next("/patients", ANA, operated("raises"))
    other = house.chains.next("/patients", BO)
    await feed(first, poisoned, other)
    await counts(house, first, other)
    assert await parked(house) == [(ANA, "/patients", 2, "fault")]


@pytest.mark.parametrize(
    "broken",
    [
        lambda fact: fact.but(ce_sequence=None),
        lambda fact: fact.but(ce_sequence=b"one"),
        lambda fact: fact.but(ce_sequence=b"9" * 30),
        lambda fact: fact.but(ce_hash=b"00"),
        lambda fact: fact.but(ce_source=b"/scheduling"),
        lambda fact: fact.but(ce_partitionkey=BO.encode()),
        lambda fact: replace(fact, value=None),
        lambda fact: replace(fact, headers=()),
        lambda fact: replace(fact, headers=(*fact.headers, ("ce_reason", None))),
        lambda fact: replace(fact, headers=(*fact.headers, ("x", b"\xff"))),
        lambda fact: replace(fact, headers=(*fact.headers, ("ce_id", b"again"))),
    ],
)
async def test_a_record_without_a_place_is_kept_and_its_patient_goes_on_with_the_right_one(
    house: Reading, feed: Feed, broken: type
) -> None:
    first = house.chains.next("/patients", ANA)
    right = house.chains.next("/patients", ANA)
    await feed(first, broken(right))
    assert await parked(house) == [(ANA, "/patients", None, "undecodable")]
    assert len(await house.rows("SELECT * FROM blocked WHERE key = :key", key=ANA)) == 1

    await feed(right)
    await counts(house, first, right)
    assert await house.rows("SELECT * FROM blocked") == []
    assert len(await parked(house)) == 1  # Nobody throws it away.


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"\0", b"k" * 5_000])
async def test_a_record_of_nobody_is_kept_by_its_place_and_blocks_nobody(
    house: Reading, feed: Feed, key: bytes | None
) -> None:
    nobodys = Published(topics.PATIENTS, key, (), b"{}")
    fact = house.chains.next("/patients", ANA)
    await feed(nobodys, fact, nobodys)
    await counts(house, fact)
    rows = await house.rows("SELECT key, record_offset, record_key FROM parked ORDER BY record_offset")
    assert [(row.key, row.record_offset, row.record_key) for row in rows] == [(None, 0, key), (None, 2, key)]
    assert await house.rows("SELECT * FROM blocked") == []


@pytest.mark.parametrize("timestamp", [-1, 2**62])
async def test_a_record_may_claim_any_time(house: Reading, feed: Feed, timestamp: int) -> None:
    fact = house.chains.next("/patients", ANA)
    await feed(replace(fact, timestamp_ms=timestamp))
    await counts(house, fact)


async def test_a_type_with_an_endless_name_waits(house: Reading, feed: Feed) -> None:
    other = house.chains.next("/therapy", ANA)
    incompressible = "".join(sha256(bytes([n])).hexdigest() for n in range(100))
    await feed(house.chains.next("/patients", ANA).but(ce_type=incompressible.encode()), other)
    await counts(house, other)
    assert await parked(house) == [(ANA, "/patients", 1, "refused")]


async def test_a_type_that_nobody_knows_is_recorded_as_skipped_and_the_sequence_goes_on(
    house: Reading, feed: Feed
) -> None:
    first = house.chains.next("/patients", ANA)
    unheard = house.chains.next("/patients", ANA).but(ce_type=b"patients.moon-seen.v1")
    third = house.chains.next("/patients", ANA)
    before = metric("unknown_type_total")
    await feed(first, unheard)
    await feed(third)
    assert await house.counted() == facts_of([first, third])
    assert await parked(house) == []
    assert [row.type for row in await house.rows("SELECT type FROM skipped_type")] == ["patients.moon-seen.v1"]
    assert metric("unknown_type_total") == before + 1


async def test_a_known_type_that_the_projection_does_not_read_is_skipped_undecoded(house: Reading, feed: Feed) -> None:
    other = replace(house.chains.next("/patients", ANA).but(ce_type=b"patients.allergy-refuted.v1"), value=b"?")
    behind = house.chains.next("/patients", ANA)
    await feed(other, behind)
    assert await house.counted() == facts_of([behind])
    assert [row.type for row in await house.rows("SELECT type FROM skipped_type")] == ["patients.allergy-refuted.v1"]


async def test_what_postgresql_refuses_is_traced_to_its_patient_and_everybody_else_flows_on(
    house: Reading, feed: Feed
) -> None:
    crowd = [house.chains.next("/patients", patient(n)) for n in range(40)]
    first = house.chains.next("/therapy", ANA)
    refused = house.chains.next("/therapy", ANA, operated("nul"))
    behind = house.chains.next("/therapy", ANA)
    await feed(first, *crowd, refused, behind)
    await counts(house, first, *crowd)
    assert await parked(house) == [(ANA, "/therapy", 2, "refused"), (ANA, "/therapy", 3, "behind")]


async def test_what_postgresql_refuses_while_a_gap_closes_stays_behind_what_was_right(
    house: Reading, feed: Feed
) -> None:
    first, second = (house.chains.next("/patients", ANA) for _ in range(2))
    third = house.chains.next("/patients", ANA)
    refused = house.chains.next("/patients", ANA, operated("nul"))
    behind = house.chains.next("/patients", ANA)
    await feed(first, third, refused, behind)
    await feed(second)
    await counts(house, first, second, third)
    assert [(row[2], row[3]) for row in await parked(house)] == [(4, "refused"), (5, "behind")]
    assert [row.reason for row in await house.rows("SELECT reason FROM blocked")] == ["refused"]


async def test_many_patients_blocked_at_once_stop_the_work_and_nothing_is_written(house: Reading) -> None:
    feed = Feed(house.counting(most_blocked=5))
    well = house.chains.next("/patients", ANA)
    poisoned = [house.chains.next("/patients", patient(n), operated("raises")) for n in range(10, 16)]
    with pytest.raises(TooManyBlocked):
        await feed(well, *poisoned)
    assert await house.counted() == []
    assert await parked(house) == []
    await feed(well, *poisoned[:5])  # As many as may be.
    await counts(house, well)


async def test_a_worker_whose_partition_was_claimed_by_another_can_write_nothing(house: Reading, feed: Feed) -> None:
    first, second = (house.chains.next("/patients", ANA) for _ in range(2))
    await feed(first)
    newer = Feed(house.counting())
    await newer.claim()
    before = metric("fenced_total")
    with pytest.raises(Fenced):
        await feed(second)
    assert metric("fenced_total") == before + 1
    await counts(house, first)
    await newer(second)
    await counts(house, first, second)


async def test_a_worker_whose_memory_is_behind_can_write_nothing(house: Reading, feed: Feed) -> None:
    first, second = (house.chains.next("/patients", ANA) for _ in range(2))
    await feed(first)
    partition = TopicPartition("patients.events", 0)
    feed.held[partition] = Held(0, feed.held[partition].epoch)
    with pytest.raises(Fenced):
        await feed(second)
    await counts(house, first)


async def test_checkpoints_of_another_kafka_cluster_are_not_claimed(house: Reading, feed: Feed) -> None:
    await feed(house.chains.next("/patients", ANA))
    with pytest.raises(ClaimRefused):
        await feed.work.claim([TopicPartition("patients.events", 0)], "another cluster")


async def test_a_lost_connection_sets_nothing_aside(house: Reading, feed: Feed) -> None:
    fact = house.chains.next("/patients", ANA)
    await feed.claim()
    await house.execute("""
        CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$""")
    await house.execute("CREATE TRIGGER gone BEFORE INSERT ON counting_v1.entry FOR EACH ROW EXECUTE FUNCTION gone()")
    with pytest.raises(Exception) as caught:  # noqa: PT011  Whatever the driver calls it.
        await feed(fact)
    assert is_transient(caught.value)
    await house.execute("DROP TRIGGER gone ON counting_v1.entry")
    await feed(fact)
    await counts(house, fact)
    assert await parked(house) == []
