"""Every fact says what it means, and is made so that a record of it can be read for ever."""

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

import pytest
from pydantic import BaseModel

from contracts.catalogue import FACTS
from contracts.event import instant
from contracts.fact import Fact
from contracts.topics import HOUSES, TOPICS

WIRE_NAME = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*\.v[1-9][0-9]*")
BY_NAME = pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)


@BY_NAME
def test_a_fact_says_what_it_means(fact: type[Fact]) -> None:
    words = inspect.cleandoc(fact.__doc__ or "")
    assert words, "the docstring is the fact's entry in the catalogue"
    assert words != inspect.cleandoc(Fact.__doc__ or "")
    assert words.endswith(".")
    assert len(words) < 200


@BY_NAME
def test_a_facts_name_is_its_house_and_what_happened(fact: type[Fact]) -> None:
    house = fact.__module__.rpartition(".")[2]
    kebab = re.sub(r"(?<!^)([A-Z])", r"-\1", fact.__name__).lower()
    assert WIRE_NAME.fullmatch(fact.TYPE)
    assert fact.TYPE.rpartition(".v")[0] == f"{house}.{kebab}"


@BY_NAME
def test_a_fact_cannot_be_changed_and_tolerates_what_a_later_release_adds(fact: type[Fact]) -> None:
    for model in models_within(fact):
        assert model.model_config.get("frozen") is True
        assert model.model_config.get("extra") == "ignore"


@BY_NAME
def test_no_amount_is_a_float(fact: type[Fact]) -> None:
    for model in models_within(fact):
        for name, field in model.model_fields.items():
            assert float not in set(leaves(field.annotation)), f"{model.__name__}.{name}"


def test_every_module_of_facts_is_in_the_catalogue() -> None:
    def named(base: type[Fact]) -> Iterator[str]:
        for fact in base.__subclasses__():
            yield from (fact.TYPE, *named(fact))

    assert sorted(named(Fact)) == sorted(FACTS)


def test_topics_are_written_by_one_house_and_read_by_houses_that_exist() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    for topic in TOPICS:
        assert set(topic.readers) <= set(HOUSES)
        assert topic.retention_ms == -1, "nothing is ever deleted from the log"
        assert {writer.split("/")[1] for writer in topic.writers} <= set(HOUSES)


def test_times_as_text_stand_in_the_order_of_time() -> None:
    times = [datetime(2026, 1, 2, 3, 4, 5, microsecond, UTC) for microsecond in (0, 1, 10, 999_999)]
    assert sorted(map(instant, times)) == [instant(time) for time in times]
    assert {len(instant(time)) for time in times} == {27}


def test_the_subject_of_a_fact_names_the_thing_or_the_patient() -> None:
    patient = "6a1f3c52-8c0e-4c57-9d3e-5b0a4f1e2d77"
    thing = UUID("8d558903-c499-5125-9639-461d1d0d98ea")
    removed = FACTS["patients.contact-point-removed.v1"](contact_point_id=thing)
    assert removed.subject(patient) == f"contact-point/{thing}"
    released = FACTS["patients.care-team-member-released.v1"](person="p", role="nurse", reason="left")
    assert released.subject(patient) == f"patient/{patient}"


def models_within(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and every model that one of its fields holds."""
    yield model
    for field in model.model_fields.values():
        for leaf in leaves(field.annotation):
            if isinstance(leaf, type) and issubclass(leaf, BaseModel):
                yield from models_within(leaf)


def leaves(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    if get_origin(annotation) in (Union, UnionType, tuple, list) or get_args(annotation):
        for part in get_args(annotation):
            yield from leaves(part)
    else:
        yield annotation
