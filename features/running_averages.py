"""Running course averages: what each course of each term stands at, week by week.

A *course* is one (student, term, course, subject, core flag) of the graded items. Its average is the mean of the
posted scores weighted by points. Sums and averages (in millionths of a percentage point) are whole numbers, so that
no order of records matters.
"""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import GradeEvents
from features.grade_versions import SCORE_UNIT, GradeVersions
from features.ragged import Bools, Floats, Ints, Numbers, dense_codes, positions

AVERAGE_UNIT = 1_000_000
N_SUBJECTS = 8


@dataclass(frozen=True)
class Courses:
    """Distinct courses, sorted by student and term: those of key k = `key_of(student, term)` are `start[k]` to
    `start[k + 1] - 1`. `term_code[t + 1]` numbers the terms; the last number stands for all terms without courses.
    """

    term: Ints
    subject: Ints
    is_core: Bools
    start: Ints
    term_code: Ints

    def key_of(self, student: Ints, term: Ints) -> Ints:
        """Key of students in terms; a term of -1 has no courses."""
        known = np.minimum(term + 1, len(self.term_code) - 1)
        return student * (int(self.term_code[-1]) + 1) + self.term_code.take(known)


@dataclass(frozen=True)
class Scores:
    """Changes of the sums of a course: from row `valid` on, as known in rows `known` <= r < `stop`."""

    course: Ints
    valid: Ints
    known: Ints
    stop: Ints
    weighted: Numbers
    points: Numbers
    count: Numbers


def averages(weighted: Numbers, points: Numbers) -> Floats:
    """`weighted / points` in millionths of a percentage point, rounded; 0 without points."""
    mean = weighted / np.maximum(points, 1)
    mean *= AVERAGE_UNIT / SCORE_UNIT
    return np.rint(mean, out=mean)


def course_scores(
    events: GradeEvents, grades: GradeVersions, *, n_students: int, district_posts_zeros: bool
) -> tuple[Courses, Scores]:
    """The courses that occur and the changes of their sums."""
    versions = grades.versions
    courses, code = _courses(events, n_students=n_students)
    never = versions.end.max(initial=0)
    scored = Scores(
        course=code,
        valid=np.where(grades.score_counts, grades.posted_row, never),
        known=versions.known,
        stop=versions.stop,
        weighted=grades.weighted,
        points=grades.points,
        count=np.ones(len(code)),
    )
    return courses, _with_zeros(scored, grades) if district_posts_zeros else scored


def _with_zeros(scored: Scores, grades: GradeVersions) -> Scores:
    """Beside the scores, a 0 for each item from the row it is due to the row it is submitted or scored."""
    versions = grades.versions
    settled = np.minimum(grades.submitted_row, grades.posted_row)
    owed = positions(grades.due_counts & (grades.due_row < settled) & (versions.known < versions.stop))
    settled_later = owed[settled[owed] < versions.end[owed]]
    source = np.concatenate((owed, settled_later))
    no_score = np.zeros(len(source))
    return Scores(
        course=np.concatenate((scored.course, scored.course[source])),
        valid=np.concatenate((scored.valid, grades.due_row[owed], settled[settled_later])),
        known=np.concatenate((scored.known, versions.known[source])),
        stop=np.concatenate((scored.stop, versions.stop[source])),
        weighted=np.concatenate((scored.weighted, no_score)),
        points=np.concatenate((scored.points, grades.points[owed], -grades.points[settled_later])),
        count=np.concatenate((scored.count, no_score)),
    )


def _courses(events: GradeEvents, *, n_students: int) -> tuple[Courses, Ints]:
    """The courses of the events, and the course of each event."""
    student, course = events.student.astype(np.int64), events.course.astype(np.int64)
    kind, kinds = _coded((course * N_SUBJECTS + events.subject) * 2 + events.is_core)
    term, terms = _coded(events.term.astype(np.int64) + 1)
    n_codes = len(terms) + 1
    code, distinct = _coded((student * n_codes + term) * len(kinds) + kind)
    key, kind = np.divmod(distinct, max(len(kinds), 1))
    term_code = np.full(int(terms.max(initial=0)) + 2, len(terms))
    term_code[terms] = np.arange(len(terms))
    term_code[0] = len(terms)
    courses = Courses(
        term=terms[key % n_codes] - 1,
        subject=kinds[kind] // 2 % N_SUBJECTS,
        is_core=kinds[kind] % 2 == 1,
        start=np.append(0, np.bincount(key, minlength=n_students * n_codes).cumsum()),
        term_code=term_code,
    )
    return courses, code


def _coded(key: Ints) -> tuple[Ints, Ints]:
    return dense_codes(key, space=int(key.max(initial=-1)) + 1)
