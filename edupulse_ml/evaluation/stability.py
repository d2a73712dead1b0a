"""How steady the weekly list is: counselors stop trusting one that names other students every week.

Legend: B rows, C students, P pairs of weeks, R replicates.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from edupulse_ml.evaluation.bootstrap import cluster_weights
from edupulse_ml.evaluation.figures import MIN_STUDENTS, TOO_FEW, Figure, resampled
from edupulse_ml.evaluation.metrics import Float64, capacity

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

MAX_DAYS_APART: Final = 14
"""Two scored weeks are next to each other if at most one week without school lies between."""


@dataclass(frozen=True)
class Stability:
    """Two neighbouring weeks compared, on the students scored in both; means over `n_pairs` pairs of weeks.

    `jaccard`: students on both lists, of those on either; its interval resamples students, lists staying as they are.
    `rank_autocorrelation`: Spearman correlation of the two weeks' scores. `jaccard_lowest_tenth` is the tenth percentile
    over the pairs: the restless weeks.
    """

    model: str
    task: str
    share_flagged_weekly: float
    n_pairs: int
    jaccard: Figure
    rank_autocorrelation: Figure
    jaccard_lowest_tenth: float | None = None


@dataclass(frozen=True)
class WeeklyLists:
    """Scores [B] of one row per student and week."""

    student: Int32
    cutoff_day: Int32
    score: Float64


def weekly_lists(lists: WeeklyLists, *, share: float, seed: int) -> Bool:
    """[B] whether a row is among the top `share` of its week. Ties are drawn once per student, not once per week."""
    _, position = np.unique(lists.student, return_inverse=True)
    luck = np.random.default_rng(seed).permutation(int(position.max(initial=-1)) + 1)[position]
    order = np.lexsort((luck, -lists.score, lists.cutoff_day))
    _, start, count = np.unique(lists.cutoff_day[order], return_index=True, return_counts=True)
    places = np.asarray([capacity(int(n), share) for n in count], dtype=np.int64)
    flagged = np.zeros(len(order), dtype=np.bool_)
    flagged[order] = np.arange(len(order)) - np.repeat(start, count) < np.repeat(places, count)
    return flagged


def list_stability(lists: WeeklyLists, *, model: str, task: str, share: float, replicates: int, seed: int) -> Stability:
    """How much of the list of a week is on the next one's. No figure where fewer than ten students were scored twice."""
    flagged = weekly_lists(lists, share=share, seed=seed)
    _, position = np.unique(lists.student, return_inverse=True)
    pairs = [_pair(lists.cutoff_day, position, a, b) for a, b in _neighbours(lists.cutoff_day)]
    pairs = [(first, second) for first, second in pairs if len(first) >= MIN_STUDENTS]
    if not pairs:
        few = Figure(None, reason=TOO_FEW)
        return Stability(model, task, share, 0, few, few)
    n_students = int(position.max()) + 1
    both, either = np.zeros((len(pairs), n_students), np.float32), np.zeros((len(pairs), n_students), np.float32)
    correlations = []
    for p, (first, second) in enumerate(pairs):
        both[p, position[first]] = flagged[first] & flagged[second]
        either[p, position[first]] = flagged[first] | flagged[second]
        correlations.append(_spearman(lists.score[first], lists.score[second]))
    drawn = [
        _mean_jaccard(both @ weight_CR, either @ weight_CR)
        for weight_CR in cluster_weights(n_students, replicates=replicates, seed=seed)
    ]
    by_pair = _jaccard(both.sum(axis=1, keepdims=True), either.sum(axis=1, keepdims=True))[:, 0]
    known = np.asarray([value for value in correlations if not np.isnan(value)])
    told = by_pair[~np.isnan(by_pair)]
    return Stability(
        model,
        task,
        share,
        len(pairs),
        resampled(float(told.mean()) if len(told) else float("nan"), np.concatenate(drawn) if drawn else np.empty(0)),
        Figure(float(known.mean())) if len(known) else Figure(None, reason="all scores of a week are equal"),
        float(np.quantile(told, 0.1)) if len(told) else None,
    )


def _neighbours(cutoff_day: Int32) -> list[tuple[int, int]]:
    days = np.unique(cutoff_day)
    return [(a, b) for a, b in pairwise(days.tolist()) if b - a <= MAX_DAYS_APART]


def _pair(cutoff_day: Int32, student: NDArray[np.intp], first: int, second: int) -> tuple[NDArray[np.intp], ...]:
    """Rows of the students scored in both weeks, in the same order."""
    a, b = np.flatnonzero(cutoff_day == first), np.flatnonzero(cutoff_day == second)
    _, in_a, in_b = np.intersect1d(student[a], student[b], assume_unique=True, return_indices=True)
    return a[in_a], b[in_b]


def _jaccard(both: NDArray[np.float32], either: NDArray[np.float32]) -> Float64:
    with np.errstate(divide="ignore", invalid="ignore"):
        return both.astype(np.float64) / either


def _mean_jaccard(both_PR: NDArray[np.float32], either_PR: NDArray[np.float32]) -> Float64:
    """[R] mean over the pairs of which somebody on a list was drawn; NaN where nobody was."""
    ratio = _jaccard(both_PR, either_PR)
    told = ~np.isnan(ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(told, ratio, 0.0).sum(axis=0) / told.sum(axis=0)


def _spearman(first: Float64, second: Float64) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
