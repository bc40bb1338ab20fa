"""One store's chains, checked by themselves: is each fact where it says it is, and does it continue the one before?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from contracts.event import NO_HASH, chained

from .report import Finding, What


@dataclass(frozen=True, slots=True)
class Row:
    """A fact as a store holds it. `id` is a column of event tables only."""

    source: str
    key: str
    sequence: int
    hash: bytes
    headers: Mapping[str, str]
    value: bytes
    id: str | None = None


class Chains:
    """Walks what stands at each place, in order of key and sequence.

    After a fact that stands in the wrong place the next link is not judged: what it continues is gone.
    """

    def __init__(self, store: str) -> None:
        self.store = store
        self.key: str | None = None
        self.sequence = 0
        self.before: tuple[bytes, ...] = (NO_HASH,)  # Hashes that the next fact may continue; none: not known.

    def next(self, rows: Sequence[Row], elsewhere: Collection[bytes] = ()) -> Finding | None:
        """What is wrong with the fact at this place, or with those that should stand before it.

        Several rows are a fork; `elsewhere` are the hashes that another store holds here, to tell which is genuine.
        """
        row = rows[0]
        if row.key != self.key:
            self.key, self.sequence, self.before = row.key, 0, (NO_HASH,)
        found = self.forked(rows, elsewhere) if len(rows) > 1 else self.fault(row)
        misplaced = found is not None and found.what == "reordered"
        self.before = () if misplaced else tuple(hash for one in rows for hash in hashes(one))
        self.sequence = row.sequence
        return found

    def fault(self, row: Row) -> Finding | None:
        if misplaced := self.misplaced(row):
            return misplaced
        expected = self.sequence + 1
        if row.sequence != expected:
            sentence = f"Number {row.sequence} follows number {self.sequence}."
            return Finding(self.store, row.source, row.key, expected, "removed", sentence)
        if row.id is not None and row.id != row.headers.get("ce_id"):
            return self.finding(row, "changed", "Its id is not the one that its own attributes name.")
        if row.hash.hex() != row.headers.get("ce_hash"):
            return self.finding(row, "changed", "Its hash is not the one that its own attributes name.")
        if not self.follows(row):
            return self.finding(row, "changed", "Its bytes and attributes do not give its hash.")
        return None

    def misplaced(self, row: Row) -> Finding | None:
        """A row whose attributes say that it stands elsewhere."""
        source, key, sequence = (row.headers.get(f"ce_{name}", "") for name in ("source", "partitionkey", "sequence"))
        if (source, key, sequence) == (row.source, row.key, f"{row.sequence:012d}"):
            return None
        if (source, key) == (row.source, row.key) and sequence.isdecimal():
            return self.finding(row, "reordered", f"The fact that stands here is number {int(sequence)}.")
        return self.finding(row, "reordered", "The fact that stands here belongs to another chain.")

    def forked(self, rows: Sequence[Row], elsewhere: Collection[bytes]) -> Finding:
        genuine = [row for row in rows if row.hash in elsewhere] or [row for row in rows if self.follows(row)]
        intruders = [row for row in rows if row not in genuine] or rows[1:]
        return self.finding(intruders[0], "inserted", f"{len(rows)} facts stand at this number.")

    def follows(self, row: Row) -> bool:
        """Whether its hash is what it must be after one of the facts that may stand before it."""
        return not self.before or any(chained(before, row.headers, row.value) == row.hash for before in self.before)

    def finding(self, row: Row, what: What, sentence: str) -> Finding:
        named = {"event_id": row.headers.get("ce_id"), "type": row.headers.get("ce_type")}
        return Finding(self.store, row.source, row.key, row.sequence, what, sentence, **named)


def hashes(row: Row) -> tuple[bytes, ...]:
    """The hash of a row, and the one that its attributes name where that is another: the next may continue either."""
    try:
        said = bytes.fromhex(row.headers.get("ce_hash", ""))
    except ValueError:
        return (row.hash,)
    return (row.hash,) if said == row.hash else (row.hash, said)
