"""Attendance features A1 to A14 (`features/catalog.py` defines each in words).

Only rows on enrolled days of school count. A day's absence is `fraction_absent` of an absent status, kept as whole
thousandths; days in the denominators are those of weeks in which attendance was taken.
"""

from dataclasses import dataclass

import numpy as np

from edupulse_ml.core.records import AttendanceEvents
from edupulse_ml.core.tables import ABSENT_STATUSES, ATTENDANCE_STATUSES
from features.facts import Facts, Spells, StepSums, facts_of, versions_of
from features.ragged import Bools, Floats, Intervals, Ints, merge_intervals, positions, ratio
from features.school_weeks import COUNT_OF_SET
from features.steps import Steps
from features.streaks import absence_streaks
from features.trends import N_LAGS, Corrections, slope

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
class Absences:
    """The absences that count, with their day (position among all enrolled days of school).
    Amounts are whole thousandths.
    """

    facts: Facts
    day_position: Ints
    amount: Floats
    unexcused: Floats
    special: Floats


@dataclass(frozen=True)
class AttendanceRows:
    """The attendance versions that count."""

    facts: Facts
    absences: Absences
    tardy: Facts
    is_present: Bools
    by_period: Facts
    periods_absent: Floats
    periods_scheduled: Floats


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
    absences = rows.absences
    days = _days_with_attendance(rows.facts, steps)
    days_4wk, days_ytd = days.window(0, 3), days.year_to_date()
    absence = absences.facts.total(absences.amount)
    kinds = absences.facts.totals(absences.unexcused, absences.special)
    absent_4wk, absent_ytd = absence.window(0, 3), absence.year_to_date()
    unexcused_ytd, special_ytd = kinds.year_to_date()
    present_4wk = rows.facts.total(rows.is_present).window(0, 3)
    thousandths_4wk, thousandths_ytd = days_4wk * WHOLE_DAY, days_ytd * WHOLE_DAY
    rate_4wk = ratio(absent_4wk, thousandths_4wk)
    rate_before = ratio(absence.window(4, 11), days.window(4, 11) * WHOLE_DAY)
    taken = days_ytd > 0
    streak = absence_streaks(absences.facts, absences.day_position, absences.amount * 2 >= WHOLE_DAY, steps)
    expected = _expected_share(steps)
    periods = rows.by_period.totals(rows.periods_absent, rows.periods_scheduled).window(0, 3)
    taken_today = days.lag(0) > 0
    features = [
        np.where(taken_today, absence.lag(0) / (steps.n_days * WHOLE_DAY), np.nan),
        rate_4wk,
        ratio(absent_ytd, thousandths_ytd),
        _chronic_tier(absent_ytd, days_ytd),
        np.where(steps.weeks_into_year + 1 >= MIN_WEEKS_FOR_CHANGE, rate_4wk - rate_before, np.nan),
        _trend(absence, days, steps),
        ratio(kinds.window(0, 3)[0], thousandths_4wk),
        np.where(taken, (unexcused_ytd + WHOLE_DAY) / (absent_ytd + 2 * WHOLE_DAY), np.nan),
        np.where(taken, np.minimum(streak.current, STREAK_CAP_DAYS), np.nan),
        np.where(taken, np.minimum(streak.longest, STREAK_CAP_DAYS), np.nan),
        _tardy_rate(rows, present_4wk, steps),
        ratio(periods[0], periods[1]),
        np.where(
            taken,
            (special_ytd / WHOLE_DAY + SUPPORT_M_PREBREAK * expected) / (absent_ytd / WHOLE_DAY + SUPPORT_M_PREBREAK),
            np.nan,
        ),
        ratio(absence.prior_year(), days.prior_year() * WHOLE_DAY),
    ]
    return AttendanceBlock(features, days_4wk, days_ytd, present_4wk, expected, days_4wk > 0)


def _attendance_rows(events: AttendanceEvents, steps: Steps) -> AttendanceRows:
    versions = versions_of(
        steps, student=events.student, known_day=events.known_day, superseded_day=events.superseded_day
    )
    week, weekday = steps.weeks.week_and_weekday(events.day)
    cell = versions.cell + week
    # The week after the calendars has no days, and no set has a day 7.
    keep = ((steps.days_in_week.take(cell) >> weekday) & 1).astype(np.bool_)
    facts = facts_of(steps, versions, row=steps.row_at.take(cell), keep=keep)
    is_absent = _IS_ABSENT.take(events.status)
    by_period = ~is_absent & (events.periods_scheduled > 0) & ~np.isnan(events.periods_absent)
    counted = is_absent & keep
    absent = positions(counted)
    row_of_absent = steps.row_at.take(cell.take(absent))
    return AttendanceRows(
        facts=facts,
        absences=_absences(
            events, facts.of(counted), absent, row_of_absent, weekday.take(absent).astype(np.int64), steps
        ),
        tardy=facts.of(events.status == _TARDY),
        is_present=~is_absent,
        by_period=facts.of(by_period),
        periods_absent=_thousandths(events.periods_absent[by_period]),
        periods_scheduled=_thousandths(events.periods_scheduled[by_period]),
    )


