"""Each patient's care, joined: one bounded document and one timeline, folded from every service's facts."""

from .document import NOTHING_KNOWN, CareView, decode, encode
from .fold import project
from .timeline import KINDS, TYPES, Kind, entries

__all__ = ["KINDS", "NOTHING_KNOWN", "TYPES", "CareView", "Kind", "decode", "encode", "entries", "project"]
