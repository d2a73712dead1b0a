"""What OULAD's registrations, clicks and submissions say about study days and coursework (sources.md 3).

Days count from day 0 of the course run. Shape letters: S students, A assessments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.connectors.oulad_files import Assessments, Clicks, CourseRun, Registrations, Submissions

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]

POSTING_DAYS: Final = 14
"""OULAD does not say when a score became known; two weeks after submission (sources.md 3)."""
PERIODS_PER_DAY: Final = 10
_DAYS_PER_WEEK: Final = 7
_EXIT_CODES: Final = {"Withdrawn": "dropout", "Fail": "failed", "Pass": "graduated", "Distinction": "graduated"}


@dataclass(frozen=True)
class StudyPeriods:
    """Those who studied in a run, ordered by `student` [S].

    `entry` and `exit` count from day 0; `exit` is the first day of no longer studying. `cut` is the day of
    unregistration, from which on nothing is kept; infinite for those who stayed to the end.
    """

    student: Int32
    entry: Int32
    exit: Int32
    cut: Float64
    exit_code: Sequence[str]
    source: Int32
    """Position in the run's registrations."""


@dataclass(frozen=True)
class Omissions:
    """Registrations of a run that are not studying: withdrawn without a date, or over by day 0 or by their entry."""

    undated_withdrawals: int
    never_started: int


def study_periods(run: CourseRun, registered: Registrations) -> tuple[StudyPeriods, Omissions]:
    """Who studied in a run, and how many registrations are left out."""
    final = np.array(registered.final_result.to_pylist())
    entry = np.maximum(np.nan_to_num(registered.registered, nan=0.0), 0.0)
    unregistered = registered.unregistered
    stayed = np.isnan(unregistered)
    undated = stayed & (final == "Withdrawn")
    never = ~stayed & (unregistered <= entry)
    kept = np.flatnonzero(~undated & ~never)
    cut = np.where(stayed, np.inf, unregistered)
    periods = StudyPeriods(
        student=registered.student[kept],
        entry=entry[kept].astype(np.int32),
        exit=np.where(stayed, run.length_days, np.nan_to_num(unregistered))[kept].astype(np.int32),
        cut=cut[kept],
        exit_code=[_EXIT_CODES[result] for result in final[kept].tolist()],
        source=kept.astype(np.int32),
    )
    return periods, Omissions(int(undated.sum()), int(never.sum()))


def daily_clicks(clicks: Clicks, periods: StudyPeriods, *, n_days: int) -> Float64:
    """Clicks per study day, [S, n_days]; NaN on days on which the student did not study (before entry, from exit on).
    Repeated entries of a day add up.
    """
    shape = (len(periods.student), n_days)
    at, known = _positions(clicks.student, periods)
    known &= (clicks.day >= 0) & (clicks.day < n_days)
    flat = at[known].astype(np.int64) * n_days + clicks.day[known]
    total = np.bincount(flat, weights=clicks.clicks[known], minlength=shape[0] * shape[1]).reshape(shape)
    day = np.arange(n_days)[None, :]
    studies = (day >= periods.entry[:, None]) & (day < periods.exit[:, None])
    return np.where(studies, total, np.nan)


def periods_absent(clicks: Float64) -> Float64:
    """Of `PERIODS_PER_DAY`, how many count as missed on a day with clicks; NaN on other days.

    A day with as many clicks as the mean active student-day of that week in the run counts in full.
    """
    active = clicks > 0
    week = np.arange(clicks.shape[1]) // _DAYS_PER_WEEK
    n_weeks = int(week[-1]) + 1 if len(week) else 0
    clicked = np.bincount(week, weights=np.where(active, clicks, 0.0).sum(axis=0), minlength=n_weeks)
    active_days = np.bincount(week, weights=active.sum(axis=0), minlength=n_weeks)
    mean = clicked / np.maximum(active_days, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        attended = np.minimum(np.rint(PERIODS_PER_DAY * clicks / mean[week][None, :]), PERIODS_PER_DAY)
    return np.where(active, PERIODS_PER_DAY - attended, np.nan)


@dataclass(frozen=True)
class Coursework:
    """One entry per student and assessment due while they studied, or handed in. `student` and `assessment` are
    positions in the run's study periods and assessments; the days and the score are NaN where there is none. A score
    that would have been posted after unregistration is none.
    """

    student: NDArray[np.intp]
    assessment: NDArray[np.intp]
    submitted: Float64
    posted: Float64
    score: Float64


def coursework(periods: StudyPeriods, items: Assessments, handed_in: Submissions) -> Coursework:
    """What was due from whom. A score carried over from an earlier presentation (banked) is no work of this one."""
    submitted_SA, score_SA, banked_SA = _submission_arrays(periods, items, handed_in)
    cut_S1 = periods.cut[:, None]
    submitted_SA[submitted_SA >= cut_S1] = np.nan
    posted_SA = np.where(np.isnan(score_SA), np.nan, submitted_SA + POSTING_DAYS)
    posted_SA[posted_SA >= cut_S1] = np.nan
    due_1A = items.due[None, :]
    entered = due_1A >= periods.entry[:, None]
    student, assessment = np.nonzero(~banked_SA & (due_1A < cut_S1) & (entered | ~np.isnan(submitted_SA)))
    posted = posted_SA[student, assessment]
    return Coursework(
        student=student,
        assessment=assessment,
        submitted=submitted_SA[student, assessment],
        posted=posted,
        score=np.where(np.isnan(posted), np.nan, score_SA[student, assessment]),
    )


def _submission_arrays(
    periods: StudyPeriods, items: Assessments, handed_in: Submissions
) -> tuple[Float64, Float64, NDArray[np.bool_]]:
    """Day of submission and score (NaN: none), and whether it is banked, each [S, A]."""
    shape = (len(periods.student), len(items.assessment))
    submitted_SA, score_SA = np.full(shape, np.nan), np.full(shape, np.nan)
    banked_SA = np.zeros(shape, dtype=np.bool_)
    by_number = np.argsort(items.assessment)
    item = by_number[np.searchsorted(items.assessment[by_number], handed_in.assessment)]
    student, known = _positions(handed_in.student, periods)
    at = (student[known], item[known])
    submitted_SA[at] = handed_in.submitted[known]
    score_SA[at] = handed_in.score[known]
    banked_SA[at] = handed_in.is_banked[known]
    return submitted_SA, score_SA, banked_SA


def _positions(students: Int32, periods: StudyPeriods) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Positions among those who studied, and which of `students` did."""
    if not len(periods.student):
        return np.zeros(len(students), dtype=np.intp), np.zeros(len(students), dtype=np.bool_)
    at = np.searchsorted(periods.student, students).clip(max=len(periods.student) - 1)
    return at, periods.student[at] == students
