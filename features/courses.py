"""Course features G1 and G4 to G8: grade points, failing courses and the trend of the running course averages."""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import GradeEvents
from edupulse_ml.core.tables import SUBJECTS
from features.grade_trend import course_average_trend
from features.grade_versions import GradeVersions
from features.options import FeatureOptions
from features.ragged import Bools, Floats, Ints, ratio
from features.running_averages import AVERAGE_UNIT, Cells, Courses, Scores, cells_of, course_scores, term_spans
from features.steps import Steps

GRADE_POINT_UNIT = 1000
MIN_COURSES = 2
MIN_ITEMS_PER_COURSE = 2
_MATH, _ELA = SUBJECTS.index("math"), SUBJECTS.index("ela")


@dataclass(frozen=True)
class CourseBlock:
    """Columns of shape [R]. `gpa_term` is the term that the GPA and the failing courses are of, -1 where none."""

    gpa: Floats
    average_trend: Floats
    failing: Floats
    core_failing: Floats
    math_average: Floats
    ela_average: Floats
    gpa_term: Ints


def course_features(events: GradeEvents, grades: GradeVersions, steps: Steps, options: FeatureOptions) -> CourseBlock:
    """All columns that are made of running course averages."""
    courses, scores = course_scores(events, grades, district_posts_zeros=options.district_posts_zeros)
    first_row, stop_row = term_spans(courses, steps)
    cells = cells_of(scores, first_row=first_row, stop_row=stop_row)
    is_current = steps.at.term[cells.row] == courses.term[cells.course]
    averages = cells.average
    exists = is_current & (cells.points > 0)
    standing = _standing(cells, courses, averages, exists, steps, options)
    gpa_term = np.where(standing.is_settled, steps.at.term, -1)
    _carry(standing, gpa_term, courses, scores, steps, options)
    settled = standing.is_settled
    subject = courses.subject[cells.course]
    return CourseBlock(
        gpa=np.where(settled, ratio(standing.grade_points, standing.n_courses * GRADE_POINT_UNIT), np.nan),
        average_trend=course_average_trend(cells, courses, scores, exists, steps),
        failing=np.where(settled, standing.failing, np.nan),
        core_failing=np.where(settled, standing.core_failing, np.nan),
        math_average=_lowest(averages, cells.row, exists & (subject == _MATH), steps),
        ela_average=_lowest(averages, cells.row, exists & (subject == _ELA), steps),
        gpa_term=gpa_term,
    )


@dataclass(frozen=True)
class _Standing:
    """Per row, over the courses of one term. `is_settled`: at least 2 courses have at least 2 posted items."""

    n_courses: Ints
    grade_points: Ints
    failing: Ints
    core_failing: Ints
    is_settled: Bools


def _standing(
    cells: Cells, courses: Courses, averages: Ints, exists: Bools, steps: Steps, options: FeatureOptions
) -> _Standing:
    chosen = np.flatnonzero(exists)
    row, average = cells.row[chosen], averages[chosen]
    is_failing = average < round(options.passing_pct * AVERAGE_UNIT)
    is_core = courses.is_core[cells.course[chosen]]

    def count(weight: Ints | Bools) -> Ints:
        return np.bincount(row, weights=weight, minlength=steps.n_rows).astype(np.int64)

    return _Standing(
        n_courses=np.bincount(row, minlength=steps.n_rows),
        grade_points=count(grade_points(average, unit=AVERAGE_UNIT, options=options)),
        failing=count(is_failing),
        core_failing=count(is_failing & is_core),
        is_settled=count(cells.count[chosen] >= MIN_ITEMS_PER_COURSE) >= MIN_COURSES,
    )


def grade_points(percent: Ints, *, unit: int, options: FeatureOptions) -> Ints:
    """Grade points in thousandths, of percentages given in `1 / unit`."""
    rising = options.grade_point_cutoffs[::-1]
    lines = np.array([round(line * unit) for line, _ in rising])
    points = np.array([0] + [round(value * GRADE_POINT_UNIT) for _, value in rising])
    return points[np.searchsorted(lines, percent, side="right")]


def _carry(
    standing: _Standing, gpa_term: Ints, courses: Courses, scores: Scores, steps: Steps, options: FeatureOptions
) -> None:
    """Fill unsettled rows from the latest earlier term of the school year that is settled as known at that row."""
    run_start = np.flatnonzero(steps.opens_term)
    waiting = np.flatnonzero(~standing.is_settled)
    looked_at = steps.term_run[waiting]
    while True:
        has_earlier = ~steps.opens_year[run_start[looked_at]]
        waiting, looked_at = waiting[has_earlier], looked_at[has_earlier] - 1
        if not len(waiting):
            return
        term = steps.at.term[run_start[looked_at]]
        carried = _standing_at(waiting, term, courses, scores, steps, options)
        filled = waiting[carried.is_settled[waiting]]
        for name in ("n_courses", "grade_points", "failing", "core_failing", "is_settled"):
            getattr(standing, name)[filled] = getattr(carried, name)[filled]
        gpa_term[filled] = term[carried.is_settled[waiting]]
        open_still = ~carried.is_settled[waiting]
        waiting, looked_at = waiting[open_still], looked_at[open_still]


def _standing_at(
    rows: Ints, term: Ints, courses: Courses, scores: Scores, steps: Steps, options: FeatureOptions
) -> _Standing:
    """The standing in `term` as known at each of `rows`, rising; all other rows are unsettled."""
    n_terms = int(max(courses.term.max(initial=0), term.max())) + 1
    key = np.where(term >= 0, steps.at.student[rows] * n_terms + term, -1)
    order = np.argsort(key, kind="stable")
    wanted = courses.student * n_terms + courses.term
    low = np.searchsorted(key[order], wanted, side="left")
    high = np.searchsorted(key[order], wanted, side="right")
    asked = low < high
    ordered = np.append(rows[order], 0)
    first_row = np.where(asked, ordered[low], 0)
    stop_row = np.where(asked, ordered[np.maximum(high - 1, 0)] + 1, 0)
    cells = cells_of(scores, first_row=first_row, stop_row=stop_row)
    term_of_row = np.full(steps.n_rows, -1, dtype=np.int64)
    term_of_row[rows] = term
    exists = (term_of_row[cells.row] == courses.term[cells.course]) & (cells.points > 0)
    return _standing(cells, courses, cells.average, exists, steps, options)


def _lowest(averages: Ints, row: Ints, chosen: Bools, steps: Steps) -> Floats:
    none = np.iinfo(np.int64).max
    lowest = np.full(steps.n_rows, none, dtype=np.int64)
    np.minimum.at(lowest, row[chosen], averages[chosen])
    return np.where(lowest < none, lowest / AVERAGE_UNIT, np.nan)
