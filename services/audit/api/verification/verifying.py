"""Walks every chain in every store, compares the stores, and says what of it is a fault.

The stores are written while they are read. A chain only ever grows at its end, so what is wrong within one store is
wrong; a difference *between* stores may be a matter of moments, and is looked at again before it is told.
"""

import asyncio
from collections.abc import Mapping

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.event import chained

from ...domain.chains import Row
from ...domain.report import FINDINGS_SHOWN, Finding, Report, What
from . import stores
from .stores import Archived, Table
from .walking import Chain, Difference, Progress, Walked, keep, walk

ARRIVES_S = 10.0  # What is published is archived in well under a second while all is healthy.
POLL_S = 0.2


async def verify(
    archive_engine: AsyncEngine,
    house_engines: Mapping[str, AsyncEngine],
    kafka: str | None,
    progress: Progress,
    *,
    prefix: str = "",
) -> Report:
    """The report over the archive and the tables of the houses given; without any, over the archive alone.

    `kafka` tells whether what was published is still on its way to the archive; without it, a fact that is not
    archived and no longer waits for the relay is a finding. `prefix` is the deployment's TANDEM_PREFIX.
    """
    verifying = Verifying(archive_engine, kafka, prefix)
    facts: dict[str, int] = {}
    for source, engine in await sources(archive_engine, house_engines):
        walked = await walk(Archived(archive_engine, source), Table(engine, source) if engine else None, progress)
        await verifying.judge(walked)
        for store, count in walked.facts.items():
            facts[store] = facts.get(store, 0) + count
    return Report(findings=verifying.in_order(), facts=facts, not_yet_archived=verifying.waiting)


async def sources(
    archive_engine: AsyncEngine, house_engines: Mapping[str, AsyncEngine]
) -> list[tuple[str, AsyncEngine | None]]:
    """Every source with the database in which it is written: those of the houses, then what else is archived."""
    engines: dict[str, AsyncEngine | None] = {}
    for house, engine in house_engines.items():
        engines |= {f"/{house}": engine, f"/{house}/access": engine}
    for source in await stores.archive_sources(archive_engine):
        engines.setdefault(source, None)
    return list(engines.items())


