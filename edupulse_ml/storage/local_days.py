"""Moments of the store as days of the district's calendar, for whole arrays."""

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.weeks import NEVER, day_from_number

_INFINITY: Final = np.iinfo(np.int64).max
_DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = 10_957
"""PostgreSQL counts microseconds from 2000-01-01 UTC, which is this day number."""


class LocalDays:
    """Turns moments into district-local day numbers; remembers where the days begin."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._first_day = 0
        self._starts: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __call__(self, moments: NDArray[np.int64]) -> NDArray[np.int32]:
        """Day number of each moment (microseconds since 2000-01-01 UTC); `NEVER` for PostgreSQL's `infinity`."""
        is_finite = moments != _INFINITY
        finite = moments[is_finite]
        days = np.full(len(moments), NEVER, dtype=np.int32)
        if len(finite):
            self._cover(int(finite.min()), int(finite.max()))
            days[is_finite] = np.searchsorted(self._starts, finite, side="right") - 1 + self._first_day
        return days

    def _cover(self, earliest: int, latest: int) -> None:
        """Know the beginnings of all days from before `earliest` to after `latest`."""
        first, last = (value // _DAY_US + _EPOCH_DAY + margin for value, margin in ((earliest, -2), (latest, 3)))
        known_last = self._first_day + len(self._starts) - 1
        if len(self._starts) and self._first_day <= first and known_last >= last:
            return
        if len(self._starts):
            first, last = min(first, self._first_day), max(last, known_last)
        self._starts = np.array([self._start_of(day) for day in range(first, last + 1)], dtype=np.int64)
        self._first_day = first

    def _start_of(self, number: int) -> int:
        day = day_from_number(number)
        start = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return (start - _EPOCH) // timedelta(microseconds=1)
