"""What a verification found."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

What = Literal["changed", "removed", "reordered", "inserted", "parked"]
FINDINGS_SHOWN = 100


class Finding(msgspec.Struct, frozen=True):
    """One fact that is not as it was written: where it stands, in which store, what is wrong with it.

    `event_id` and `type` are those of the fact that belongs there, as far as any store still tells.
    """

    store: str  # "archive", or the house whose event table it is.
    source: str
    key: str
    sequence: int
    what: What
    sentence: str
    event_id: str | None = None
    type: str | None = None

    def __str__(self) -> str:
        place = "the archive" if self.store == "archive" else f"the event table of {self.store}"
        named = f"{self.type or 'a fact'} {self.event_id or 'of unknown id'}"
        return f"{self.what} in {place}: {self.source} {self.key} number {self.sequence}, {named}. {self.sentence}"


class Report(msgspec.Struct, frozen=True):
    """The first finding of every chain in every store, in order of source, key and sequence."""

    findings: Sequence[Finding]
    facts: Mapping[str, int]  # How many each store holds.
    not_yet_archived: int  # Written, and still on their way.

    @property
    def whole(self) -> bool:
        return not self.findings

    @property
    def first(self) -> Finding | None:
        return self.findings[0] if self.findings else None

    @property
    def summary(self) -> str:
        """One sentence for each thing that somebody must know."""
        archived = self.facts.get("archive", 0)
        tables = sum(self.facts.values()) - archived
        compared = len(self.facts) > 1
        also = f" and {tables:,} in the houses' tables" if compared else ""
        walked = f"{archived:,} facts in the archive{also} were walked."
        waiting = f" {self.not_yet_archived:,} are not yet archived." if self.not_yet_archived else ""
        if self.first:
            return f"NOT WHOLE: {len(self.findings):,} findings. {walked}{waiting}\nFirst: {self.first}"
        agree = ", and the stores agree" if compared else ""
        return f"Whole: {walked}{waiting} Every chain holds{agree}."

    def as_json(self) -> str:
        """For programs: everything above, and at most the first hundred findings."""
        shown = {
            "whole": self.whole,
            "summary": self.summary,
            "first": self.first,
            "findings": self.findings[:FINDINGS_SHOWN],
            "findings_total": len(self.findings),
            "facts": self.facts,
            "not_yet_archived": self.not_yet_archived,
        }
        return msgspec.json.encode(shown).decode()