class Verifying:
    """Gathers the findings; looks again at what two stores did not agree on, and says which of them is wrong."""

    def __init__(self, archive_engine: AsyncEngine, kafka: str | None, prefix: str) -> None:
        self.archive_engine, self.kafka, self.prefix = archive_engine, kafka, prefix
        self.found: dict[Chain, Finding] = {}
        self.waiting = 0
        self.arrived: bool | None = None
        self.ends: dict[str, list[Finding]] | None = None

    async def judge(self, walked: Walked) -> None:
        """Add what is wrong with one source."""
        found = dict(walked.found)
        for one in await self.ends_of(walked.archive.source):
            keep(found, one)
        for (_, kind), place in walked.differences.items():
            if differing := await self.different(walked, found, kind, place):
                keep(found, differing)
        for nth, one in enumerate(found.values()):
            keep(self.found, await self.named(walked, one) if nth < FINDINGS_SHOWN else one)

    def in_order(self) -> list[Finding]:
        return sorted(self.found.values(), key=lambda one: (one.source, one.key, one.sequence, one.store))

    async def different(
        self, walked: Walked, found: Mapping[Chain, Finding], kind: str, place: Difference
    ) -> Finding | None:
        """What is wrong where two stores differ; None if it is known already, or was a matter of moments."""
        archive, table = walked.archive, walked.table
        assert table is not None
        of_archive = found.get((archive.name, archive.source, place.key))
        of_table = found.get((table.name, archive.source, place.key))
        if any(one and one.sequence <= place.sequence for one in (of_archive, of_table)):
            return None  # The chain itself tells it, in the store that is wrong.
        kept = await archive.at(place.key, place.sequence)
        written = await table.at(place.key, place.sequence)
        match kind:
            case "not_archived" if written and not kept:
                return await self.not_archived(archive, table, place, written[0])
            case "not_written" if kept and not written:
                return finding(table.name, kept[0], "removed", "The archive holds it, and the table does not.")
            case "other" if kept and written and written[0].hash != kept[0].hash:
                return await self.other(archive, table, kept[0], written[0])
            case _:
                return None

    async def not_archived(self, archive: Archived, table: Table, place: Difference, row: Row) -> Finding | None:
        """A fact that the table holds and the archive does not: on its way, or never published."""
        if await table.unpublished(row.key, row.sequence) or not await self.all_arrived():
            self.waiting += place.facts
            return None
        if await archive.at(row.key, row.sequence):
            return None
        sentence = "It was never published: no command brought it."
        return finding(table.name, row, "inserted", sentence)

    async def all_arrived(self) -> bool:
        """Whether the archive has read all that Kafka held when this was first asked. Waits a little."""
        if self.kafka is None:
            return True
        if self.arrived is None:
            read = await stores.offsets(self.archive_engine)
            ends = await stores.ends(self.kafka, self.prefix, read)
            waited_s = 0.0
            while any(read[partition] < end for partition, end in ends.items()) and waited_s < ARRIVES_S:
                await asyncio.sleep(POLL_S)
                waited_s += POLL_S
                read = await stores.offsets(self.archive_engine)
            self.arrived = bool(ends) and all(read[partition] >= end for partition, end in ends.items())
        return self.arrived

    async def other(self, archive: Archived, table: Table, kept: Row, written: Row) -> Finding:
        """Two facts under one number, in two stores, each with the hash that its own bytes give.

        The next fact tells which of them it continued. Where each store goes on in its own way, or neither does, what
        the archiving work received last tells whether the archive is as it was.
        """
        after = [*await archive.at(kept.key, kept.sequence + 1), *await table.at(kept.key, kept.sequence + 1)]
        continued = {row.hash for row in (kept, written) for then in after if continues(row, then)}
        if len(continued) == 1:
            archive_is_wrong = continued == {written.hash}
        else:
            last, hash = await archive.received(kept.key)
            archive_is_wrong = hash not in {row.hash for row in await archive.at(kept.key, last)}
        store, genuine = (archive.name, written) if archive_is_wrong else (table.name, kept)
        return finding(store, genuine, "changed", "Another fact stands in its place, with a hash that fits.")

    async def ends_of(self, source: str) -> list[Finding]:
        """Where chains of the archive do not end as the archiving work says that they do."""
        if self.ends is None:
            self.ends = {}
            for one in [*await tails(self.archive_engine), *await parked(self.archive_engine)]:
                self.ends.setdefault(one.source, []).append(one)
        return self.ends.get(source, [])

    async def named(self, walked: Walked, one: Finding) -> Finding:
        """The finding with the id of the fact that belongs there, as far as the other store tells."""
        other = walked.table if one.store == walked.archive.name else walked.archive
        rows = await other.at(one.key, one.sequence) if other else []
        if len(rows) != 1 or one.what == "inserted":
            return one
        return replace(one, event_id=rows[0].headers.get("ce_id"), type=rows[0].headers.get("ce_type"))


async def tails(engine: AsyncEngine) -> list[Finding]:
    found: list[Finding] = []
    for source, key, received, kept in await stores.archive_tails(engine):
        if kept < received:
            sentence = f"Facts up to number {received} were archived; the chain ends with number {kept}."
            found.append(Finding("archive", source, key, kept + 1, "removed", sentence))
        elif kept > received:
            sentence = f"The last fact that arrived was number {received}; the chain ends with number {kept}."
            found.append(Finding("archive", source, key, received + 1, "inserted", sentence))
        else:
            sentence = "It is not the fact that arrived last."
            found.append(Finding("archive", source, key, kept, "changed", sentence))
    return found


async def parked(engine: AsyncEngine) -> list[Finding]:
    return [
        Finding("archive", source, key, sequence, "parked", f"It arrived and was set aside: {reason}.")
        for source, key, sequence, reason in await stores.archive_parked(engine)
    ]


def continues(row: Row, then: Row) -> bool:
    return chained(row.hash, then.headers, then.value) == then.hash


def finding(store: str, row: Row, what: What, sentence: str) -> Finding:
    named = {"event_id": row.headers.get("ce_id"), "type": row.headers.get("ce_type")}
    return Finding(store, row.source, row.key, row.sequence, what, sentence, **named)
