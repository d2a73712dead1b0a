"""Days, weeks and cutoffs."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edupulse_ml.core.weeks import (
    NEVER,
    cutoff_of,
    day_from_number,
    day_number,
    last_closed_week,
    local_day,
    monday_of,
    week_of_days,
)

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = day_number(date(2026, 11, 16))


def test_a_week_is_named_by_its_monday_also_over_new_year_and_before_1970() -> None:
    for text in ("2026-11-16", "2026-11-22", "2027-01-01", "1969-12-31", "1970-01-01"):
        day = date.fromisoformat(text)
        (week,) = week_of_days(np.array([day_number(day)], np.int32))
        assert day_from_number(int(week)) == monday_of(day)
    assert week_of_days(np.array([NEVER], np.int32))[0] == NEVER


def test_a_week_is_closed_from_its_cutoff_on() -> None:
    cutoff = cutoff_of(MONDAY, NEW_YORK)
    assert cutoff == datetime(2026, 11, 23, 4, 59, 59, tzinfo=UTC)
    assert last_closed_week(cutoff, NEW_YORK) == MONDAY
    assert last_closed_week(cutoff - timedelta(seconds=1), NEW_YORK) == MONDAY - 7
    assert last_closed_week(cutoff + timedelta(days=6), NEW_YORK) == MONDAY


def test_a_local_day_needs_a_zone() -> None:
    assert local_day(datetime(2026, 11, 23, 3, tzinfo=UTC), NEW_YORK) == day_number(date(2026, 11, 22))
    with pytest.raises(ValueError, match="time zone"):
        local_day(datetime(2026, 11, 23, 3), NEW_YORK)  # noqa: DTZ001 - the point of the test
