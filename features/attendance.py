"""Attendance features A1 to A14 (`features/catalog.py` defines each in words).

Only rows on enrolled days of school count. A day's absence is `fraction_absent` of an absent status, kept as whole
thousandths; days in the denominators are those of weeks in which attendance was taken.
"""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import AttendanceEvents
from edupulse_ml.core.tables import ABSENT_STATUSES, ATTENDANCE_STATUSES
from features.facts import Facts, StepSums, Versions, facts_of, versions_of
from features.ragged import Bools, Floats, Intervals, Ints, merge_intervals, ratio, slope_over_lags
from features.school_weeks import COUNT_OF_SET, DAYS
from features.steps import Steps
from features.streaks import absence_streaks

WHOLE_DAY = 1000
"""Absences are summed in thousandths of a day."""
SUPPORT_M_PREBREAK = 4
STREAK_CAP_DAYS = 20
MIN_DAYS_FOR_TIER = 10
MIN_WEEKS_FOR_CHANGE = 6
MIN_WEEKS_FOR_TREND = 4

_UNEXCUSED = ATTENDANCE_STATUSES.index("absent_unexcused")
_TARDY = ATTENDANCE_STATUSES.index("tardy")
_IS_ABSENT = np.array([status in ABSENT_STATUSES for status in ATTENDANCE_STATUSES])


@dataclass(frozen=True)
class AttendanceRows:
    """The attendance versions that count, with their day (position among all enrolled days of school)."""

    facts: Facts
    day_position: Ints
    absence: Ints
    unexcused: Ints
    special_absence: Ints
    tardy: Ints
    present: Ints
    periods_absent: Ints
    periods_scheduled: Ints


@dataclass(frozen=True)
class AttendanceBlock:
    """Columns of shape [R], `features` in the order A1 to A14. `is_known`: attendance of the last 4 steps is known."""

    features: list[Floats]
    days_enrolled_4wk: Ints
    days_enrolled_ytd: Ints
    days_present_4wk: Ints
    expected_share: Floats
    is_known: Bools


def attendance_features(events: AttendanceEvents, steps: Steps) -> AttendanceBlock:
    """All attendance columns."""
    rows = _attendance_rows(events, steps)
    absence, days = rows.facts.total(rows.absence), _days_with_attendance(rows.facts, steps)
    absent_4wk, days_4wk = absence.window(0, 3), days.window(0, 3)
    absent_ytd, days_ytd = absence.year_to_date(), days.year_to_date()
    present_4wk = rows.facts.total(rows.present).window(0, 3)
    rate_4wk = ratio(absent_4wk, days_4wk * WHOLE_DAY)
    rate_before = ratio(absence.window(4, 11), days.window(4, 11) * WHOLE_DAY)
    taken = days_ytd > 0
    streak = absence_streaks(rows.facts, rows.day_position, rows.absence * 2 >= WHOLE_DAY, steps)
    expected = _expected_share(steps)
    periods = rows.facts.total(rows.periods_absent).window(0, 3), rows.facts.total(rows.periods_scheduled).window(0, 3)
    taken_today = days.lag(0) > 0
    special_ytd = rows.facts.total(rows.special_absence).year_to_date() / WHOLE_DAY
    unexcused = rows.facts.total(rows.unexcused)
    features = [
        np.where(taken_today, absence.lag(0) / (steps.n_days * WHOLE_DAY), np.nan),
        rate_4wk,
        ratio(absent_ytd, days_ytd * WHOLE_DAY),
        _chronic_tier(absent_ytd, days_ytd),
        np.where(steps.weeks_into_year + 1 >= MIN_WEEKS_FOR_CHANGE, rate_4wk - rate_before, np.nan),
        _trend(absence, days),
        ratio(unexcused.window(0, 3), days_4wk * WHOLE_DAY),
        np.where(taken, (unexcused.year_to_date() + WHOLE_DAY) / (absent_ytd + 2 * WHOLE_DAY), np.nan),
        np.where(taken, np.minimum(streak.current, STREAK_CAP_DAYS), np.nan),
        np.where(taken, np.minimum(streak.longest, STREAK_CAP_DAYS), np.nan),
        _tardy_rate(rows, present_4wk, steps),
        ratio(*periods),
        np.where(
            taken,
            (special_ytd + SUPPORT_M_PREBREAK * expected) / (absent_ytd / WHOLE_DAY + SUPPORT_M_PREBREAK),
            np.nan,
        ),
        ratio(absence.prior_year(), days.prior_year() * WHOLE_DAY),
    ]
    return AttendanceBlock(features, days_4wk, days_ytd, present_4wk, expected, days_4wk > 0)


