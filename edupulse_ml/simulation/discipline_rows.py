"""Rows of `discipline_incidents`."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.core.tables import DISCIPLINE, DISCIPLINE_ACTIONS
from edupulse_ml.simulation.arrow_tables import AFTERNOON, at, canonical, dates, known_by, moments, names
from edupulse_ml.simulation.discipline_process import BEHAVIOUR_CODES
from edupulse_ml.simulation.population import People, student_ids
from edupulse_ml.simulation.school_calendar import DistrictCalendar
from edupulse_ml.simulation.trajectories import Trajectory

Int = NDArray[np.int64]


def discipline_rows(
    rng: np.random.Generator,
    people: People,
    trajectory: Trajectory,
    *,
    calendar: DistrictCalendar,
    last_day: int | None,
) -> pa.Table:
    """One row per referral that a school reported. Exclusions start on the next day of school."""
    incidents = trajectory.incidents
    silent = calendar.silent
    unreported = (incidents.school == silent.school) & (incidents.day >= silent.first_day)
    unreported &= incidents.day <= silent.last_day
    kept = np.flatnonzero(~unreported)
    kept = kept[np.lexsort((kept, incidents.day[kept], incidents.person[kept]))]
    person, day = incidents.person[kept], incidents.day[kept]
    lag = np.minimum(rng.geometric(0.55, len(kept)) - 1, 8)
    starts = _next_day_of_school(calendar, school=incidents.school[kept], day=day)
    starts = np.where(incidents.action_days[kept] > 0, starts, -1)
    prefix = f"{people.home_school + 1:02d}"
    ids = [f"R{prefix}{number:06d}" for number in range(1, len(kept) + 1)]
    rows = canonical(
        DISCIPLINE,
        {
            "student_id": names(person, student_ids(people)),
            "incident_id": pa.array(ids, type=pa.string()),
            "incident_date": dates(day),
            "behavior_code": names(incidents.behaviour[kept], BEHAVIOUR_CODES),
            "is_objective": incidents.is_objective[kept],
            "severity": incidents.severity[kept],
            "is_major": incidents.is_major[kept],
            "action": names(incidents.action[kept], DISCIPLINE_ACTIONS),
            "action_start": dates(starts),
            "action_days": pa.array(incidents.action_days[kept].astype(np.float64), mask=starts < 0),
            "recorded_at": moments(at(day + lag, AFTERNOON)),
        },
    )
    return known_by(rows, last_day=last_day)


def _next_day_of_school(calendar: DistrictCalendar, *, school: Int, day: Int) -> Int:
    """The first day of school after each day, -1 where the year has no more."""
    result = np.full(len(day), -1, dtype=np.int64)
    for year in calendar.years:
        days = np.arange(year.first_day, year.last_day + 1, dtype=np.int64)
        within = (day >= year.first_day) & (day <= year.last_day)
        for index in np.unique(school[within]):
            chosen = np.flatnonzero(within & (school == index))
            open_days = days[year.instructional_on(days, school=int(index), last_day=None)]
            position = np.searchsorted(open_days, day[chosen], side="right")
            padded = np.append(open_days, -1)
            result[chosen] = padded[position]
    return result
