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

from edupulse_ml.core.records import EnrollmentEvents, RecordSet
from edupulse_ml.core.weeks import NEVER
from features.ragged import Bools, Ints, expand_ranges, positions
from features.school_weeks import COUNT_OF_SET, DAYS, LAST_DAY_OF_SET, N_SETS, SchoolWeeks
from features.trends import Lags

_ALL_DAYS = N_SETS - 1


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
        return COUNT_OF_SET[self.at.day_set]

    @cached_property
    def day_offset(self) -> Ints:
        """[R + 1] number of enrolled days of school in all earlier rows."""
        return np.concatenate(([0], self.n_days.cumsum()))

    @cached_property
    def opens_year(self) -> Bools:
        """[R] the student's first step of a school year."""
        return _changes(self.at.student) | _changes(self.at.school_year)

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
        return self.run_start[self.year_run]

    @cached_property
    def year_stop(self) -> Ints:
        """[R] row after the last one of the same school year."""
        return self.run_stop[self.year_run]

    @cached_property
    def weeks_into_year(self) -> Ints:
        """[R] number of steps of this school year before this one."""
        return self.rows - self.year_start

    @cached_property
    def opens_term(self) -> Bools:
        """[R] first step of a run of steps of one student, school year and term."""
        return self.opens_year | _changes(self.at.term)

    @cached_property
    def term_run(self) -> Ints:
        """[R] number of the run of rows of one student in one term."""
        return self.opens_term.astype(np.int64).cumsum() - 1

    @cached_property
    def first_row(self) -> Ints:
        """[R] the student's first row."""
        return self.offset[self.at.student]

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


def build_steps(records: RecordSet, weeks: SchoolWeeks, *, through_week: int) -> Steps:
    """The steps of all students up to and including `through_week`. `weeks` are those of at least their schools."""
    enrollments = _in_order(records.enrollments)
    school = weeks.position_of_school[enrollments.school]
    spans = _enrolled_weeks(enrollments, school, weeks, through_week=through_week)
    attributes = _attributes(enrollments, spans, weeks)
    n_weeks = weeks.n_weeks
    key = attributes.student * (n_weeks + 1) + attributes.week_index + 1
    # Column w + 1 counts the steps in week w, so that the running sum is the first row at or after each week.
    row_at = np.bincount(key, minlength=records.n_students * (n_weeks + 1)).cumsum()
    per_student = np.bincount(attributes.student, minlength=records.n_students)
    return Steps(
        n_students=records.n_students,
        weeks=weeks,
        at=attributes,
        offset=np.concatenate(([0], per_student.cumsum())),
        row_at=row_at.astype(np.int32),
    )


@dataclass(frozen=True)
class _Spans:
    """Weeks in which an enrolment version has days: sorted by student, week and the order of the enrolments."""

    enrollment: Ints
    week_index: Ints
    school: Ints
    days: Ints


def _changes(values: Ints) -> Bools:
    out = np.ones(len(values), dtype=np.bool_)
    out[1:] = values[1:] != values[:-1]
    return out


def _in_order(enrollments: EnrollmentEvents) -> EnrollmentEvents:
    """By student, then the enrolment that governs last: latest entry, latest known."""
    e = enrollments
    order = np.lexsort((e.exit_day, e.grade_level, e.school, e.known_day, e.entry_day, e.student))
    return EnrollmentEvents(
        **{name: getattr(e, name)[order].astype(np.int64) for name in EnrollmentEvents.__dataclass_fields__}
    )


