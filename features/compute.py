"""The one definition of the features: dated records in, weekly feature arrays out.

Training, scoring and serving all call `compute_features`, for one student or a hundred thousand.
"""

import numpy as np

from edupulse_ml.core.contract import SUPPORT_COLUMNS
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import FeatureBlock
from features.assignments import assignment_features
from features.attendance import AttendanceBlock, attendance_features
from features.batches import batches_of
from features.context import step_channels
from features.courses import course_features
from features.discipline import discipline_features
from features.enrolled_weeks import build_steps
from features.grade_versions import grade_versions
from features.layout import Columns, first_steps, new_block, write_padding, write_rows
from features.memory import keep_freed_memory
from features.options import FeatureOptions
from features.ragged import Bools, Floats, Ints
from features.school_weeks import weeks_of_schools
from features.steps import Steps
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
    keep_freed_memory()
    weeks = weeks_of_schools(records, pre_break_min_weekdays=options.pre_break_min_weekdays)
    block = new_block(records.n_students, n_steps=max(weeks.n_open_weeks(through_week=through_week), 1))
    longest, first_student = 1, 0
    for batch in batches_of(records):
        students = slice(first_student, first_student + batch.n_students)
        steps = build_steps(batch, weeks, through_week=through_week)
        if steps.n_rows:
            longest = max(longest, int(np.diff(steps.offset).max()))
            write_rows(block, students, steps, _columns(batch, steps, options))
        else:
            write_padding(block, students)
        first_student = students.stop
    return first_steps(block, n_steps=longest)


def _columns(records: RecordSet, steps: Steps, options: FeatureOptions) -> Columns:
    attendance = attendance_features(records.attendance, steps)
    course, course_is_known, items_due = _course_columns(records, steps, options)
    discipline = discipline_features(records.discipline, steps, options)
    channels = step_channels(records.enrollments, records.birth_day, steps)
    return Columns(
        values=[*attendance.features, *course, *discipline.features],
        support=_support(attendance, items_due),
        mask=[attendance.is_known, course_is_known, discipline.is_known],
        aux=channels.aux,
        context=channels.context,
    )


def _course_columns(records: RecordSet, steps: Steps, options: FeatureOptions) -> tuple[list[Floats], Bools, Ints]:
    """G1 to G15, whether anything of the last 8 steps is known, and the items due in 4 steps."""
    grades = grade_versions(records.grades, steps)
    work = assignment_features(grades, steps)
    courses = course_features(records.grades, grades, steps, options)
    closed = transcript_features(records.transcript, steps, gpa_term=courses.gpa_term, options=options)
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
