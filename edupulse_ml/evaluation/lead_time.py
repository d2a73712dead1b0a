"""How early leavers are seen: days from the first sustained flag to the last day attended."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.metrics import Float64, capacity

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

FLAG_WINDOW_WEEKS: Final = 3
FLAGS_NEEDED: Final = 2
LEAD_DAYS: Final = (30, 60, 90)
MIN_LEAVERS: Final = 10
ECDF_POINTS: Final = 21
DAYS_BETWEEN_LISTS: Final = 7
TOO_LATE_DAYS: Final = 30
"""Flagged less than so many days before the last day attended is too late for most support."""
SEEN_AT_DAYS: Final[tuple[int, ...]] = (0, 15, 30, 45, 60, 90, 120, 150, 180)


@dataclass(frozen=True)
class LeadTime:
    """Lead time of those who left while the lists were drawn up, in days. Shares are of the leavers who were flagged at
    all (`n_caught`); `share_never_flagged` is of all `n_leavers`. None and an empty ECDF where fewer than ten leavers
    (or, for what speaks of the caught, fewer than ten caught) would be described; `reason` then says so.
    """

    share_flagged_weekly: float
    n_leavers: int
    n_caught: int
    median_days: float | None
    quartile_low_days: float | None
    quartile_high_days: float | None
    share_at_least_30: float | None
    share_at_least_60: float | None
    share_at_least_90: float | None
    share_never_flagged: float | None
    ecdf_days: tuple[float, ...]
    """Quantiles 0, .05, ..., 1 of the lead of those caught."""
    reason: str | None = None
    share_too_late: float | None = None
    """Of all leavers, those who were flagged, but fewer than `TOO_LATE_DAYS` days ahead."""
    share_seen: tuple[float, ...] = ()
    """Of all leavers, flagged at least `SEEN_AT_DAYS` ahead, one share for each; never rises."""


def weekly_flags(score: Float64, cutoff_day: Int32, *, share: float, seed: int) -> Bool:
    """[B] whether a row is among the top `share` of its cutoff; ties are drawn by the seed."""
    shuffle = np.random.default_rng(seed).permutation(len(score))
    order = shuffle[np.lexsort((-score[shuffle], cutoff_day[shuffle]))]
    _, start, count = np.unique(cutoff_day[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(start, count)
    places = np.repeat(np.asarray([capacity(int(n), share) for n in count], dtype=np.int64), count)
    flagged = np.zeros(len(score), dtype=np.bool_)
    flagged[order] = rank < places
    return flagged


def first_sustained_flag(student: Int32, cutoff_day: Int32, flagged: Bool) -> tuple[Int32, Int32]:
    """Students, and the cutoff at which each first had two flags in the last three scored weeks (`NEVER`: none)."""
    order = np.lexsort((cutoff_day, student))
    who, when, flag = student[order], cutoff_day[order], flagged[order].astype(np.int64)
    running = np.concatenate([[0], np.cumsum(flag)])
    students, start, count = np.unique(who, return_index=True, return_counts=True)
    position = np.arange(len(who))
    from_position = np.maximum(position - FLAG_WINDOW_WEEKS + 1, np.repeat(start, count))
    sustained = running[position + 1] - running[from_position] >= FLAGS_NEEDED
    first = np.full(len(students), NEVER, dtype=np.int32)
    np.minimum.at(first, np.repeat(np.arange(len(students)), count)[sustained], when[sustained])
    return students.astype(np.int32), first


def lead_time(
    student: Int32, cutoff_day: Int32, score: Float64, outcomes: Outcomes, *, share: float = 0.10, seed: int = 0
) -> LeadTime:
    """Lead time over weekly scores: one row per student and week, `outcomes` with one entry per row.

    Weeks that end on or after a leaver's last day attended are left out. A leaver counts if there is at least one
    scored week before that, and if the last day attended is at most a week after the last list: a list cannot be asked
    about those who left in a later school year. They stay on the lists as people who did not leave in that time.
    """
    lists_end = int(cutoff_day.max(initial=-NEVER)) + DAYS_BETWEEN_LISTS
    before = cutoff_day < outcomes.event_day
    student, cutoff_day, score, event_day = (
        student[before],
        cutoff_day[before],
        score[before],
        outcomes.event_day[before],
    )
    flagged = weekly_flags(score, cutoff_day, share=share, seed=seed)
    students, first_flag = first_sustained_flag(student, cutoff_day, flagged)
    event = np.full(len(students), NEVER, dtype=np.int32)
    event[np.searchsorted(students, student)] = event_day
    leaves = event <= lists_end
    lead = (event[leaves].astype(np.int64) - first_flag[leaves])[first_flag[leaves] != NEVER].astype(np.float64)
    n_leavers, n_caught = int(leaves.sum()), len(lead)
    described = n_caught >= MIN_LEAVERS
    quartiles = [float(q) for q in np.quantile(lead, [0.25, 0.5, 0.75])] if described else [None] * 3
    at_least = [float((lead >= days).mean()) if described else None for days in LEAD_DAYS]
    ecdf = np.quantile(lead, np.linspace(0, 1, ECDF_POINTS)) if described else np.empty(0)
    return LeadTime(
        share_flagged_weekly=share,
        n_leavers=n_leavers,
        n_caught=n_caught,
        median_days=quartiles[1],
        quartile_low_days=quartiles[0],
        quartile_high_days=quartiles[2],
        share_at_least_30=at_least[0],
        share_at_least_60=at_least[1],
        share_at_least_90=at_least[2],
        share_never_flagged=1 - n_caught / n_leavers if n_leavers >= MIN_LEAVERS else None,
        ecdf_days=tuple(float(days) for days in ecdf),
        reason=None if described else "too few leavers were flagged to describe them",
        share_too_late=float((lead < TOO_LATE_DAYS).sum() / n_leavers) if described else None,
        share_seen=tuple(float((lead >= days).sum() / n_leavers) for days in SEEN_AT_DAYS) if described else (),
    )
