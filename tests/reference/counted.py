"""What the counting projection must come to, from the published facts alone: slow, obvious, sharing no code with it.

A fact is (source, key, sequence, hash). Facts are given in any order, with repeats; what was lost shows as a hole.
"""

import hashlib
import json
from collections.abc import Iterable

Fact = tuple[str, str, int, str]


def documents(published: Iterable[Fact]) -> dict[str, dict[str, object]]:
    """Each patient's document. Raises AssertionError for facts that are no gapless sequence."""
    chains: dict[str, dict[str, dict[int, str]]] = {}
    for source, key, sequence, found in published:
        chain = chains.setdefault(key, {}).setdefault(source, {})
        assert chain.get(sequence, found) == found, f"{source} {key} {sequence} was published with two hashes"
        chain[sequence] = found
    return {
        key: {source: section(chain, f"{source} {key}") for source, chain in by_source.items()}
        for key, by_source in chains.items()
    }


def section(chain: dict[int, str], name: str) -> dict[str, object]:
    numbers = sorted(chain)
    assert numbers == list(range(1, len(numbers) + 1)), f"{name}: {numbers}"
    digest = ""
    for number in numbers:
        joined = digest.encode("ascii") + bytes.fromhex(chain[number])
        digest = hashlib.sha256(joined).hexdigest()
    return {"facts": len(numbers), "last": numbers[-1], "digest": digest}


def sections_of(document: bytes) -> dict[str, dict[str, object]]:
    """A stored document in the same form."""
    sections: dict[str, dict[str, object]] = json.loads(document)["sections"]
    return sections