def _enrolled_weeks(e: EnrollmentEvents, school: Ints, weeks: SchoolWeeks, *, through_week: int) -> _Spans:
    in_session = weeks.instructional > 0
    before = np.concatenate((np.zeros((len(weeks.schools), 1), dtype=np.int64), in_session.cumsum(axis=1)), axis=1)
    listed_school, listed_week = np.nonzero(in_session)
    school_offset = listed_school.searchsorted(np.arange(len(weeks.schools)))
    from_week = np.maximum(weeks.week_index(e.known_day), weeks.week_index(e.entry_day))
    until_week = np.minimum(weeks.week_index(e.superseded_day), weeks.week_index(e.exit_day - 1) + 1)
    until_week = np.minimum(until_week, weeks.week_index(np.array([through_week + DAYS]))[0])
    until_week = np.minimum(until_week, weeks.n_weeks)
    shift = school_offset[school]
    source, position = expand_ranges(shift + before[school, from_week], shift + before[school, until_week])
    week_index = listed_week[position]
    monday = weeks.first_day + DAYS * week_index
    skipped = np.clip(e.entry_day[source] - monday, 0, DAYS)
    reached = np.clip(e.exit_day[source] - monday, 0, DAYS)
    enrolled = (_ALL_DAYS << skipped) & ((1 << reached) - 1) & _ALL_DAYS
    days = weeks.instructional[school[source], week_index] & enrolled
    kept = positions(days)
    key = (e.student[source] * weeks.n_weeks + week_index)[kept]
    if len(key) and (key[1:] < key[:-1]).any():
        kept = kept[key.argsort(kind="stable")]
    return _Spans(source[kept], week_index[kept], school[source[kept]], days[kept])


def _attributes(e: EnrollmentEvents, spans: _Spans, weeks: SchoolWeeks) -> StepAttributes:
    student = e.student[spans.enrollment]
    opens = _changes(student) | _changes(spans.week_index)
    start = positions(opens)
    owned, last, first = _owners(spans, opens.astype(np.int64).cumsum() - 1, start)
    week_index = spans.week_index[start]
    special = weeks.special[spans.school, spans.week_index] & owned
    reported = weeks.reported[spans.school, spans.week_index] & owned
    final_day = DAYS * week_index + LAST_DAY_OF_SET[owned[last]]
    owner_school = weeks.schools[spans.school[last]]
    year = weeks.calendars.school_year[owner_school, final_day].astype(np.int64)
    return StepAttributes(
        student=student[start],
        week_index=week_index,
        day_set=_union(owned, start),
        special_set=_union(special, start),
        reported=_union(reported, start) > 0,
        school=spans.school[last],
        grade_level=e.grade_level[spans.enrollment[last]].astype(np.int64),
        term=weeks.calendars.term[owner_school, final_day].astype(np.int64),
        school_year=_never_falling(year, student[start]),
        entry_day=e.entry_day[spans.enrollment[first]].astype(np.int64),
        entry_school=spans.school[first],
    )


def _never_falling(year: Ints, student: Ints) -> Ints:
    """The highest year so far of each student."""
    shift = student * 10_000
    shifted = year + shift
    if (shifted[1:] >= shifted[:-1]).all():
        return year
    return np.maximum.accumulate(shifted) - shift


def _union(sets: Ints, start: Ints) -> Ints:
    return np.bitwise_or.reduceat(sets, start) if len(start) < len(sets) else sets


def _owners(spans: _Spans, group: Ints, start: Ints) -> tuple[Ints, Ints, Ints]:
    """Days that belong to each span, and per group of spans the one with the last and the one with the first day."""
    owned = spans.days.copy()
    last, first = start.copy(), start.copy()
    size = np.diff(np.append(start, len(group)))
    crowded = positions(size > 1)
    taken = np.zeros(len(start), dtype=np.int64)
    lowest = np.full(len(start), N_SETS, dtype=np.int64)
    for rank in range(1, int(size.max(initial=1)) + 1 if len(crowded) else 1):
        group_now = crowded[size[crowded] >= rank]
        span = start[group_now] + size[group_now] - rank
        owned[span] = spans.days[span] & ~taken[group_now]
        higher = owned[span] > np.where(rank == 1, 0, owned[last[group_now]])
        last[group_now] = np.where(higher, span, last[group_now])
        bottom = np.where(owned[span] > 0, owned[span] & -owned[span], N_SETS)
        lower = bottom < lowest[group_now]
        first[group_now] = np.where(lower, span, first[group_now])
        lowest[group_now] = np.minimum(lowest[group_now], bottom)
        taken[group_now] |= spans.days[span]
    return owned, last, first
