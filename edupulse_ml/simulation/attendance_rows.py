"""Rows of `attendance_records`: late entries, miscoded days and their corrections included."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.core.tables import ATTENDANCE, ATTENDANCE_STATUSES
from edupulse_ml.simulation.arrow_tables import (
    AFTERNOON,
    MORNING,
    at,
    canonical,
    dates,
    known_by,
    moments,
    names,
    numbers,
)
from edupulse_ml.simulation.attendance_process import EXCUSED, PRESENT, SUSPENDED, TARDY, UNEXCUSED
from edupulse_ml.simulation.calibration import MOVEMENT
from edupulse_ml.simulation.population import People, Schools, student_ids
from edupulse_ml.simulation.trajectories import NOT_ENROLLED, PERIODS_PER_DAY, Trajectory

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_MISTAKEN_FOR = np.array([UNEXCUSED, UNEXCUSED, PRESENT, PRESENT, SUSPENDED, PRESENT])
"""What a clerk writes instead of each status; a suspension is never mistaken."""


def attendance_rows(
    rng: np.random.Generator, people: People, trajectory: Trajectory, *, schools: Schools, last_day: int | None
) -> pa.Table:
    """One row per student-day on the roll, and a second one for each day whose first code was wrong."""
    person, week, weekday = np.nonzero(trajectory.status != NOT_ENROLLED)
    status = trajectory.status[person, week, weekday].astype(np.int64)
    missed = trajectory.periods_absent[person, week, weekday].astype(np.float64)
    school = trajectory.school[person, week]
    status = np.where((status == TARDY) & ~schools.records_tardies[school], PRESENT, status)
    day = trajectory.monday[week].astype(np.int64) + weekday
    n = len(day)
    lag = np.where(rng.random(n) < MOVEMENT.late_posting, rng.integers(1, 6, n), 0)
    entered = at(day + lag, np.where(lag > 0, MORNING, AFTERNOON))
    wrong = (rng.random(n) < MOVEMENT.miscoded_day) & (status != SUSPENDED)
    until_mended = np.where(rng.random(n) < 0.8, rng.integers(1, 15, n), rng.integers(30, 61, n))
    periods = np.where(schools.has_periods[school], missed, np.nan)

    def rows(keep: Bool | slice, code: Int, known: Int) -> pa.Table:
        taken = code[keep]
        is_absent = np.isin(taken, (EXCUSED, UNEXCUSED, SUSPENDED))
        was_absent = np.isin(status[keep], (EXCUSED, UNEXCUSED, SUSPENDED))
        counted = np.where(is_absent, PERIODS_PER_DAY, np.where(was_absent, 0.0, periods[keep]))
        counted = np.where(np.isnan(periods[keep]), np.nan, counted)
        return canonical(
            ATTENDANCE,
            {
                "student_id": names(person[keep], student_ids(people)),
                "date": dates(day[keep]),
                "status": names(taken, ATTENDANCE_STATUSES),
                "fraction_absent": is_absent.astype(np.float64),
                "periods_absent": numbers(counted),
                "periods_scheduled": numbers(np.where(np.isnan(counted), np.nan, float(PERIODS_PER_DAY))),
                "recorded_at": moments(known[keep]),
            },
        )

    first = rows(slice(None), np.where(wrong, _MISTAKEN_FOR[status], status), entered)
    corrections = rows(wrong, status, at(day + lag + until_mended, AFTERNOON))
    return known_by(pa.concat_tables([first, corrections]), last_day=last_day)
