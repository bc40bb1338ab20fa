"""A chain checked by itself: each fact stands where it says it does, and continues the one before."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.api.archive import Cursor
from services.audit.domain.chains import Chains, Row
from services.audit.domain.report import Finding, Report
from tests.support.history import history

RECORDS = [record for record in history(3, count=2, weeks=6) if record.event.source == "/therapy"]
KEY = RECORDS[0].event.key
CHAIN = [
    Row("/therapy", KEY, record.event.sequence, record.event.hash, record.headers, record.value, str(record.event.id))
    for record in RECORDS
    if record.event.key == KEY
]


def walked(rows: Sequence[Row]) -> list[tuple[int, str]]:
    chains = Chains("therapy")
    found = [chains.next([row]) for row in rows]
    return [(one.sequence, one.what) for one in found if one]


def without(rows: list[Row], nth: int) -> list[Row]:
    return rows[:nth] + rows[nth + 1 :]


def changed(rows: list[Row], nth: int) -> list[Row]:
    return [*rows[:nth], replace(rows[nth], value=rows[nth].value + b" "), *rows[nth + 1 :]]


def swapped(rows: list[Row], nth: int) -> list[Row]:
    one, two = rows[nth], rows[nth + 1]
    both = [replace(two, sequence=one.sequence), replace(one, sequence=two.sequence)]
    return [*rows[:nth], *both, *rows[nth + 2 :]]


def test_a_chain_that_nobody_touched_has_no_fault() -> None:
    assert len(CHAIN) > 8
    assert walked(CHAIN) == []


@given(nth=st.integers(0, len(CHAIN) - 2))
@pytest.mark.parametrize(
    ("tamper", "what"), [(without, ["removed"]), (changed, ["changed"]), (swapped, ["reordered", "reordered"])]
)
def test_a_fault_is_found_where_it_is_and_blames_nothing_behind_it(
    tamper: Callable[[list[Row], int], list[Row]], what: list[str], nth: int
) -> None:
    found = walked(tamper(CHAIN, nth))
    assert [fault for _, fault in found] == what
    assert found[0][0] == CHAIN[nth].sequence


def test_a_fact_of_another_chain_is_out_of_place() -> None:
    stranger = replace(CHAIN[3], headers={**CHAIN[3].headers, "ce_partitionkey": "somebody else"})
    assert walked([*CHAIN[:3], stranger, *CHAIN[4:]]) == [(4, "reordered")]


def test_each_chain_begins_anew() -> None:
    assert walked([*CHAIN, *(replace(row, key="z") for row in CHAIN[:1])]) == [(1, "reordered")]


def test_of_a_fork_the_fact_that_another_store_holds_is_genuine() -> None:
    forged = replace(CHAIN[2], value=b"{}", hash=bytes(32), headers={**CHAIN[2].headers, "ce_id": "forged"})
    chains = Chains("archive")
    assert [chains.next([row]) for row in CHAIN[:2]] == [None, None]
    for rows in ([forged, CHAIN[2]], [CHAIN[2], forged]):
        chains.sequence = 2
        found = chains.next(rows, {CHAIN[2].hash})
        assert found
        assert (found.what, found.event_id) == ("inserted", "forged")


def test_a_cursor_survives_the_address_bar() -> None:
    cursor = Cursor("2026-03-02T15:00:00.000000Z", "/therapy", KEY, 7, bytes(range(32)))
    assert Cursor.parse(str(cursor)) == cursor
    assert "=" not in str(cursor)


NUL = str(Cursor("2026", "/therapy\0", KEY, 7, bytes(32)))
HUGE = str(Cursor("2026", "/therapy", KEY, 2**63, bytes(32)))


@pytest.mark.parametrize("text", ["", "x", "bm90IGEgY3Vyc29y", "é", NUL, HUGE])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


def test_a_report_says_what_was_compared_and_names_the_first_finding() -> None:
    whole = Report(findings=[], facts={"archive": 1200, "therapy": 1201}, not_yet_archived=1)
    assert whole.summary == (
        "Whole: 1,200 facts in the archive and 1,201 in the houses' tables were walked. 1 are not yet archived. "
        "Every chain holds, and the stores agree."
    )
    finding = Finding("archive", "/therapy", KEY, 7, "changed", "Its bytes differ.", "an-id", "a.type.v1")
    broken = Report(findings=[finding], facts={"archive": 1200}, not_yet_archived=0)
    assert not broken.whole
    assert "First: changed in the archive: /therapy" in broken.summary
    assert "number 7, a.type.v1 an-id" in broken.summary
