"""Whole local days: which day an instant falls on somewhere, when a day begins there, how old somebody is on it.

Clocks jump. A day's midnight may not exist (the clock skips it) or come twice; a whole day may be missing.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from chassis.decider import Rejected

SECOND = timedelta(seconds=1)


def zone_named(name: str) -> ZoneInfo:
    """The zone of the IANA database. Raises Rejected for a name that is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Unknown; a path outside the database; a directory of it.
        raise Rejected(
            "unknown_time_zone", "Give the time zone by its name in the IANA database, such as America/New_York."
        ) from None


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The day on the calendar of whoever lives there."""
    return at.astimezone(zone).date()


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, at which the calendar there shows `day`, or a later day when it was skipped.

    Where the clock goes back over midnight, the first of the two midnights: from then on the day has been seen.
    """
    midnight = datetime.combine(day, time())
    latest = midnight.replace(tzinfo=zone).astimezone(UTC)
    if latest.astimezone(zone).replace(tzinfo=None) == midnight:
        return latest
    # Midnight lies in a gap. With the offset before the gap it reads too late, with the one after it too early;
    # the calendar changes once in between.
    earliest = midnight.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while latest - earliest > SECOND:
        middle = earliest + (latest - earliest) // 2
        if local_day(middle, zone) >= day:
            latest = middle
        else:
            earliest = middle
    return latest.replace(microsecond=0)


def age_on(birth_date: date, day: date) -> int:
    """Whole years. Who was born on 29 February is a year older on 1 March of a year without one."""
    return day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))
