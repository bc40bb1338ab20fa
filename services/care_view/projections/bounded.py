"""Collections of a document: copied, never changed, and kept short."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Timed(Protocol):
    """Something that happened at a moment in the world."""

    @property
    def at(self) -> datetime: ...


A = TypeVar("A", bound=Timed)


def without(known: Mapping[K, T], key: K) -> dict[K, T]:
    return {other: value for other, value in known.items() if other != key}


def latest(known: tuple[A, ...], new: A, count: int) -> tuple[A, ...]:
    """The last `count` by when they happened: a late entry takes its place among them."""
    return in_order((*known, new), happened)[-count:]


def in_order(items: tuple[T, ...], when: Callable[[T], datetime]) -> tuple[T, ...]:
    """Items of which all but the last are sorted, sorted by `when`; of two at one moment the earlier told is first."""
    if len(items) < 2 or when(items[-2]) <= when(items[-1]):  # Recorded as it happened: the usual case.
        return items
    return tuple(sorted(items, key=when))


def happened(item: Timed) -> datetime:
    return item.at
