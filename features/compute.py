"""The one definition of the features: dated records in, weekly feature arrays out.

Training, scoring and serving all call `compute_features`, for one student or a hundred thousand.
"""

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES, SUPPORT_COLUMNS
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD, FeatureBlock
from features.assignments import assignment_features
from features.attendance import AttendanceBlock, attendance_features
from features.context import step_channels
from features.courses import course_features
from features.discipline import discipline_features
from features.grade_versions import grade_versions
from features.options import FeatureOptions
from features.ragged import Bools, Floats, Ints
from features.steps import Steps, build_steps
from features.transcripts import transcript_features

__all__ = ["FeatureOptions", "NotAMondayError", "compute_features"]

DEFAULT_OPTIONS = FeatureOptions()
_A_MONDAY = 4


class NotAMondayError(InvalidInputError):
    """A week was not named by its Monday."""

    title = "Not a Monday"


def compute_features(
    records: RecordSet, *, through_week: int, options: FeatureOptions = DEFAULT_OPTIONS
) -> FeatureBlock:
    """Features of every step of every student up to and including `through_week` (a Monday's day number).

    Row (n, s) uses exactly the versions of records known at the cutoff of `week[n, s]`: records that come or change
    later alter no earlier row. Students do not influence each other. At least one column, so that a block of students
    without any step is one column of padding.

    Raises:
        NotAMondayError: `through_week` is no Monday.
    """
    if (through_week - _A_MONDAY) % 7:
        msg = f"through_week is day {through_week}, which is no Monday: pass the day number of the week's Monday."
        raise NotAMondayError(msg)
    steps = build_steps(records, through_week=through_week, options=options)
    if not steps.n_rows:
        return _empty_block(records.n_students)
    attendance = attendance_features(records.attendance, steps)
    course, course_is_known, items_due = _course_columns(records, steps, options)
    discipline = discipline_features(records.discipline, steps, options)
    channels = step_channels(records.enrollments, records.birth_day, steps)
    layout = _Layout(steps)
    return FeatureBlock(
        week=layout.padded_ints(steps.week),
        values=layout.padded_floats([*attendance.features, *course, *discipline.features]),
        support=layout.padded_floats(_support(attendance, items_due)),
        mask=layout.padded_bools([attendance.is_known, course_is_known, discipline.is_known]),
        aux=layout.padded_floats(channels.aux),
        context=layout.padded_floats(channels.context),
        school=layout.padded_ints(steps.weeks.schools[steps.at.school]),
        grade_level=layout.padded_ints(steps.at.grade_level),
        school_year=layout.padded_ints(steps.at.school_year),
    )


def _course_columns(records: RecordSet, steps: Steps, options: FeatureOptions) -> tuple[list[Floats], Bools, Ints]:
    """G1 to G15, whether anything of the last 8 steps is known, and the items due in 4 steps."""
    grades = grade_versions(records.grades, steps)
    work = assignment_features(grades, steps)
    courses = course_features(records.grades, grades, steps, options)
    closed = transcript_features(
        records.transcript, records.calendars, steps, gpa_term=courses.gpa_term, options=options
    )
    is_known = work.is_known | closed.is_known
    columns = [
        courses.gpa,
        closed.cumulative_gpa,
        courses.gpa - closed.prior_term_gpa,
        courses.average_trend,
        courses.failing,
        courses.core_failing,
        courses.math_average,
        courses.ela_average,
        work.missing_rate,
        work.late_rate,
        work.score_mean,
        work.score_sd,
        closed.credits_ratio,
        np.where(is_known | closed.has_results, closed.core_f_count, np.nan),
        work.weeks_since_submission,
    ]
    return columns, is_known, work.items_due_4wk


def _support(attendance: AttendanceBlock, items_due_4wk: Ints) -> list[Floats]:
    columns = {
        "days_enrolled_4wk": attendance.days_enrolled_4wk,
        "days_enrolled_ytd": attendance.days_enrolled_ytd,
        "days_present_4wk": attendance.days_present_4wk,
        "items_due_4wk": items_due_4wk,
        "mon_fri_prebreak_expected_share": attendance.expected_share,
    }
    return [columns[name] for name in SUPPORT_COLUMNS]


class _Layout:
    """From R flat rows to arrays [N, S, ...] with padding."""

    def __init__(self, steps: Steps) -> None:
        per_student = np.diff(steps.offset)
        self._shape = (steps.n_students, int(per_student.max()))
        self._target = steps.at.student * self._shape[1] + steps.rows - steps.first_row

    def padded_ints(self, column: Ints) -> np.ndarray:
        out = np.full(self._shape, PAD, dtype=np.int32)
        out.reshape(-1)[self._target] = column
        return out

    def padded_floats(self, columns: list[Floats]) -> np.ndarray:
        return self._padded(columns, fill=np.nan, dtype=np.float32)

    def padded_bools(self, columns: list[Bools]) -> np.ndarray:
        return self._padded(columns, fill=False, dtype=np.bool_)

    def _padded(self, columns: list, *, fill: object, dtype: type[np.generic]) -> np.ndarray:
        rows = np.empty((len(columns), len(self._target)), dtype=dtype)
        for position, column in enumerate(columns):
            rows[position] = column
        if len(self._target) == self._shape[0] * self._shape[1]:
            return np.ascontiguousarray(rows.T).reshape(*self._shape, len(columns))
        out = np.full((self._shape[0] * self._shape[1], len(columns)), fill, dtype=dtype)
        out[self._target] = rows.T
        return out.reshape(*self._shape, len(columns))


def _empty_block(n_students: int) -> FeatureBlock:
    def floats(width: int) -> np.ndarray:
        return np.full((n_students, 1, width), np.nan, dtype=np.float32)

    padding = np.full((n_students, 1), PAD, dtype=np.int32)
    return FeatureBlock(
        week=padding,
        values=floats(len(FEATURES)),
        support=floats(len(SUPPORT_COLUMNS)),
        mask=np.zeros((n_students, 1, len(MODALITIES)), dtype=np.bool_),
        aux=floats(len(AUX_COLUMNS)),
        context=floats(len(CONTEXT_COLUMNS)),
        school=padding.copy(),
        grade_level=padding.copy(),
        school_year=padding.copy(),
    )