def _absences(events: AttendanceEvents, facts: Facts, absent: Ints, row: Ints, weekday: Ints, steps: Steps) -> Absences:
    fraction = events.fraction_absent.take(absent)
    amount = _thousandths(np.where(np.isnan(fraction), 1.0, fraction))
    is_special = (steps.at.special_set.take(row) >> weekday) & 1
    earlier_days = steps.at.day_set.take(row) & ((1 << weekday) - 1)
    return Absences(
        facts=facts,
        day_position=steps.day_offset.take(row) + COUNT_OF_SET.take(earlier_days),
        amount=amount,
        unexcused=np.where(events.status.take(absent) == _UNEXCUSED, amount, 0),
        special=amount * is_special,
    )


def _thousandths(values: np.ndarray) -> Floats:
    return np.rint(values * 1000.0).astype(np.float64)


def _days_with_attendance(facts: Facts, steps: Steps) -> StepSums:
    """Enrolled days of school per step, from the row on at which attendance of that step is known."""
    always = np.bincount(facts.lasting_row, minlength=steps.n_rows + 1)[: steps.n_rows] > 0
    others = facts.others
    lone = positions(~always[others.row])
    merged = merge_intervals(Intervals(others.row[lone], others.start[lone], others.stop[lone]))
    lasting = np.where(always, steps.rows, steps.n_rows)
    taken = Facts(
        steps=steps,
        lasting_row=np.concatenate((lasting, np.full(len(merged.key), steps.n_rows))),
        others=Spells(
            source=steps.n_rows + np.arange(len(merged.key)),
            row=merged.key,
            start=merged.start,
            stop=merged.stop,
            end=steps.end(steps.at.student[merged.key]),
        ),
    )
    return taken.total(np.concatenate((steps.n_days, steps.n_days[merged.key])))


def _chronic_tier(absent_ytd: Ints, days_ytd: Ints) -> Floats:
    """0 below 5 % absent, 1 below 10 %, 2 below 20 %, else 3; NaN before 10 days. Exact: integers throughout."""
    tier = sum((absent_ytd * per >= days_ytd * WHOLE_DAY).astype(np.float64) for per in (20, 10, 5))
    return np.where(days_ytd >= MIN_DAYS_FOR_TIER, tier, np.nan)


def _trend(absence: StepSums, days: StepSums, steps: Steps) -> Floats:
    """Slope of the weekly absence rate, in each row with the rates of earlier weeks as they are known by then."""
    n_rows = steps.n_rows
    lags, rows, amounts = zip(absence.late_by_lag(N_LAGS), days.late_by_lag(N_LAGS), strict=True)
    key, code = np.unique(np.concatenate(lags) * n_rows + np.concatenate(rows), return_inverse=True)
    lag, row = np.divmod(key, n_rows)
    n_absences = len(amounts[0])
    more_absent = np.bincount(code[:n_absences], weights=amounts[0], minlength=len(key))
    more_days = np.bincount(code[n_absences:], weights=amounts[1], minlength=len(key))
    days_then = days.base[row - lag] + more_days
    rate_then = ratio(absence.base[row - lag] + more_absent, days_then * WHOLE_DAY)
    corrections = Corrections(lag, row, rate_then, days_then > 0)
    rate = ratio(absence.base, days.base * WHOLE_DAY)
    return slope(rate, days.base > 0, steps.year_lags, corrections, min_points=MIN_WEEKS_FOR_TREND)


def _tardy_rate(rows: AttendanceRows, present_4wk: Ints, steps: Steps) -> Floats:
    tardy = rows.tardy.total().window(0, 3)
    records_tardies = steps.weeks.calendars.records_tardies[steps.weeks.schools].take(steps.at.school)
    return np.where(records_tardies, ratio(tardy, present_4wk), np.nan)


def _expected_share(steps: Steps) -> Floats:
    """Mondays, Fridays and days before a break among the enrolled days of school of the year so far."""
    special = np.concatenate(([0], COUNT_OF_SET.take(steps.at.special_set).cumsum()))
    year_start = steps.year_start
    days = steps.day_offset[1:] - steps.day_offset.take(year_start)
    return ratio(special[1:] - special.take(year_start), days)
