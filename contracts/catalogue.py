"""All facts ever shipped, by their name on the wire."""

from collections.abc import Mapping
from types import UnionType
from typing import get_args

from .access import AccessFact
from .fact import Fact
from .notifications import NotificationsFact
from .patients import PatientsFact
from .prescribing import PrescribingFact
from .scheduling import SchedulingFact
from .therapy import TherapyFact

UNIONS: tuple[UnionType, ...] = (
    PatientsFact,
    PrescribingFact,
    TherapyFact,
    SchedulingFact,
    NotificationsFact,
    AccessFact,
)
FACTS: Mapping[str, type[Fact]] = {fact.TYPE: fact for union in UNIONS for fact in get_args(union)}


def without_version(name: str) -> str:
    """`prescribing.dose-prescribed` of `prescribing.dose-prescribed.v1`."""
    return name.rpartition(".v")[0]


NAMES: frozenset[str] = frozenset(without_version(name) for name in FACTS)
