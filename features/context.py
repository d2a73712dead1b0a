"""Step channels beside the features: time since the last step, place in the school year, and who the student is."""

from dataclasses import dataclass
from math import log1p

import numpy as np

from edupulse_ml.core.records import EnrollmentEvents
from edupulse_ml.core.sequences import WEEKS_PER_SCHOOL_YEAR
from edupulse_ml.core.weeks import NEVER
from features.facts import spread, versions_of
from features.ragged import Floats, Intervals, Ints, merge_intervals
from features.school_weeks import DAYS
from features.steps import Steps

DAYS_PER_SCHOOL_YEAR = 180
MIDYEAR_ENTRY_DAYS = 20
_DAYS_PER_YEAR = 365.25
_AGE_AT_GRADE_0 = 5
_MONTHS_TO_SEPTEMBER = 8


@dataclass(frozen=True)
class StepChannels:
    """Columns of shape [R], in the order of `contract.AUX_COLUMNS` and `contract.CONTEXT_COLUMNS`."""

    aux: list[Floats]
    context: list[Floats]


def step_channels(enrollments: EnrollmentEvents, birth_day: np.ndarray, steps: Steps) -> StepChannels:
    """Aux and context columns."""
    year = steps.at.school_year
    first_day = steps.weeks.first_session_day(steps.at.school, year)
    week_of_year = np.maximum(steps.at.week_index - steps.weeks.week_index(first_day), 0) + 1
    days_ytd = steps.day_offset[1:] - steps.day_offset.take(steps.year_start)
    return StepChannels(
        aux=[_weeks_since_step(steps), week_of_year / WEEKS_PER_SCHOOL_YEAR, days_ytd / DAYS_PER_SCHOOL_YEAR],
        context=[
            steps.at.grade_level.astype(np.float64),
            _over_age_years(birth_day.astype(np.int64).take(steps.at.student), steps),
            _entered_midyear(steps),
            _schools_attended(enrollments, steps).astype(np.float64),
        ],
    )


def _weeks_since_step(steps: Steps) -> Floats:
    weeks = np.diff(steps.at.week_index, prepend=0)
    weeks[steps.rows == steps.first_row] = 0
    table = np.array([log1p(count) for count in range(int(weeks.max()) + 1)])
    return table.take(weeks)


def _over_age_years(birth_day: Ints, steps: Steps) -> Floats:
    months = (steps.at.school_year - 1970) * 12 + _MONTHS_TO_SEPTEMBER
    first_of_september = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    age = (first_of_september - birth_day) / _DAYS_PER_YEAR
    return np.where(birth_day == NEVER, np.nan, age - (_AGE_AT_GRADE_0 + steps.at.grade_level))


def _entered_midyear(steps: Steps) -> Floats:
    """1 where the year's first enrolment was entered more than 20 days of school after the school's year began."""
    opening = steps.run_start
    school = steps.at.entry_school[opening]
    weeks = steps.weeks
    first_day = weeks.first_session_day(school, steps.at.school_year[opening])
    limit = DAYS * weeks.n_weeks
    begun, entered = (
        weeks.day_in_session[school, np.clip(day - weeks.first_day, 0, limit)]
        for day in (first_day, steps.at.entry_day[opening])
    )
    return (entered - begun > MIDYEAR_ENTRY_DAYS).astype(np.float64).take(steps.year_run)


def _schools_attended(enrollments: EnrollmentEvents, steps: Steps) -> Ints:
    versions = versions_of(
        steps, student=enrollments.student, known_day=enrollments.known_day, superseded_day=enrollments.superseded_day
    )
    start = np.maximum(versions.known, steps.at_or_after(versions.cell, enrollments.entry_day))
    counts = start < versions.stop
    n_schools = int(enrollments.school.max(initial=0)) + 1
    key = versions.student * n_schools + enrollments.school
    known = merge_intervals(Intervals(key[counts], start[counts], versions.stop[counts]))
    return spread(known.start, known.stop, np.ones(len(known.key), dtype=np.int64), n_rows=steps.n_rows)
