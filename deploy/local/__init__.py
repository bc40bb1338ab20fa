"""The embedded stack: real Kafka, real PostgreSQL, a token issuer and a mailbox on a bare machine.

Imports no service; imported by `ops` and the tests only. `Stack` is the way in.
"""

from .control import Refused
from .jars import JarsRefused
from .places import DEFAULT_STATE
from .processes import Identity, Program
from .stack import Addresses, NotRunning, Stack

__all__ = [
    "DEFAULT_STATE",
    "Addresses",
    "Identity",
    "JarsRefused",
    "NotRunning",
    "Program",
    "Refused",
    "Stack",
]
