"""Calendars as weeks: which days of a week have school, which are Mondays, Fridays or before a break, which terms.

A set of weekdays is a number whose bit 0 is Monday and bit 6 Sunday.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edupulse_ml.core.records import RecordSet, SchoolCalendars
from features.ragged import Ints, positions

DAYS = 7
_BITS = (1 << np.arange(DAYS)).astype(np.int64)
N_SETS = 1 << DAYS
COUNT_OF_SET = np.array([s.bit_count() for s in range(N_SETS)], dtype=np.int64)
LAST_DAY_OF_SET = np.array([max(s.bit_length() - 1, 0) for s in range(N_SETS)], dtype=np.int64)
_MONDAY_AND_FRIDAY = (1 << 0) | (1 << 4)


@dataclass(frozen=True)
class SchoolWeeks:
    """Weekday sets of K schools, shape [K, W]; week w begins on day `first_day + 7 w`.

    `schools` [K] are the positions of these schools in the record set's calendars, rising. `special` holds the days
    of school that are a Monday, a Friday or the last before a break; `reported` those whose incidents are reported.
    """

    calendars: SchoolCalendars
    schools: Ints
    n_weeks: int
    instructional: Ints
    special: Ints
    reported: Ints

    @property
    def first_day(self) -> int:
        return self.calendars.first_day

    @cached_property
    def day_in_session(self) -> Ints:
        """[K, 7 W + 1] days of school of that school before each day."""
        bits = (self.instructional[:, :, None] >> np.arange(DAYS)) & 1
        flat = bits.reshape(len(self.schools), -1)
        return np.concatenate((np.zeros((len(self.schools), 1), dtype=np.int64), flat.cumsum(axis=1)), axis=1)

    @cached_property
    def terms(self) -> "Terms":
        """The terms of all calendars."""
        return terms_of(self.calendars)

    @cached_property
    def position_of_school(self) -> Ints:
        """Position in `schools` of each school of the calendars that is among them."""
        position = np.zeros(len(self.calendars.is_instructional), dtype=np.int64)
        position[self.schools] = np.arange(len(self.schools))
        return position

    def n_open_weeks(self, *, through_week: int) -> int:
        """Number of weeks up to `through_week` in which any of the schools has a day of school."""
        return int(
            self.instructional[:, self.first_day + DAYS * np.arange(self.n_weeks) <= through_week].any(axis=0).sum()
        )

    def week_index(self, day: Ints) -> Ints:
        """Week of each day, clipped to 0..W."""
        return self._week(day)

    def week_and_weekday(self, day: Ints) -> tuple[Ints, Ints]:
        """Week of each day, clipped to 0..W, and its weekday 0..6, or 7 for days before the calendars."""
        week = self._week(day)
        weekday = day - day.dtype.type(self.first_day) - week * day.dtype.type(DAYS)
        return week, np.where(weekday >= 0, weekday, DAYS).astype(np.uint8)

    def _week(self, day: Ints) -> Ints:
        first, n_days = day.dtype.type(self.first_day), day.dtype.type(DAYS * self.n_weeks)
        since = np.maximum(day, first)
        since -= first
        np.minimum(since, n_days, out=since)
        since //= day.dtype.type(DAYS)
        return since

    def first_session_day(self, school: Ints, school_year: Ints) -> Ints:
        """Day number of the first day of school of these school years at these schools (positions in `schools`)."""
        table, first_year = self._first_session_days
        return table[school, school_year - first_year]

    @cached_property
    def _first_session_days(self) -> tuple[Ints, int]:
        length = self.calendars.is_instructional.shape[1]
        school, column = np.nonzero(self.calendars.is_instructional[self.schools])
        year = self.calendars.school_year[self.schools[school], column].astype(np.int64)
        first_year = int(year.min()) if len(year) else 0
        n_years = int(year.max()) - first_year + 1 if len(year) else 1
        table = np.full((len(self.schools), n_years), length, dtype=np.int64)
        np.minimum.at(table, (school, year - first_year), column)
        return table + self.first_day, first_year


def weeks_of_schools(records: RecordSet, *, pre_break_min_weekdays: int) -> SchoolWeeks:
    """The weeks of all schools that anybody is enrolled in."""
    attended = np.zeros(len(records.calendars.is_instructional), dtype=np.bool_)
    attended[records.enrollments.school] = True
    return school_weeks(records.calendars, positions(attended), pre_break_min_weekdays=pre_break_min_weekdays)


def school_weeks(calendars: SchoolCalendars, schools: Ints, *, pre_break_min_weekdays: int) -> SchoolWeeks:
    """The weeks of these schools (distinct positions in the calendars, rising)."""
    in_session = calendars.is_instructional[schools]
    n_weeks = -(-in_session.shape[1] // DAYS)
    before_break = _before_break(in_session, min_weekdays=pre_break_min_weekdays)
    instructional = _weekday_sets(in_session, n_weeks)
    return SchoolWeeks(
        calendars=calendars,
        schools=schools,
        n_weeks=n_weeks,
        instructional=instructional,
        special=(instructional & _MONDAY_AND_FRIDAY) | _weekday_sets(before_break, n_weeks),
        reported=_weekday_sets(calendars.discipline_reported[schools], n_weeks),
    )


def _weekday_sets(days: np.ndarray, n_weeks: int) -> Ints:
    padded = np.zeros((len(days), n_weeks * DAYS), dtype=np.int64)
    padded[:, : days.shape[1]] = days
    return padded.reshape(len(days), n_weeks, DAYS) @ _BITS


def _before_break(in_session: np.ndarray, *, min_weekdays: int) -> np.ndarray:
    """Days of school followed by at least `min_weekdays` weekdays without school, or by none at all."""
    n_schools, n_days = in_session.shape
    school, day = np.nonzero(in_session)
    weekdays_before = np.concatenate(([0], (np.arange(n_days) % DAYS < 5).cumsum()))
    is_last = np.append(school[1:] != school[:-1], np.ones(min(len(school), 1), dtype=np.bool_))
    following = np.append(day[1:], day[:0] if not len(day) else day[-1:])
    free = weekdays_before[following] - weekdays_before[day + 1]
    out = np.zeros((n_schools, n_days), dtype=np.bool_)
    chosen = is_last | (free >= min_weekdays)
    out[school[chosen], day[chosen]] = True
    return out


@dataclass(frozen=True)
class Terms:
    """Terms of all calendars, one entry per (school, school year, term), sorted by school and last day of school.

    `school_year` never falls within a school; `terms_in_year` is the number of that school's terms in the year.
    """

    school: Ints
    school_year: Ints
    term: Ints
    last_day: Ints
    terms_in_year: Ints

    def year_of_term(self, *, at_least: int) -> Ints:
        """Latest school year of each term, by its code; -1 for those in no calendar. `at_least` so many entries."""
        return self._latest(self.school_year, at_least=at_least)

    def last_day_of_term(self, *, at_least: int) -> Ints:
        """Last day of school of each term at any school, by its code; -1 for those in no calendar."""
        return self._latest(self.last_day, at_least=at_least)

    def _latest(self, value: Ints, *, at_least: int) -> Ints:
        latest = np.full(max(int(self.term.max(initial=0)) + 1, at_least), -1, dtype=np.int64)
        np.maximum.at(latest, self.term, value)
        return latest


def terms_of(calendars: SchoolCalendars) -> Terms:
    """The terms that the calendars name on days of school."""
    named = calendars.is_instructional & (calendars.term >= 0)
    school, column = np.nonzero(named)
    term = calendars.term[school, column].astype(np.int64)
    year = calendars.school_year[school, column].astype(np.int64)
    if not len(school):
        empty = np.empty(0, dtype=np.int64)
        return Terms(empty, empty, empty, empty, empty)
    run_ends = np.append((np.diff(school) != 0) | (np.diff(term) != 0) | (np.diff(year) != 0), values=True)
    rows = np.stack((school, year, term, column + calendars.first_day), axis=1)[run_ends]
    rows = rows[np.lexsort(rows.T[::-1])]
    is_latest = np.append((rows[1:, :3] != rows[:-1, :3]).any(axis=1), values=True)
    rows = rows[is_latest]
    _, year_code, in_year = np.unique(rows[:, :2], axis=0, return_inverse=True, return_counts=True)
    rows = np.column_stack((rows, in_year[year_code.ravel()]))
    rows = rows[np.lexsort((rows[:, 3], rows[:, 0]))]
    shift = rows[:, 0] * (int(rows[:, 1].max()) + 1)
    return Terms(
        school=rows[:, 0],
        school_year=np.maximum.accumulate(rows[:, 1] + shift) - shift,
        term=rows[:, 2],
        last_day=rows[:, 3],
        terms_in_year=rows[:, 4],
    )
