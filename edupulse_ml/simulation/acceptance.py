"""The rates that a simulated district must show (sources.md 7.2), computed from its records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.records import AttendanceEvents, DisciplineEvents, RecordSet, filter_events
from edupulse_ml.core.tables import ABSENT_STATUSES, ATTENDANCE_STATUSES, DISCIPLINE_ACTIONS
from edupulse_ml.core.weeks import NEVER

Int32 = NDArray[np.int32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_ABSENT: Final = np.array([ATTENDANCE_STATUSES.index(status) for status in ABSENT_STATUSES])
_UNEXCUSED: Final = ATTENDANCE_STATUSES.index("absent_unexcused")
_OSS: Final = DISCIPLINE_ACTIONS.index("OSS")
_GRADE_POINT_CUTS: Final = (60.0, 70.0, 80.0, 90.0)
_PASS: Final = 60.0
_CHRONIC: Final = 0.1
_MIN_DAYS: Final = 10
_MONTH: Final = 28


@dataclass(frozen=True)
class AcceptanceRow:
    """One quantity beside the band, both ends included, in which it must lie."""

    quantity: str
    value: float
    low: float
    high: float

    @property
    def ok(self) -> bool:
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class SchoolYearSpan:
    """Days of one school year: `first_day` to `last_day` of school; leaving over the following summer counts in it."""

    first_day: int
    last_day: int
    summer_end: int


@dataclass(frozen=True)
class Leaving:
    """The truth about N students: last day attended of those who left for good (`NEVER`: did not) and whether the
    cause lies outside everything that is modelled.
    """

    day: Int32
    other_cause: Bool


def school_years(records: RecordSet, *, years: Sequence[int]) -> list[SchoolYearSpan]:
    """The spans of some school years, by the calendar of the first school."""
    row = records.calendars.school_year[0]
    spans = []
    for year in years:
        days = np.flatnonzero(row == year) + records.calendars.first_day
        spans.append(SchoolYearSpan(int(days[0]), int(days[-1]), int(days[-1]) + 70))
    return spans


def rate_rows(
    records: RecordSet, *, leaving: Leaving, race: Sequence[str], years: Sequence[int]
) -> list[AcceptanceRow]:
    """Rates pooled over school years, each beside its band. `race` has one entry per student."""
    spans = school_years(records, years=years)
    attendance = _in_force(records.attendance)
    discipline = _in_force(records.discipline)
    return [
        *_dropout_rows(records, attendance, leaving=leaving, spans=spans),
        *_absence_rows(records, attendance, spans=spans),
        *_season_rows(records, attendance, spans=spans),
        *_discipline_rows(attendance, discipline, race=np.asarray(race), n_students=records.n_students, spans=spans),
        *_mark_rows(records, spans=spans),
    ]


E = TypeVar("E", AttendanceEvents, DisciplineEvents)


def _in_force(events: E) -> E:
    return filter_events(events, events.superseded_day == NEVER)


def _within(day: Int32, span: SchoolYearSpan) -> Bool:
    return (day >= span.first_day) & (day <= span.last_day)


def _counts(student: Int32, n_students: int) -> Float:
    return np.bincount(student, minlength=n_students).astype(np.float64)


def _dropout_rows(
    records: RecordSet, attendance: AttendanceEvents, *, leaving: Leaving, spans: Sequence[SchoolYearSpan]
) -> list[AcceptanceRow]:
    n = records.n_students
    enrolled, left = np.zeros((len(spans), n), dtype=np.bool_), np.zeros((len(spans), n), dtype=np.bool_)
    grade = np.zeros((len(spans), n), dtype=np.int64)
    for index, span in enumerate(spans):
        enrolled[index] = _counts(attendance.student[_within(attendance.day, span)], n) > 0
        left[index] = enrolled[index] & (leaving.day >= span.first_day) & (leaving.day < span.summer_end)
        spell = (records.enrollments.entry_day >= span.first_day) & (records.enrollments.entry_day <= span.last_day)
        grade[index, records.enrollments.student[spell]] = records.enrollments.grade_level[spell]
    by_grade = [float(left[enrolled & (grade == level)].mean()) for level in range(9, 13)]
    implied = float(np.prod([1 - rate for rate in by_grade]))
    other = float(leaving.other_cause[left.any(axis=0)].mean())
    return [
        AcceptanceRow("event dropout per year, grades 9-12", float(left[enrolled].mean()), 0.03, 0.05),
        AcceptanceRow("stay through grades 9-12 at these rates", implied, 0.80, 0.90),
        AcceptanceRow("leavers whose cause is in no record", other, 0.04, 0.14),
    ]


def _absence_rows(
    records: RecordSet, attendance: AttendanceEvents, *, spans: Sequence[SchoolYearSpan]
) -> list[AcceptanceRow]:
    n = records.n_students
    absent_all, days_all = [], []
    is_absent = np.isin(attendance.status, _ABSENT)
    for span in spans:
        within = _within(attendance.day, span)
        absent_all.append(_counts(attendance.student[within & is_absent], n))
        days_all.append(_counts(attendance.student[within], n))
    absent, days = np.concatenate(absent_all), np.concatenate(days_all)
    known = days >= _MIN_DAYS
    chronic = float((absent[known] / days[known] >= _CHRONIC).mean())
    return [
        AcceptanceRow("average daily attendance", float(1 - absent.sum() / days.sum()), 0.91, 0.93),
        AcceptanceRow("chronically absent (10 % or more)", chronic, 0.24, 0.30),
    ]


def _season_rows(
    records: RecordSet, attendance: AttendanceEvents, *, spans: Sequence[SchoolYearSpan]
) -> list[AcceptanceRow]:
    is_absent = np.isin(attendance.status, _ABSENT)
    unexcused = attendance.status == _UNEXCUSED
    school_day = np.asarray(records.calendars.is_instructional.any(axis=0))
    before_break = _days_before_breaks(school_day)[attendance.day - records.calendars.first_day]
    early, winter, early_share, late_share = [], [], [], []
    for span in spans:
        first = (attendance.day >= span.first_day) & (attendance.day < span.first_day + _MONTH)
        last = (attendance.day <= span.last_day) & (attendance.day > span.last_day - _MONTH)
        middle = np.abs(attendance.day - (span.first_day + span.last_day) // 2) <= _MONTH
        early.append(is_absent[first].mean())
        winter.append(is_absent[middle].mean())
        early_share.append(unexcused[first & is_absent].mean())
        late_share.append(unexcused[last & is_absent].mean())
    spike = is_absent[before_break].mean() / is_absent[~before_break].mean()
    return [
        AcceptanceRow(
            "absence in winter over absence in the first month", float(np.mean(winter) / np.mean(early)), 1.2, 2.0
        ),
        AcceptanceRow("absence before breaks over other days", float(spike), 1.15, 2.2),
        AcceptanceRow("unexcused share of absences, first month", float(np.mean(early_share)), 0.30, 0.40),
        AcceptanceRow("unexcused share of absences, last month", float(np.mean(late_share)), 0.50, 0.60),
    ]


def _days_before_breaks(school_day: Bool) -> Bool:
    """Fridays and other last days of school before at least three days, weekend included, without any."""
    following = np.zeros_like(school_day)
    following[:-4] = ~school_day[1:-3] & ~school_day[2:-2] & ~school_day[3:-1] & ~school_day[4:]
    return school_day & following


def _discipline_rows(
    attendance: AttendanceEvents,
    discipline: DisciplineEvents,
    *,
    race: NDArray[np.str_],
    n_students: int,
    spans: Sequence[SchoolYearSpan],
) -> list[AcceptanceRow]:
    referrals, suspensions, races = [], [], []
    for span in spans:
        enrolled = _counts(attendance.student[_within(attendance.day, span)], n_students) > 0
        within = _within(discipline.day, span)
        referrals.append(_counts(discipline.student[within], n_students)[enrolled])
        suspensions.append(_counts(discipline.student[within & (discipline.action == _OSS)], n_students)[enrolled])
        races.append(race[enrolled])
    odr, suspended, group = np.concatenate(referrals), np.concatenate(suspensions) > 0, np.concatenate(races)
    ratio = suspended[group == "black"].mean() / suspended[group == "white"].mean()
    return [
        AcceptanceRow("any office referral in a year", float((odr > 0).mean()), 0.20, 0.30),
        AcceptanceRow("0-1 referrals in a year", float((odr <= 1).mean()), 0.82, 0.91),
        AcceptanceRow("2-5 referrals in a year", float(((odr >= 2) & (odr <= 5)).mean()), 0.07, 0.14),
        AcceptanceRow("6 or more referrals in a year", float((odr >= 6).mean()), 0.015, 0.05),
        AcceptanceRow("suspended out of school in a year", float(suspended.mean()), 0.04, 0.06),
        AcceptanceRow("suspended: Black over White students", float(ratio), 1.7, 3.3),
    ]


def _mark_rows(records: RecordSet, *, spans: Sequence[SchoolYearSpan]) -> list[AcceptanceRow]:
    transcript = filter_events(records.transcript, records.transcript.superseded_day == NEVER)
    in_time = (transcript.posted_day >= spans[0].first_day) & (transcript.posted_day <= spans[-1].summer_end)
    transcript = filter_events(transcript, in_time)
    student_term = transcript.student.astype(np.int64) * (int(transcript.term.max()) + 1) + transcript.term
    _, group = np.unique(student_term, return_inverse=True)
    failed = np.bincount(group, weights=transcript.final_pct < _PASS) > 0
    points = np.searchsorted(_GRADE_POINT_CUTS, transcript.final_pct, side="right").astype(np.float64)
    credit = transcript.credits_attempted.astype(np.float64)
    total = np.bincount(transcript.student, weights=credit, minlength=records.n_students)
    gpa = np.bincount(transcript.student, weights=credit * points, minlength=records.n_students)
    gpa = gpa[total > 0] / total[total > 0]
    return [
        AcceptanceRow("grade point average, mean", float(gpa.mean()), 2.9, 3.1),
        AcceptanceRow("grade point average, standard deviation", float(gpa.std()), 0.7, 0.9),
        AcceptanceRow("a course failed, per student and term", float(failed.mean()), 0.20, 0.25),
    ]
