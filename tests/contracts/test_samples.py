"""One record of every version ever shipped: added, never edited, and readable for ever."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from contracts.catalogue import FACTS
from contracts.event import NO_HASH, chained, event_of, place_of
from contracts.roles import PURPOSES, ROLES
from contracts.topics import TOPICS

CONTRACTS = Path(__file__).parents[2] / "contracts"
SAMPLES = sorted((CONTRACTS / "samples").glob("*.json"))
EACH_SAMPLE = pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)


def test_every_fact_has_a_sample_and_every_sample_a_fact() -> None:
    assert {path.stem for path in SAMPLES} == set(FACTS)


def test_no_sample_was_edited() -> None:
    listed = dict(reversed(line.split()) for line in (CONTRACTS / "samples" / "sha256sums").read_text().splitlines())
    assert listed == {path.name: sha256(path.read_bytes()).hexdigest() for path in SAMPLES}


@EACH_SAMPLE
def test_a_sample_still_parses_and_loses_nothing(path: Path) -> None:
    attributes, value = read(path)
    event = event_of(attributes, FACTS[attributes["ce_type"]].model_validate_json(value))
    assert contains(json.loads(event.fact.model_dump_json()), json.loads(value))
    assert attributes["ce_type"] == path.stem == event.fact.TYPE
    assert attributes["ce_subject"] == event.fact.subject(event.key)
    assert event.source in {writer for topic in TOPICS for writer in topic.writers}
    assert event.actor_role in ROLES
    assert event.reason in PURPOSES


@EACH_SAMPLE
def test_a_field_that_a_later_release_adds_is_ignored(path: Path) -> None:
    attributes, value = read(path)
    fact = FACTS[attributes["ce_type"]]
    later = json.dumps({**json.loads(value), "added_by_a_later_release": {"a": 1}})
    assert fact.model_validate_json(later) == fact.model_validate_json(value)


@EACH_SAMPLE
def test_a_samples_hash_is_that_of_the_first_of_a_chain(path: Path) -> None:
    attributes, value = read(path)
    assert attributes["ce_hash"] == by_the_readme(NO_HASH, attributes, value)
    assert place_of(attributes).hash == chained(NO_HASH, attributes, value)


def test_the_worked_example_comes_out_as_it_says() -> None:
    blocks = re.findall(r"^```\n(.*?)\n```$", (CONTRACTS / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    before, listed, first_bytes, value, expected = blocks
    attributes = dict(line.split(": ", 1) for line in listed.splitlines())
    assert list(attributes) == sorted(attributes)
    assert by_the_readme(bytes.fromhex(before), attributes, value.encode()) == expected
    assert chained(bytes.fromhex(before), attributes, value.encode()).hex() == expected
    name, text = next(iter(attributes.items()))
    as_bytes = length_and_text(name) + length_and_text(text)
    assert as_bytes.hex().startswith(first_bytes.replace(" ", "").removesuffix("…"))


@pytest.mark.parametrize("changed", ["ce_actor", "ce_sequence", "ce_recordedtime", "ce_type"])
def test_a_changed_attribute_shows_in_the_hash(changed: str) -> None:
    attributes, value = read(SAMPLES[0])
    altered = {**attributes, changed: attributes[changed][:-1] + "7"}
    assert chained(NO_HASH, altered, value) != chained(NO_HASH, attributes, value)
    assert chained(NO_HASH, attributes, value + b" ") != chained(NO_HASH, attributes, value)
    assert chained(NO_HASH, {**attributes, "traceparent": "00-…"}, value) == chained(NO_HASH, attributes, value)


def test_text_cannot_move_from_a_name_to_its_value_unnoticed() -> None:
    assert chained(NO_HASH, {"ce_a": "bc"}, b"") != chained(NO_HASH, {"ce_ab": "c"}, b"")


def read(path: Path) -> tuple[dict[str, str], bytes]:
    """A sample's attributes, and its value as the bytes that were hashed."""
    sample = json.loads(path.read_text())
    return sample["attributes"], json.dumps(sample["value"], separators=(",", ":"), ensure_ascii=False).encode()


def by_the_readme(before: bytes, attributes: dict[str, str], value: bytes) -> str:
    """The definition in contracts/README.md, written a second time, sharing no code with `chained`."""
    named = sorted((name, text) for name, text in attributes.items() if name[:3] == "ce_" and name != "ce_hash")
    middle = b"".join(length_and_text(name) + length_and_text(text) for name, text in named)
    return sha256(before + middle + value).hexdigest()


def length_and_text(text: str) -> bytes:
    return b"%c%c%c%c" % (0, 0, *divmod(len(text.encode()), 256)) + text.encode()


def contains(whole: Any, part: Any) -> bool:
    """Whether everything in `part` is in `whole`, which may have fields that a later release added."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and contains(whole[name], part[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)
