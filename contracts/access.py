"""Facts that every service publishes about itself: who looked, who was refused, what an operator did.

One stream for each person who acted, in each service: the source is `/<house>/access`, the key the person's id.
"""

from typing import ClassVar
from uuid import UUID

from .clinical import Code, Text
from .fact import Fact


class RecordRead(Fact):
    """Somebody was shown records of these patients; appended before the first byte left."""

    TYPE: ClassVar[str] = "access.record-read.v1"
    ABOUT: ClassVar[str] = "view/{what}"
    what: Code  # A view's name in contracts/permissions.py.
    patients: tuple[UUID, ...]


class AccessRefused(Fact):
    """Somebody asked for what they may not have."""

    TYPE: ClassVar[str] = "access.access-refused.v1"
    ABOUT: ClassVar[str] = "permission/{what}"
    what: Code  # A command's or view's name in contracts/permissions.py.
    rule: Code  # Which condition failed: role, clinic, team, own record, unknown patient.
    patients: tuple[UUID, ...]


class OperatorActed(Fact):
    """An operator changed how the system runs."""

    TYPE: ClassVar[str] = "access.operator-acted.v1"
    ABOUT: ClassVar[str] = "operation/{command}"
    command: Code
    arguments: tuple[Text, ...] = ()
    why: Text


AccessFact = RecordRead | AccessRefused | OperatorActed