def _attendance_rows(events: AttendanceEvents, steps: Steps) -> AttendanceRows:
    versions = versions_of(
        steps, student=events.student, known_day=events.known_day, superseded_day=events.superseded_day
    )
    row, weekday, keep = _enrolled_day(events, versions, steps)
    facts = facts_of(steps, versions, row=row, keep=keep)
    status = events.status
    absent = _IS_ABSENT[status]
    fraction = np.where(np.isnan(events.fraction_absent), 1.0, events.fraction_absent)
    absence = np.where(absent, np.rint(fraction * WHOLE_DAY), 0).astype(np.int64)
    usable_row = np.where(keep, row, 0)
    special = (steps.at.special_set[usable_row] >> weekday) & 1
    earlier_days = steps.at.day_set[usable_row] & ((1 << weekday) - 1)
    by_period = ~absent & ~np.isnan(events.periods_absent) & (events.periods_scheduled > 0)
    return AttendanceRows(
        facts=facts,
        day_position=steps.day_offset[usable_row] + COUNT_OF_SET[earlier_days],
        absence=absence,
        unexcused=np.where(status == _UNEXCUSED, absence, 0),
        special_absence=absence * special,
        tardy=(status == _TARDY).astype(np.int64),
        present=(~absent).astype(np.int64),
        periods_absent=_thousandths(events.periods_absent, by_period),
        periods_scheduled=_thousandths(events.periods_scheduled, by_period),
    )


def _thousandths(values: np.ndarray, keep: Bools) -> Ints:
    return np.rint(np.where(keep, values, 0.0) * 1000.0).astype(np.int64)


def _enrolled_day(events: AttendanceEvents, versions: Versions, steps: Steps) -> tuple[Ints, Ints, Bools]:
    """Row and weekday of each version's day, and whether it is an enrolled day of school."""
    weeks = steps.weeks
    day = events.day.astype(np.int64)
    row = steps.at_or_after(versions.student, day)
    weekday = (day - weeks.first_day) % DAYS
    exists = row < versions.end
    usable = np.where(exists, row, 0)
    keep = exists & (steps.week[usable] + weekday == day) & ((steps.at.day_set[usable] >> weekday) & 1 > 0)
    return row, weekday, keep


def _days_with_attendance(facts: Facts, steps: Steps) -> StepSums:
    """Enrolled days of school per step, from the row on at which attendance of that step is known."""
    lasting = (facts.start == facts.row) & (facts.stop == facts.end)
    always = np.bincount(facts.row[lasting], minlength=steps.n_rows) > 0
    other = np.flatnonzero(~lasting)
    other = other[~always[facts.row[other]]]
    merged = merge_intervals(Intervals(facts.row[other], facts.start[other], facts.stop[other]))
    lasting_row = np.flatnonzero(always)
    row = np.concatenate((lasting_row, merged.key))
    end = steps.end(steps.at.student[row])
    taken = Facts(
        steps=steps,
        source=np.arange(len(row)),
        row=row,
        start=np.concatenate((lasting_row, merged.start)),
        stop=np.concatenate((end[: len(lasting_row)], merged.stop)),
        end=end,
    )
    return taken.total(steps.n_days[row])


def _chronic_tier(absent_ytd: Ints, days_ytd: Ints) -> Floats:
    """0 below 5 % absent, 1 below 10 %, 2 below 20 %, else 3; NaN before 10 days. Exact: integers throughout."""
    tier = sum((absent_ytd * per >= days_ytd * WHOLE_DAY).astype(np.float64) for per in (20, 10, 5))
    return np.where(days_ytd >= MIN_DAYS_FOR_TIER, tier, np.nan)


def _trend(absence: StepSums, days: StepSums) -> Floats:
    taken = (days.lag(lag) for lag in range(8))
    series = ((ratio(absence.lag(lag), n_days * WHOLE_DAY), n_days > 0) for lag, n_days in enumerate(taken))
    return slope_over_lags(series, min_points=MIN_WEEKS_FOR_TREND)


def _tardy_rate(rows: AttendanceRows, present_4wk: Ints, steps: Steps) -> Floats:
    tardy = rows.facts.total(rows.tardy).window(0, 3)
    records_tardies = steps.weeks.calendars.records_tardies[steps.weeks.schools[steps.at.school]]
    return np.where(records_tardies, ratio(tardy, present_4wk), np.nan)


def _expected_share(steps: Steps) -> Floats:
    """Mondays, Fridays and days before a break among the enrolled days of school of the year so far."""
    special = np.concatenate(([0], np.cumsum(COUNT_OF_SET[steps.at.special_set])))
    year_start = steps.year_start
    days = steps.day_offset[1:] - steps.day_offset[year_start]
    return ratio(special[1:] - special[year_start], days)
