"""Local days: when they begin where clocks jump, and how old somebody is on one."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from chassis.decider import Rejected
from services.scheduling.domain.days import age_on, local_day, start_of_day, zone_named
from tests.reference.follow_up_calendar import first_second_of


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", date(2026, 3, 2)),
        ("America/New_York", date(2026, 3, 8)),  # The clock skips 02:00 to 03:00.
        ("America/New_York", date(2026, 11, 1)),  # It shows 01:00 to 02:00 twice.
        ("America/Santiago", date(2026, 9, 6)),  # It skips midnight.
        ("America/Santiago", date(2026, 4, 5)),  # It goes back at midnight, to the day before.
        ("Africa/Cairo", date(2026, 4, 24)),  # It skips midnight.
        ("Asia/Beirut", date(2026, 3, 29)),
        ("America/St_Johns", date(2006, 10, 29)),  # It went back one minute after midnight: two midnights.
        ("Pacific/Apia", date(2011, 12, 30)),  # The day was skipped whole.
        ("Asia/Kathmandu", date(2026, 7, 1)),  # 5 h 45 min ahead.
    ],
)
def test_a_day_begins_when_the_clock_on_the_wall_first_shows_it(zone: str, day: date) -> None:
    assert start_of_day(day, ZoneInfo(zone)) == first_second_of(day, zone)


def test_a_day_is_the_patients_own_not_the_servers() -> None:
    evening_in_new_york = datetime(2026, 3, 3, 3, 30, tzinfo=UTC)
    assert local_day(evening_in_new_york, ZoneInfo("America/New_York")) == date(2026, 3, 2)


def test_who_was_born_on_a_leap_day_is_thirty_on_the_first_of_march() -> None:
    born = date(1996, 2, 29)
    assert (age_on(born, date(2026, 2, 28)), age_on(born, date(2026, 3, 1))) == (29, 30)


@pytest.mark.parametrize("name", ["Europe/Nowhere", "", "../etc/passwd", "/etc/localtime", "America", "Ünder", "a\0b"])
def test_a_zone_that_is_none_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(Rejected, match="unknown_time_zone"):
        zone_named(name)
