"""Days and weeks as integers.

A *day* is the number of days since 1970-01-01 (int32 in arrays). A *week* is named by the day number of its
Monday. The cutoff of a week is its Sunday, 23:59:59 district-local time: something is known at that cutoff if it
was recorded, in local time, on a day of that week or earlier. Moments are therefore turned into local days where
they enter (`local_day`), and all later arithmetic is on whole days.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

NEVER: Final = 2**31 - 1
"""Day number that stands for "has not happened": an open enrolment, a row that was never superseded."""

_EPOCH: Final = date(1970, 1, 1)
_EPOCH_MONDAY_OFFSET: Final = 3  # 1970-01-01 was a Thursday


def day_number(day: date) -> int:
    """Days from 1970-01-01 to `day`."""
    return (day - _EPOCH).days


def day_from_number(number: int) -> date:
    """The date of a day number; inverse of `day_number`."""
    return _EPOCH + timedelta(days=int(number))


def monday_of(day: date) -> date:
    """The Monday of the ISO week that holds `day`."""
    return day - timedelta(days=day.weekday())


def week_of_days(days: NDArray[np.int32]) -> NDArray[np.int32]:
    """Week (Monday's day number) of each day; `NEVER` stays `NEVER`."""
    wide = days.astype(np.int64)
    monday = wide - (wide + _EPOCH_MONDAY_OFFSET) % 7
    return np.where(days == NEVER, NEVER, monday).astype(np.int32)


def local_day(moment: datetime, zone: ZoneInfo) -> int:
    """Day number, in the district's zone, on which `moment` falls.

    Raises:
        ValueError: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        msg = "a moment needs a time zone"
        raise ValueError(msg)
    return day_number(moment.astimezone(zone).date())


def last_closed_week(moment: datetime, zone: ZoneInfo) -> int:
    """The latest week whose cutoff (Sunday 23:59:59 local) is at or before `moment`."""
    # A second later, the cutoff itself falls on the Monday after.
    week_ago = local_day(moment + timedelta(seconds=1), zone) - 7
    return week_ago - (week_ago + _EPOCH_MONDAY_OFFSET) % 7


def cutoff_of(week: int, zone: ZoneInfo) -> datetime:
    """The moment (UTC) at which a week closes: its Sunday, 23:59:59 in the district's zone."""
    sunday = day_from_number(week + 6)
    return datetime(sunday.year, sunday.month, sunday.day, 23, 59, 59, tzinfo=zone).astimezone(UTC)
