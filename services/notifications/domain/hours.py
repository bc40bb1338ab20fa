"""When a message may arrive: by day, where the patient is. Source: facts of the clinical data, quiet hours."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

EARLIEST, LATEST = time(8), time(21)  # Local wall time; at nine in the evening it is too late.


def zone_or_none(name: str | None) -> ZoneInfo | None:
    """The zone of the IANA database, None where there is none of that name."""
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):  # Unknown; a path outside the database; a directory of it.
        return None


def by_day(at: datetime, zone: ZoneInfo) -> datetime:
    """`at`, or the next instant, in UTC, that is not in quiet hours there."""
    local = at.astimezone(zone)
    if EARLIEST <= local.time() < LATEST:
        return at.astimezone(UTC)
    day = local.date() + timedelta(days=1 if local.time() >= LATEST else 0)
    return datetime.combine(day, EARLIEST, zone).astimezone(UTC)
