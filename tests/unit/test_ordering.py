"""What becomes of a fact by its place in the sequence."""

from hashlib import sha256
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from chassis.ordering import Page, Verdict, arrive, resume
from chassis.records import Received, Record
from contracts.event import Place

PATIENT = "p"
State = tuple[str, ...]


class Mistake(Exception):
    """A fold of ours that has one."""


def fact(source: str, sequence: int, version: str = "") -> Received:
    name = f"{source}{sequence}{version}"
    record = Record("t", 0, sequence, 0, PATIENT.encode(), (), b"")
    return Received(record, {}, Place(source, PATIENT, sequence, sha256(name.encode()).digest()), name.encode())


def take(state: State, one: Received) -> State:
    return (*state, one.value.decode())


def empty() -> Page[State]:
    return Page(PATIENT, (), {})


def told(*facts: Received) -> Page[State]:
    page = empty()
    for one in facts:
        arrive(page, one, take)
    return page


def reasons(page: Page[State]) -> list[Verdict]:
    return [aside.reason for aside in page.set_aside if aside not in page.released]


def test_facts_in_their_order_are_applied() -> None:
    assert told(fact("a", 1), fact("b", 1), fact("a", 2)).state == ("a1", "b1", "a2")


def test_a_fact_told_again_is_dropped_and_counted() -> None:
    page = told(fact("a", 1), fact("a", 2), fact("a", 1), fact("a", 2))
    assert page.state == ("a1", "a2")
    assert page.repeated == 2


def test_what_follows_a_gap_waits_and_other_sources_flow_on() -> None:
    page = told(fact("a", 1), fact("a", 3), fact("b", 1), fact("a", 4))
    assert page.state == ("a1", "b1")
    assert page.blocked == {"a": Verdict.GAP}
    assert page.stale_since is not None
    assert reasons(page) == [Verdict.GAP, Verdict.BEHIND]


def test_a_gap_closes_when_its_number_arrives() -> None:
    page = told(fact("a", 1), fact("a", 4), fact("a", 3), fact("a", 2), fact("a", 5))
    assert page.state == ("a1", "a2", "a3", "a4", "a5")
    assert page.blocked == {}
    assert page.stale_since is None
    assert reasons(page) == []


def test_a_gap_behind_the_one_that_closed_still_holds() -> None:
    page = told(fact("a", 1), fact("a", 3), fact("a", 5), fact("a", 2))
    assert page.state == ("a1", "a2", "a3")
    assert page.blocked == {"a": Verdict.GAP}


def test_another_fact_under_the_last_number_is_a_fork_and_blocks() -> None:
    page = told(fact("a", 1), fact("a", 1, "forked"), fact("a", 2))
    assert page.state == ("a1",)
    assert reasons(page) == [Verdict.FORK, Verdict.BEHIND]


def test_a_fork_of_a_waiting_number_is_found_when_its_turn_comes() -> None:
    page = told(fact("a", 2), fact("a", 2, "forked"), fact("a", 1))
    assert page.state == ("a1", "a2")
    assert page.blocked == {"a": Verdict.FORK}


def test_a_fold_that_fails_leaves_the_state_and_blocks_its_source_only() -> None:
    def mistaken(state: State, one: Received) -> State:
        if one.value == b"a2":
            raise Mistake
        return take(state, one)

    page = empty()
    for one in (fact("a", 1), fact("a", 2), fact("a", 3), fact("b", 1)):
        arrive(page, one, mistaken)
    assert page.state == ("a1", "b1")
    assert reasons(page) == [Verdict.FAULT, Verdict.BEHIND]
    resume(page, "a", take)  # Mended.
    assert page.state == ("a1", "b1", "a2", "a3")
    assert page.blocked == {}


def test_a_second_copy_of_a_fact_that_failed_does_not_pass_it() -> None:
    def mistaken(state: State, one: Received) -> State:
        raise Mistake

    page = empty()
    arrive(page, fact("a", 1), mistaken)
    arrive(page, fact("a", 1), take)
    assert page.state == ()


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 8))
def test_whatever_the_order_and_the_repeats_each_fact_is_applied_once_in_its_turn(seed: int, a: int, b: int) -> None:
    random = Random(seed)
    facts = [fact("a", n + 1) for n in range(a)] + [fact("b", n + 1) for n in range(b)]
    coming = facts + random.choices(facts, k=random.randrange(8))
    random.shuffle(coming)
    page = told(*coming)
    for source, last in (("a", a), ("b", b)):
        assert [name for name in page.state if name[0] == source] == [f"{source}{n + 1}" for n in range(last)]
    assert page.blocked == {}
    assert page.applied == a + b
