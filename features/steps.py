"""Steps: the instructional weeks of each student, as one flat array of rows that all features share.

A step is a week with at least one day of school on which the student was enrolled, judged by the enrolment versions
known at that week's own cutoff: later knowledge never adds, removes or changes a step. Each day goes by the calendar
of the school enrolled in; where two enrolments are open, it belongs to the one entered last whose school is in
session. School, grade level, term and school year of a step are those of its last day.

The R rows stand student by student, week by week; the rows of student n are `offset[n]` to `offset[n + 1] - 1`.
`offset[n + 1]` also stands for "never" wherever a row is asked for.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edupulse_ml.core.weeks import NEVER
from features.ragged import Bools, Ints, changes, positions
from features.school_weeks import COUNT_OF_SET, DAYS, SchoolWeeks
from features.trends import Lags


@dataclass(frozen=True)
class StepAttributes:
    """What holds of each row by itself, each of shape [R]. Weekday sets: see `features.school_weeks`."""

    student: Ints
    week_index: Ints
    day_set: Ints
    special_set: Ints
    reported: Bools
    school: Ints
    """Position in the schools of the week tables."""
    grade_level: Ints
    term: Ints
    school_year: Ints
    """Never falls along the rows of a student."""
    entry_day: Ints
    """Entry into the enrolment that the first day of the step belongs to."""
    entry_school: Ints


@dataclass(frozen=True)
class Steps:
    """The rows of N students. `row_at` [N * (W + 1)] is the first row at or after each week of each student."""

    n_students: int
    weeks: SchoolWeeks
    at: StepAttributes
    offset: Ints
    row_at: Ints

    @property
    def n_rows(self) -> int:
        return len(self.at.student)

    @cached_property
    def rows(self) -> Ints:
        """[R] 0..R-1."""
        return np.arange(self.n_rows)

    @cached_property
    def week(self) -> Ints:
        """[R] Monday's day number."""
        return self.weeks.first_day + DAYS * self.at.week_index

    @cached_property
    def n_days(self) -> Ints:
        """[R] enrolled days of school."""
        return COUNT_OF_SET.take(self.at.day_set)

    @cached_property
    def day_offset(self) -> Ints:
        """[R + 1] number of enrolled days of school in all earlier rows."""
        return np.concatenate(([0], self.n_days.cumsum()))

    @cached_property
    def opens_year(self) -> Bools:
        """[R] the student's first step of a school year."""
        return changes(self.at.student) | changes(self.at.school_year)

    @cached_property
    def year_run(self) -> Ints:
        """[R] number of the run of rows of one student in one school year."""
        return self.opens_year.astype(np.int64).cumsum() - 1

    @cached_property
    def run_start(self) -> Ints:
        """First row of each run."""
        return positions(self.opens_year)

    @cached_property
    def run_stop(self) -> Ints:
        """Row after the last of each run."""
        return np.append(self.run_start[1:], self.n_rows)

    @cached_property
    def year_start(self) -> Ints:
        """[R] first row of the same school year."""
        return self.run_start.take(self.year_run)

    @cached_property
    def year_stop(self) -> Ints:
        """[R] row after the last one of the same school year."""
        return self.run_stop.take(self.year_run)

    @cached_property
    def weeks_into_year(self) -> Ints:
        """[R] number of steps of this school year before this one."""
        return self.rows - self.year_start

    @cached_property
    def opens_term(self) -> Bools:
        """[R] first step of a run of steps of one student, school year and term."""
        return self.opens_year | changes(self.at.term)

    @cached_property
    def term_run(self) -> Ints:
        """[R] number of the run of rows of one student in one term."""
        return self.opens_term.astype(np.int64).cumsum() - 1

    @cached_property
    def first_row(self) -> Ints:
        """[R] the student's first row."""
        return self.offset.take(self.at.student)

    @cached_property
    def first_monday(self) -> Ints:
        """[N] Monday of the first step, `NEVER` for students without steps."""
        out = np.full(self.n_students, NEVER, dtype=np.int64)
        has_steps = self.offset[:-1] < self.offset[1:]
        out[has_steps] = self.week[self.offset[:-1][has_steps]]
        return out

    def end(self, student: Ints) -> Ints:
        """The row that stands for "never" of each student."""
        return self._end.take(student)

    @cached_property
    def _end(self) -> Ints:
        return self.offset[1:].astype(np.int32)

    def cell(self, student: Ints) -> Ints:
        """Where the weeks of a student begin in `row_at`."""
        return student * (self.weeks.n_weeks + 1)

    def at_or_after(self, cell: Ints, day: Ints) -> Ints:
        """The first row, of the student of that `cell`, whose week is the week of `day` or later, else their `end`."""
        return self.row_at.take(cell + self.weeks.week_index(day))

    def back(self, n_steps: int) -> Ints:
        """[R] the row `n_steps` before each row, or the first one of its school year."""
        if n_steps not in self._back:
            self._back[n_steps] = np.maximum(self.rows - n_steps, self.year_start)
        return self._back[n_steps]

    @cached_property
    def year_lags(self) -> Lags:
        """Shifts columns inside the school years."""
        return Lags(self.weeks_into_year)

    @cached_property
    def _back(self) -> dict[int, Ints]:
        return {}

    @cached_property
    def days_in_week(self) -> Ints:
        """[N * (W + 1)] set of enrolled days of school of each week of each student, by `cell`."""
        out = np.zeros(len(self.row_at), dtype=np.uint8)
        out[self.cell(self.at.student) + self.at.week_index] = self.at.day_set
        return out

    def begins_before(self, student: Ints, day: Ints) -> Bools:
        """Whether `day` lies in the student's first step or later: earlier records are ignored by most features."""
        return day >= self.first_monday.astype(np.int32).take(student)
