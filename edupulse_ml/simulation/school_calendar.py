"""School years: when there is school, where snow closed it, and which month one school reported no discipline."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.weeks import day_number, monday_of
from edupulse_ml.simulation.settings import DistrictPlan

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

WEEKDAYS = 5
_SNOW_WEEKS = (23, 26)
_SILENT_MONTH_DAYS = 30


@dataclass(frozen=True)
class SchoolYear:
    """One school year of all S schools over W calendar weeks, Monday to Friday.

    `weeks` [W] are Mondays (day numbers), holiday weeks included. `planned` [W, 5] is what was announced in August,
    `is_instructional` [S, W, 5] what took place after snow.
    Weeks from `second_term_week` on belong to the second term.
    """

    school_year: int
    weeks: Int32
    planned: Bool
    is_instructional: Bool
    second_term_week: int

    @property
    def first_day(self) -> int:
        """First day of school."""
        return int(self.weeks[0])

    @property
    def last_day(self) -> int:
        """Last day of school, a Friday."""
        return int(self.weeks[-1]) + WEEKDAYS - 1

    @property
    def n_weeks(self) -> int:
        return len(self.weeks)

    def term_of_week(self, week: int) -> int:
        """0 in the first term, 1 in the second; `week` counts from 0."""
        return int(week >= self.second_term_week)

    def term_ids(self) -> tuple[str, str]:
        """Names of the two terms."""
        return f"{self.school_year}-S1", f"{self.school_year}-S2"

    def term_last_day(self, term: int) -> int:
        """Last weekday of a term."""
        return self.last_day if term else int(self.weeks[self.second_term_week]) - 3

    def instructional_on(self, days: Int64, *, school: int, last_day: int | None) -> Bool:
        """Which of these days, all within the year, have school; closures after `last_day` are not foreseen."""
        week, weekday = (days - self.first_day) // 7, (days - self.first_day) % 7
        happened = self.is_instructional[school][week, np.minimum(weekday, WEEKDAYS - 1)]
        announced = self.planned[week, np.minimum(weekday, WEEKDAYS - 1)]
        foreseen = happened if last_day is None else np.where(days <= last_day, happened, announced)
        return foreseen & (weekday < WEEKDAYS)

    def sees_break_after(self) -> Bool:
        """[S, W, 5]: the last instructional day before two or more weekdays without school."""
        flat = self.is_instructional.reshape(self.is_instructional.shape[0], -1)
        following = np.zeros_like(flat)
        following[:, :-2] = ~flat[:, 1:-1] & ~flat[:, 2:]
        return (flat & following).reshape(self.is_instructional.shape)


@dataclass(frozen=True)
class SilentMonth:
    """A school that reported no discipline from `first_day` to `last_day`."""

    school: int
    first_day: int
    last_day: int


@dataclass(frozen=True)
class DistrictCalendar:
    """All simulated school years in order, and the gap in discipline reporting."""

    years: tuple[SchoolYear, ...]
    silent: SilentMonth


def build_calendar(plan: DistrictPlan) -> DistrictCalendar:
    """The calendar of a district; the same for the same plan."""
    rng = np.random.default_rng([plan.seed, 1])
    years = tuple(
        _school_year(plan.opening_year + index, schools=plan.schools, rng=rng) for index in range(plan.simulated_years)
    )
    silent_year = years[int(rng.integers(plan.years))]
    first = int(silent_year.weeks[int(rng.integers(9, 30))])
    silent = SilentMonth(int(rng.integers(plan.schools)), first, first + _SILENT_MONTH_DAYS - 1)
    return DistrictCalendar(years, silent)


def _school_year(year: int, *, schools: int, rng: np.random.Generator) -> SchoolYear:
    first = monday_of(date(year, 8, 21))
    last = monday_of(date(year + 1, 6, 9))
    n_weeks = (last - first).days // 7 + 1
    weeks = (day_number(first) + 7 * np.arange(n_weeks)).astype(np.int32)
    common = np.ones((n_weeks, WEEKDAYS), dtype=np.bool_)
    for monday in _break_weeks(year):
        common[(monday - first).days // 7] = False
    for day in _holidays(year):
        if day.weekday() < WEEKDAYS:
            common[(day - first).days // 7, day.weekday()] = False
    is_instructional = np.repeat(common[None], schools, axis=0)
    snow_week = int(rng.integers(*_SNOW_WEEKS))
    closed_all_week = rng.random(schools) < 0.6
    is_instructional[closed_all_week, snow_week] = False
    is_instructional[~closed_all_week, snow_week, :2] = False
    second_term = (monday_of(date(year + 1, 1, 19)) - first).days // 7
    return SchoolYear(year, weeks, common, is_instructional, second_term)


def _break_weeks(year: int) -> list[date]:
    christmas = monday_of(date(year, 12, 25))
    return [
        monday_of(date(year, 10, 12)),
        monday_of(_nth_weekday(year, 11, weekday=3, n=4)),
        christmas,
        christmas + timedelta(days=7),
        monday_of(_nth_weekday(year + 1, 2, weekday=0, n=3)),
        monday_of(date(year + 1, 4, 8)),
    ]


def _holidays(year: int) -> list[date]:
    memorial_day = date(year + 1, 5, 31)
    return [
        _nth_weekday(year, 9, weekday=0, n=1),
        date(year, 11, 11),
        _nth_weekday(year + 1, 1, weekday=0, n=3),
        _nth_weekday(year + 1, 3, weekday=4, n=2),
        memorial_day - timedelta(days=memorial_day.weekday()),
    ]


def _nth_weekday(year: int, month: int, *, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
