"""Where a patient's day begins and ends."""

from functools import lru_cache
from zoneinfo import ZoneInfo

from .document import CareView

UTC_NAME = "UTC"


def zone_of(view: CareView) -> ZoneInfo:
    """The time zone in which the patient lives; UTC while it is not known."""
    identity = view.patient.identity
    return zone_named(identity.time_zone if identity else UTC_NAME)


@lru_cache(maxsize=512)
def zone_named(name: str) -> ZoneInfo:
    """The zone, or UTC when its name is none: a view is shown all the same."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Not in the database; not a name at all; a directory's name.
        return ZoneInfo(UTC_NAME)
