"""Days at school: disengaged absence, illness, suspension, tardiness and missed periods."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.tables import ATTENDANCE_STATUSES
from edupulse_ml.simulation.calibration import ATTENDANCE
from edupulse_ml.simulation.engagement import probability
from edupulse_ml.simulation.trajectories import NOT_ENROLLED, PERIODS_PER_DAY

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]

PRESENT, EXCUSED, UNEXCUSED, TARDY, SUSPENDED, REMOTE = range(len(ATTENDANCE_STATUSES))
_MONDAY_FRIDAY = np.array([1.0, 0.0, 0.0, 0.0, 1.0]) - 0.4


@dataclass
class AttendanceState:
    """What carries over from day to day: illness, suspension days still to serve, the last day at school."""

    is_ill: Bool
    suspension_left: Int
    last_present_day: Int


@dataclass(frozen=True)
class SchoolWeek:
    """One calendar week as each person's school lives it.

    `in_school` [N, 5]: instructional day on which the person is enrolled. `before_break` [N, 5].
    `progress` runs from 0 in August to 1 in June.
    """

    monday: int
    in_school: Bool
    before_break: Bool
    progress: float
    winter: float
    is_last: bool
    absence_shift: float


@dataclass(frozen=True)
class DayPlan:
    """Draws of one week before suspensions are known: [N, 5] each."""

    status: Int8
    periods_absent: Int8


def plan_week(
    rng: np.random.Generator,
    week: SchoolWeek,
    *,
    state: AttendanceState,
    engagement: Float,
    shock: Float,
    health: Float,
    attending: Bool,
) -> DayPlan:
    """Who comes on which day, were nobody suspended. Those no longer attending are absent without excuse."""
    n = len(engagement)
    trend = ATTENDANCE.winter * week.winter + ATTENDANCE.year_trend * week.progress + week.absence_shift
    weekly = (
        ATTENDANCE.base
        + trend
        + (ATTENDANCE.last_week if week.is_last else 0.0)
        + ATTENDANCE.on_engagement * engagement
        + ATTENDANCE.on_shock * np.minimum(shock, 3.0)
        + ATTENDANCE.week_sd * rng.normal(size=n)
    )
    daily = weekly[:, None] + ATTENDANCE.monday_friday * _MONDAY_FRIDAY + ATTENDANCE.before_break * week.before_break
    stays_away = rng.random((n, 5)) < probability(daily)
    ill = _illness(rng, week, state=state, health=health)
    unexcused_logit = (
        ATTENDANCE.unexcused_base
        + ATTENDANCE.unexcused_trend * week.progress
        + ATTENDANCE.unexcused_on_engagement * engagement
    )
    unexcused = rng.random((n, 5)) < probability(unexcused_logit)[:, None]
    tardy = (
        rng.random((n, 5)) < probability(ATTENDANCE.tardy_base + ATTENDANCE.tardy_on_engagement * engagement)[:, None]
    )
    status = np.where(tardy, TARDY, PRESENT)
    status = np.where(stays_away, np.where(unexcused, UNEXCUSED, EXCUSED), status)
    status = np.where(ill, EXCUSED, status)
    status = np.where(attending[:, None], status, UNEXCUSED)
    cuts = (
        rng.random((n, 5))
        < probability(ATTENDANCE.partial_base + ATTENDANCE.partial_on_engagement * engagement)[:, None]
    )
    periods = np.where(cuts, rng.integers(1, 4, (n, 5)), 0)
    status = np.where(week.in_school, status, NOT_ENROLLED).astype(np.int8)
    return DayPlan(status, periods.astype(np.int8))


def _illness(rng: np.random.Generator, week: SchoolWeek, *, state: AttendanceState, health: Float) -> Bool:
    """[N, 5] days of illness; an illness goes on from day to day, weekends included, with a fixed chance."""
    rate = ATTENDANCE.illness_rate / 5 * health * np.exp(ATTENDANCE.illness_winter * (week.winter - 0.5))
    rate = rate * (1 + 0.8 * week.absence_shift)
    draws = rng.random((len(health), 5))
    days = np.zeros((len(health), 5), dtype=np.bool_)
    for day in range(5):
        state.is_ill = draws[:, day] < np.where(state.is_ill, ATTENDANCE.illness_continues, rate)
        days[:, day] = state.is_ill
    return days


def finish_periods(plan: DayPlan) -> Int8:
    """[N, 5] periods missed: all of an absent day, some of a day with cut classes."""
    absent = np.isin(plan.status, (EXCUSED, UNEXCUSED, SUSPENDED))
    enrolled = plan.status != NOT_ENROLLED
    return np.where(absent, PERIODS_PER_DAY, np.where(enrolled, plan.periods_absent, 0)).astype(np.int8)
