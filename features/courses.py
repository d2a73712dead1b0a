"""Course features G1 and G4 to G8: grade points, failing courses and the trend of the running course averages."""

import math
from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import GradeEvents
from edupulse_ml.core.tables import SUBJECTS
from features.course_cells import Cells, cells_of, scores_for_later_rows
from features.grade_trend import CourseAverages, course_average_trend
from features.grade_versions import GradeVersions
from features.options import FeatureOptions
from features.ragged import Bools, Floats, Ints, positions, ratio
from features.running_averages import AVERAGE_UNIT, Courses, Scores, averages, course_scores
from features.steps import Steps

GRADE_POINT_UNIT = 1000
MIN_COURSES = 2
MIN_ITEMS_PER_COURSE = 2
_MAX_GRADE_BANDS = 10_000
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
    courses, scores = course_scores(
        events, grades, n_students=steps.n_students, district_posts_zeros=options.district_posts_zeros
    )
    cells = cells_of(courses, scores, steps, rows=steps.rows, term=steps.at.term)
    average = averages(cells.weighted, cells.points)
    exists = cells.points > 0
    standing = _standing(cells, courses, average, exists, options)
    own = standing.n_courses.copy()
    gpa_term = np.where(standing.is_settled, steps.at.term, -1)
    _carry(standing, gpa_term, _Gradebook(courses, scores, cells), steps, options)
    settled = standing.is_settled
    subject = cells.of_course(courses.subject.astype(np.int8))
    return CourseBlock(
        gpa=np.where(settled, ratio(standing.grade_points, standing.n_courses * GRADE_POINT_UNIT), np.nan),
        average_trend=course_average_trend(
            CourseAverages(cells, courses, scores, average, exists, n_courses=own), steps
        ),
        failing=np.where(settled, standing.failing, np.nan),
        core_failing=np.where(settled, standing.core_failing, np.nan),
        math_average=_lowest(cells, np.where(exists & (subject == _MATH), average, np.inf)),
        ela_average=_lowest(cells, np.where(exists & (subject == _ELA), average, np.inf)),
        gpa_term=gpa_term,
    )


def _lowest(cells: Cells, average: Floats) -> Floats:
    lowest = cells.least(average)
    return np.where(lowest < np.inf, lowest / AVERAGE_UNIT, np.nan)


@dataclass(frozen=True)
class _Standing:
    """Per row, over the courses of one term. `is_settled`: at least 2 courses have at least 2 posted items."""

    n_courses: Ints
    grade_points: Ints
    failing: Ints
    core_failing: Ints
    is_settled: Bools


def _standing(cells: Cells, courses: Courses, average: Floats, exists: Bools, options: FeatureOptions) -> _Standing:
    """Of each row that the cells were asked for."""
    is_failing = exists & (average < round(options.passing_pct * AVERAGE_UNIT))
    points = grade_points(average, unit=AVERAGE_UNIT, options=options)
    return _Standing(
        n_courses=cells.sum(exists),
        grade_points=cells.sum(points * exists),
        failing=cells.sum(is_failing),
        core_failing=cells.sum(is_failing & cells.of_course(courses.is_core)),
        is_settled=cells.sum(exists & (cells.count >= MIN_ITEMS_PER_COURSE)) >= MIN_COURSES,
    )


def grade_points(percent: Ints | Floats, *, unit: int, options: FeatureOptions) -> Ints:
    """Grade points in thousandths, of percentages given as whole numbers of `1 / unit`."""
    rising = options.grade_point_cutoffs[::-1]
    lines = [round(line * unit) for line, _ in rising]
    points = np.array([0] + [round(value * GRADE_POINT_UNIT) for _, value in rising])
    width = math.gcd(*lines)
    if lines[0] <= 0 or lines[-1] // width > _MAX_GRADE_BANDS:
        return points[np.searchsorted(lines, percent, side="right")]
    # All lines are multiples of the width: the band of a percentage tells its points, without a search.
    bands = points[np.searchsorted(lines, np.arange(lines[-1] // width + 1) * width, side="right")]
    return bands.take(np.clip(percent / width, 0, len(bands) - 1).astype(np.int64))


@dataclass(frozen=True)
class _Gradebook:
    """The courses, what changes their sums, and the sums in the rows of their own term."""

    courses: Courses
    scores: Scores
    cells: Cells


def _carry(standing: _Standing, gpa_term: Ints, book: _Gradebook, steps: Steps, options: FeatureOptions) -> None:
    """Fill unsettled rows from the latest earlier term of the school year that is settled as known at that row."""
    run_start = positions(steps.opens_term)
    waiting = positions(~standing.is_settled)
    looked_at = steps.term_run[waiting]
    while True:
        has_earlier = ~steps.opens_year[run_start[looked_at]]
        waiting, looked_at = waiting[has_earlier], looked_at[has_earlier] - 1
        if not len(waiting):
            return
        term = steps.at.term[run_start[looked_at]]
        carried = _standing_in(term, waiting, book, steps, options)
        filled = waiting[carried.is_settled]
        for name in ("n_courses", "grade_points", "failing", "core_failing", "is_settled"):
            getattr(standing, name)[filled] = getattr(carried, name)[carried.is_settled]
        gpa_term[filled] = term[carried.is_settled]
        open_still = ~carried.is_settled
        waiting, looked_at = waiting[open_still], looked_at[open_still]


def _standing_in(term: Ints, rows: Ints, book: _Gradebook, steps: Steps, options: FeatureOptions) -> _Standing:
    """The standing in `term` as known at each of `rows`, rising."""
    key = book.courses.key_of(steps.at.student[rows], term)
    scores = scores_for_later_rows(book.cells, book.courses, book.scores, key=key, rows=rows)
    cells = cells_of(book.courses, scores, steps, rows=rows, term=term)
    return _standing(cells, book.courses, averages(cells.weighted, cells.points), cells.points > 0, options)
