"""The features, computed slowly: every student, every week, every definition read off the catalogue.

Written apart from `features/` and sharing nothing with it. For each week the versions known at its cutoff are picked
with pandas; everything after that is plain Python on lists of rows, with exact fractions where thresholds matter.
"""

from dataclasses import fields

import numpy as np
import pandas as pd

from edupulse_ml.core.contract import FEATURE_NAMES, SUPPORT_COLUMNS
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD, FeatureBlock
from features.options import FeatureOptions
from tests.fakes.oracle_attendance import Attendance
from tests.fakes.oracle_course import Course
from tests.fakes.oracle_discipline import Discipline
from tests.fakes.oracle_enrollment import Enrollment
from tests.fakes.oracle_numbers import NAN
from tests.fakes.oracle_student import Calendar, Student


def frame(events):
    return pd.DataFrame({f.name: getattr(events, f.name) for f in fields(events)})


def step_features(student, i):
    """All channels of one step, by name."""
    enrollment, work = Enrollment(student, i), Course(student, i)
    attendance, support, has_attendance = Attendance(student, i).features(work.items_due_4wk())
    course, has_course = work.features()
    discipline, has_discipline = Discipline(student, i).features()
    values = {**attendance, **course, **discipline}
    unknown = set(values) - set(FEATURE_NAMES)
    assert not unknown, unknown
    return {
        "values": [float(values.get(name, NAN)) for name in FEATURE_NAMES],
        "support": [float(support[name]) for name in SUPPORT_COLUMNS],
        "mask": [has_attendance, has_course, has_discipline],
        "aux": enrollment.aux(),
        "context": enrollment.context(),
        "week": enrollment.week,
        "school": enrollment.step["school"],
        "grade_level": enrollment.step["grade"],
        "school_year": enrollment.step["year"],
    }


def oracle_features(records: RecordSet, *, through_week: int, options: FeatureOptions) -> FeatureBlock:
    """What `features.compute.compute_features` should return."""
    tables = {
        name: frame(getattr(records, name))
        for name in ("attendance", "grades", "transcript", "discipline", "enrollments")
    }
    calendar = Calendar(records.calendars)
    rows = [
        [step_features(student, i) for i in range(len(student.steps))]
        for student in (Student(records, n, through_week, options, tables, calendar) for n in range(records.n_students))
    ]
    length = max((len(r) for r in rows), default=0) or 1

    def stacked(name, width, fill, dtype):
        out = np.full((records.n_students, length, *width), fill, dtype=dtype)
        for n, student_rows in enumerate(rows):
            for i, row in enumerate(student_rows):
                out[n, i] = row[name]
        return out

    return FeatureBlock(
        week=stacked("week", (), PAD, np.int32),
        values=stacked("values", (42,), np.nan, np.float32),
        support=stacked("support", (5,), np.nan, np.float32),
        mask=stacked("mask", (3,), False, bool),
        aux=stacked("aux", (3,), np.nan, np.float32),
        context=stacked("context", (4,), np.nan, np.float32),
        school=stacked("school", (), PAD, np.int32),
        grade_level=stacked("grade_level", (), PAD, np.int32),
        school_year=stacked("school_year", (), PAD, np.int32),
    )
