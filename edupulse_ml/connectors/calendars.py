"""Calendar rows -> dense school calendars."""

from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.connectors.arrays import day_numbers, flags, reference_codes
from edupulse_ml.core.records import Int32, SchoolCalendars

_DAYS_PER_WEEK: Final = 7
_EPOCH_WEEKDAY: Final = 3  # day number 0 was a Thursday

D = TypeVar("D", bound=np.generic)


def dense_calendars(
    schools: pa.Table, calendar: pa.Table, *, school_ids: pa.Array, term_ids: pa.Array
) -> SchoolCalendars:
    """Calendars of `school_ids` [S], in that order, from the first calendar row's Monday to the last row's day. Terms
    are coded by their position in `term_ids`.
    """
    day = day_numbers(calendar["date"])
    first = int(day.min()) if len(day) else 0
    first -= (first + _EPOCH_WEEKDAY) % _DAYS_PER_WEEK
    shape = (len(school_ids), int(day.max()) - first + 1 if len(day) else 0)
    at = (reference_codes(calendar["school_id"], school_ids, what="school"), day - first)
    term = reference_codes(calendar["term_id"], term_ids, what="term")
    year = calendar["school_year"].to_numpy().astype(np.int32)
    takes_tardies = np.zeros(len(school_ids), dtype=np.bool_)
    takes_tardies[reference_codes(schools["school_id"], school_ids, what="school")] = flags(schools["records_tardies"])
    return SchoolCalendars(
        first_day=first,
        is_instructional=_spread(np.zeros(shape, dtype=np.bool_), at, flags(calendar["is_instructional"])),
        term=_spread(np.full(shape, -1, dtype=np.int32), at, term),
        school_year=_spread(np.full(shape, -1, dtype=np.int32), at, year),
        discipline_reported=_spread(np.zeros(shape, dtype=np.bool_), at, flags(calendar["discipline_reported"])),
        records_tardies=takes_tardies,
    )


def _spread(empty: NDArray[D], at: tuple[Int32, Int32], values: NDArray[D]) -> NDArray[D]:
    empty[at] = values
    return empty
