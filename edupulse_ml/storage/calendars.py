"""Calendar rows as dense arrays over the district's schools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.records import SchoolCalendars
from edupulse_ml.core.weeks import week_of_days

_SOME_MONDAY: Final = 4
ToPositions = Callable[[NDArray[Any]], NDArray[np.int32]]


@dataclass(frozen=True)
class School:
    """A school as the store numbers it."""

    school_key: int
    records_tardies: bool


def school_positions(schools: Sequence[School]) -> ToPositions:
    """Turns school keys into positions in `schools`, which must be in the order of their keys."""
    keys = np.array([school.school_key for school in schools], dtype=np.int64)
    return lambda school_keys: np.searchsorted(keys, school_keys).astype(np.int32)


def assemble_calendars(
    rows: Mapping[str, NDArray[Any]], schools: Sequence[School], *, term_positions: ToPositions
) -> SchoolCalendars:
    """Dense calendars from the columns school, day, is_instructional, term, school_year and discipline_reported.

    Days without a row are not instructional, and -1 in `term` and `school_year`.
    """
    n_schools = len(schools)
    first_day, n_days = _SOME_MONDAY, 0
    if rows:
        first_day = int(week_of_days(np.array([rows["day"].min()], dtype=np.int32))[0])
        n_days = int(rows["day"].max()) - first_day + 1
    is_instructional = np.zeros((n_schools, n_days), dtype=np.bool_)
    discipline_reported = np.zeros((n_schools, n_days), dtype=np.bool_)
    term = np.full((n_schools, n_days), -1, dtype=np.int32)
    school_year = np.full((n_schools, n_days), -1, dtype=np.int32)
    if rows:
        at = (school_positions(schools)(rows["school"]), rows["day"] - first_day)
        is_instructional[at] = rows["is_instructional"]
        discipline_reported[at] = rows["discipline_reported"]
        term[at] = term_positions(rows["term"])
        school_year[at] = rows["school_year"]
    return SchoolCalendars(
        first_day=first_day,
        is_instructional=is_instructional,
        term=term,
        school_year=school_year,
        discipline_reported=discipline_reported,
        records_tardies=np.array([school.records_tardies for school in schools], dtype=np.bool_),
    )
