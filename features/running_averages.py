"""Running course averages: what each course of each term stands at, week by week.

A *course* is one (student, term, course, subject, core flag) of the graded items. Its average is the mean of the
posted scores weighted by points. A *cell* is one course at one row; the cells of a course stand one after another.
Sums are kept as integers, averages as whole millionths of a percentage point, so that no order of records matters.
"""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import GradeEvents
from features.grade_versions import SCORE_UNIT, GradeVersions
from features.ragged import Bools, Ints, dense_codes, expand_ranges
from features.steps import Steps

AVERAGE_UNIT = 1_000_000
N_SUBJECTS = 8


@dataclass(frozen=True)
class Courses:
    """Distinct courses, sorted by student and term."""

    term: Ints
    student: Ints
    subject: Ints
    is_core: Bools


@dataclass(frozen=True)
class Scores:
    """Changes of the sums of a course: from row `valid` on, as known in rows `known` <= r < `stop`."""

    course: Ints
    valid: Ints
    known: Ints
    stop: Ints
    weighted: Ints
    points: Ints
    count: Ints


@dataclass(frozen=True)
class Cells:
    """Sums of each course at each row of its range, as known at that row."""

    course: Ints
    row: Ints
    offset: Ints
    first_row: Ints
    weighted: Ints
    points: Ints
    count: Ints

    @property
    def average(self) -> Ints:
        """Running average in millionths of a point; 0 where nothing with points is scored."""
        return averages(self.weighted, self.points)

    def position(self, course: Ints, row: Ints) -> Ints:
        """Cell of a course at a row that lies in the course's range."""
        return self.offset[course] + row - self.first_row[course]


def averages(weighted: Ints, points: Ints) -> Ints:
    """`weighted / points` in millionths of a percentage point, rounded; 0 without points."""
    mean = weighted / np.maximum(points, 1)
    return np.rint(mean * (AVERAGE_UNIT / SCORE_UNIT)).astype(np.int64)


def course_scores(events: GradeEvents, grades: GradeVersions, *, district_posts_zeros: bool) -> tuple[Courses, Scores]:
    """The courses that occur and the changes of their sums."""
    versions = grades.versions
    scored = np.flatnonzero(grades.score_counts & (np.maximum(grades.posted_row, versions.known) < versions.stop))
    if district_posts_zeros:
        settled = np.minimum(grades.submitted_row, grades.posted_row)
        owed = np.flatnonzero(grades.due_counts & (grades.due_row < settled) & (versions.known < versions.stop))
        settled_later = owed[settled[owed] < versions.end[owed]]
    else:
        owed = settled_later = settled = np.empty(0, dtype=np.int64)
    source = np.concatenate((scored, owed, settled_later))
    courses, code = _courses(events, source)
    no_score = np.zeros(len(owed) + len(settled_later), dtype=np.int64)
    return courses, Scores(
        course=code,
        valid=np.concatenate((grades.posted_row[scored], grades.due_row[owed], settled[settled_later])),
        known=versions.known[source],
        stop=versions.stop[source],
        weighted=np.concatenate((grades.score[scored] * grades.points[scored], no_score)),
        points=np.concatenate((grades.points[scored], grades.points[owed], -grades.points[settled_later])),
        count=np.concatenate((np.ones(len(scored), dtype=np.int64), no_score)),
    )


def _courses(events: GradeEvents, source: Ints) -> tuple[Courses, Ints]:
    student, term, course = (getattr(events, name)[source].astype(np.int64) for name in ("student", "term", "course"))
    subject, is_core = events.subject[source].astype(np.int64), events.is_core[source].astype(np.int64)
    n_terms, n_courses = int(term.max(initial=0)) + 1, int(course.max(initial=0)) + 1
    kinds = 2 * N_SUBJECTS
    kinds = 2 * N_SUBJECTS
    key = ((student * n_terms + term) * n_courses + course) * kinds + subject * 2 + is_core
    space = (int(student.max(initial=0)) + 1) * n_terms * n_courses * kinds
    code, distinct = dense_codes(key, space=space)
    of_student = distinct // (n_courses * kinds)
    return (
        Courses(
            term=of_student % n_terms,
            student=of_student // n_terms,
            subject=distinct % kinds // 2,
            is_core=distinct % 2 == 1,
        ),
        code,
    )


def cells_of(scores: Scores, *, first_row: Ints, stop_row: Ints) -> Cells:
    """Sums of each course in rows `first_row` <= r < `stop_row` (one entry per course; none where not below)."""
    course, row = expand_ranges(first_row, stop_row)
    length = np.maximum(stop_row - first_row, 0)
    offset = np.cumsum(length) - length
    shift = (offset - first_row)[scores.course]
    start = np.maximum(np.maximum(scores.valid, scores.known), first_row[scores.course])
    stop = np.minimum(scores.stop, stop_row[scores.course])
    counts = start < stop
    opening, closing = (start + shift)[counts], (stop + shift)[counts]

    def total(amount: Ints) -> Ints:
        weight = amount[counts]
        change = np.bincount(opening, weights=weight, minlength=len(row) + 1)
        change -= np.bincount(closing, weights=weight, minlength=len(row) + 1)
        return np.cumsum(change.astype(np.int64))[: len(row)]

    return Cells(
        course=course,
        row=row,
        offset=offset,
        first_row=first_row,
        weighted=total(scores.weighted),
        points=total(scores.points),
        count=total(scores.count),
    )


def term_spans(courses: Courses, steps: Steps) -> tuple[Ints, Ints]:
    """Per course the first row of its student in its term and the row after the last one; empty where there is none."""
    n_terms = max(int(courses.term.max(initial=0)), int(steps.at.term.max(initial=0))) + 1
    named = np.flatnonzero(steps.at.term >= 0)
    key = steps.at.student[named] * n_terms + steps.at.term[named]
    order = np.argsort(key, kind="stable")
    sorted_key = key[order]
    wanted = courses.student * n_terms + courses.term
    first = np.searchsorted(sorted_key, wanted, side="left")
    after = np.searchsorted(sorted_key, wanted, side="right")
    rows = np.append(named[order], 0)
    found = first < after
    return np.where(found, rows[first], 0), np.where(found, rows[np.maximum(after - 1, 0)] + 1, 0)
