"""The school year in which a student's cohort entered high school, and the credits it should have by now."""

from functools import cached_property

import numpy as np

from features.options import FeatureOptions
from features.ragged import Floats, Ints, positions
from features.school_weeks import DAYS, Terms
from features.steps import Steps

_HIGH_SCHOOL, _MIDDLE_SCHOOL = 9, 6
_EVERY_YEAR = -(10**6)
_CREDIT_UNIT = 1_000_000


class Cohorts:
    """Per row, judged by the grade levels of the student's steps so far."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    @cached_property
    def first_year(self) -> Ints:
        """[R] school year of the student's first step."""
        return self._steps.at.school_year.take(self._steps.first_row)

    @cached_property
    def high_school_entry(self) -> Ints:
        """[R] school year of the first step in grade 9, else reckoned back or forward from the first step."""
        return self._entry(_HIGH_SCHOOL)

    @cached_property
    def counted_since(self) -> Ints:
        """[R] first school year whose closed terms are counted: since grade 9, in grades 6 to 8 since grade 6."""
        grade = self._steps.at.grade_level
        return np.where(
            grade >= _HIGH_SCHOOL,
            self.high_school_entry,
            np.where(grade >= _MIDDLE_SCHOOL, self._entry(_MIDDLE_SCHOOL), _EVERY_YEAR),
        )

    @cached_property
    def changes(self) -> Ints:
        """Rows at which `counted_since` differs from the student's row before, and every student's first row."""
        since, student = self.counted_since, self._steps.at.student
        differs = np.ones(len(since), dtype=np.bool_)
        differs[1:] = (since[1:] != since[:-1]) | (student[1:] != student[:-1])
        return positions(differs)

    def _entry(self, grade_level: int) -> Ints:
        steps = self._steps
        reckoned = self.first_year - (steps.at.grade_level.take(steps.first_row) - grade_level)
        never = steps.n_rows
        first_in_grade = np.full(steps.n_students, never, dtype=np.int64)
        in_grade = positions(steps.at.grade_level == grade_level)
        np.minimum.at(first_in_grade, steps.at.student[in_grade], in_grade)
        first = first_in_grade.take(steps.at.student)
        seen = first <= steps.rows
        return np.where(seen, steps.at.school_year.take(np.where(seen, first, 0)), reckoned)


def expected_credits(
    steps: Steps, cohorts: Cohorts, terms: Terms, *, has_history: np.ndarray, options: FeatureOptions
) -> Floats:
    """[R] credits of the terms closed at the row's school since the cohort entered grade 9.

    Where nothing is known of the time before the records (`has_history` false), only terms that end in the student's
    first step or later are expected.
    """
    per_term = np.rint(options.credits_per_year / terms.terms_in_year * _CREDIT_UNIT).astype(np.int64)
    running = np.concatenate((np.zeros(1, dtype=np.int64), per_term.cumsum()))
    school = steps.weeks.schools.take(steps.at.school)
    entry, first_year = cohorts.high_school_entry, cohorts.first_year
    closed = _position(terms.school, terms.last_day, school, steps.week + DAYS)
    opening = _position(terms.school, terms.school_year, school, np.maximum(entry, first_year))
    first_monday = steps.first_monday.take(steps.at.student)
    first_own = _position(terms.school, terms.last_day, school, first_monday)
    opening = np.where(has_history, opening, np.maximum(opening, first_own))
    in_terms = np.where(closed > opening, running.take(closed) - running.take(opening), 0)
    years_before = np.where(has_history, np.maximum(first_year - entry, 0), 0)
    return in_terms / _CREDIT_UNIT + years_before * options.credits_per_year


def _position(school_of_term: Ints, value_of_term: Ints, school: Ints, value: Ints) -> Ints:
    """Index of the first term of `school` whose value is at least `value`; terms are sorted by both."""
    least = int(min(value_of_term.min(initial=0), value.min(initial=0)))
    span = int(max(value_of_term.max(initial=0), value.max(initial=0))) - least + 2
    return (school_of_term * span + (value_of_term - least)).searchsorted(
        school * span + np.minimum(value - least, span - 1)
    )
