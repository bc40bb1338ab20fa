"""Both stores of one source side by side, place by place: what each says by itself, and where they differ."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from ...domain.chains import Chains, Row
from ...domain.report import Finding
from .stores import Archived, Table

Progress = Callable[[str], object]
Chain = tuple[str, str, str]  # Store, source, key.
TELL_EVERY = 10_000


@dataclass(frozen=True)
class Difference:
    """The first place of a chain at which a store lacks what the other holds, or both hold something else."""

    key: str
    sequence: int
    facts: int  # Of the chain, from here on.


@dataclass
class Walked:
    """What a walk over one source found. Of each chain in each store the first finding is kept: the rest may follow."""

    archive: Archived
    table: Table | None
    found: dict[Chain, Finding] = field(default_factory=dict)
    differences: dict[tuple[str, str], Difference] = field(default_factory=dict)  # By key and the kind of difference.
    facts: dict[str, int] = field(default_factory=dict)

    def note(self, finding: Finding | None) -> None:
        """Keep a finding unless the chain's first one is known."""
        if finding:
            keep(self.found, finding)

    def differ(self, kind: str, key: str, sequence: int) -> None:
        known = self.differences.get((key, kind), Difference(key, sequence, 0))
        self.differences[key, kind] = Difference(key, known.sequence, known.facts + 1)


def keep(found: dict[Chain, Finding], finding: Finding) -> None:
    """Of each chain in each store the finding that stands first."""
    chain = finding.store, finding.source, finding.key
    if chain not in found or finding.sequence < found[chain].sequence:
        found[chain] = finding


async def walk(archive: Archived, table: Table | None, progress: Progress) -> Walked:
    """Every place of one source at which a store holds anything, in order of key and sequence."""
    walked = Walked(archive, table)
    kept_chains = Chains(archive.name)
    written_chains = Chains(table.name) if table else None
    facts, written_facts, told = 0, 0, 0
    async for (key, sequence), kept, written in side_by_side(archive, table):
        facts, written_facts = facts + len(kept), written_facts + len(written)
        if kept:
            walked.note(kept_chains.next(kept, {row.hash for row in written}))
        if written and written_chains:
            walked.note(written_chains.next(written))
        if table and (kind := difference(kept, written)):
            walked.differ(kind, key, sequence)
        if facts + written_facts - told >= TELL_EVERY:
            told = facts + written_facts
            progress(f"{archive.source}: {told:,} rows so far")
    walked.facts = {archive.name: facts, **({table.name: written_facts} if table else {})}
    progress(f"{archive.source}: {facts:,} archived facts" + (f", {written_facts:,} in its table" if table else ""))
    return walked


def difference(kept: Sequence[Row], written: Sequence[Row]) -> str | None:
    """In which way the stores differ at one place; None if they agree, or if the archive's own fork says it."""
    if not kept:
        return "not_archived"
    if not written:
        return "not_written"
    return None if {row.hash for row in written} <= {row.hash for row in kept} else "other"


async def side_by_side(
    archive: Archived, table: Table | None
) -> AsyncIterator[tuple[tuple[str, int], list[Row], list[Row]]]:
    """Each place, and what the archive and the table hold there."""
    left, right = Ahead(archive.rows()), Ahead(table.rows() if table else nothing())
    while places := [place for place in (await left.place(), await right.place()) if place]:
        place = min(places)
        yield place, await left.at(place), await right.at(place)


async def nothing() -> AsyncIterator[Row]:
    """The rows of no table."""
    rows: tuple[Row, ...] = ()
    for row in rows:
        yield row


class Ahead:
    """Rows of a store, the next one known before it is taken."""

    def __init__(self, rows: AsyncIterator[Row]) -> None:
        self.rows = rows
        self.row: Row | None = None
        self.begun = False

    async def place(self) -> tuple[str, int] | None:
        """Of the next row; None after the last."""
        if not self.begun:
            self.begun = True
            self.row = await anext(self.rows, None)
        return (self.row.key, self.row.sequence) if self.row else None

    async def at(self, place: tuple[str, int]) -> list[Row]:
        """Takes every row that stands at this place, if it is the next one."""
        taken: list[Row] = []
        while self.row and (self.row.key, self.row.sequence) == place:
            taken.append(self.row)
            self.row = await anext(self.rows, None)
        return taken
