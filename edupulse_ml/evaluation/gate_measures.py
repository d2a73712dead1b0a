"""Figures of the gate, measured on one task's rows: candidate beside champion and rivals on the same draws of students.

Legend: B rows, C students, R replicates, G groups, D bins of equal mass.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.evaluation.bootstrap import Interval, bootstrap_metrics, cluster_weights, percentile_interval
from edupulse_ml.evaluation.gate_evidence import (
    CalibrationFigures,
    ErrorKind,
    FairnessGap,
    ListComparison,
    Opponent,
    RankingComparison,
)
from edupulse_ml.evaluation.metrics import (
    Float64,
    Labels,
    calibration_intercept,
    calibration_slope,
    capacity,
    expected_calibration_error,
    mass_bins,
    measure,
)
from edupulse_ml.evaluation.promotion_policy import FairnessPolicy, PromotionPolicy
from edupulse_ml.evaluation.report import MIN_STUDENTS, TOO_FEW, Figure
from edupulse_ml.evaluation.surest_gap import surest_gap

CANDIDATE: Final = "candidate"
ABC_RULE: Final = "abc_rule"
OPPONENTS: Final[tuple[Opponent, ...]] = ("champion", "lightgbm")
MIN_EVENTS: Final = 10
"""Students who left, below which calibration and ranking of a task are not judged."""

_MISSED: Final[ErrorKind] = "missed leavers"
_FALSE: Final[ErrorKind] = "false alarms"


@dataclass(frozen=True)
class JudgedRows:
    """The labelled rows of one task. `scores` holds `candidate`, `lightgbm`, `abc_rule` and, where there is one,
    `champion`; `student` names whom to resample, `landmark` the list that a row could be on (None: all are of one).
    """

    task: str
    label: Labels
    """[B] 0 or 1"""
    student: NDArray[np.integer]
    scores: Mapping[str, Float64]
    landmark: NDArray[np.str_] | None = None
    """[B]"""

    @property
    def students_who_left(self) -> int:
        return len(np.unique(self.student[self.label == 1]))

    @property
    def reason_untold(self) -> str | None:
        """Why the task cannot be judged on these rows; None where it can."""
        both = {0, 1} <= set(np.unique(self.label).tolist())
        if not both or len(np.unique(self.student)) < MIN_STUDENTS or self.students_who_left < MIN_EVENTS:
            return TOO_FEW
        return None


def compare(
    rows: JudgedRows, policy: PromotionPolicy, *, seed: int = 0
) -> tuple[tuple[RankingComparison, ...], tuple[ListComparison, ...]]:
    """The candidate's ranking beside each opponent's, and its lists beside the ABC rule's."""
    opponents: list[Opponent] = [name for name in OPPONENTS if name in rows.scores]
    reason = rows.reason_untold
    if reason is not None:
        untold = Figure(None, reason=reason)
        return (
            tuple(
                RankingComparison(name, rows.task, metric, None, None, untold)
                for name in opponents
                for metric in policy.ranking.metrics
            ),
            tuple(ListComparison(rows.task, share, None, None, untold) for share in policy.lists.shares),
        )
    draws = bootstrap_metrics(rows.label, rows.scores, rows.student, replicates=policy.replicates, seed=seed)
    figures = {name: measure(rows.label, score) for name, score in rows.scores.items()}

    def difference(metric: str, other: str) -> tuple[float, float, Figure]:
        mine, theirs = figures[CANDIDATE][metric].value, figures[other][metric].value
        interval = percentile_interval(draws[CANDIDATE][metric] - draws[other][metric], coverage=policy.confidence)
        return mine, theirs, Figure(mine - theirs, interval.low, interval.high)

    return (
        tuple(
            RankingComparison(name, rows.task, metric, *difference(metric, name))
            for name in opponents
            for metric in policy.ranking.metrics
        ),
        tuple(
            ListComparison(rows.task, share, *difference(f"precision_top{round(100 * share)}", ABC_RULE))
            for share in policy.lists.shares
        ),
    )


def calibration_figures(rows: JudgedRows, policy: PromotionPolicy, *, seed: int = 0) -> CalibrationFigures:
    """Slope with a sandwich interval clustered by student, and ECE with bounds that chance cannot cross.

    Chance alone makes an ECE, so resampling one gives intervals that lie too high. By the triangle inequality the true
    ECE differs from the measured one by no more than the ECE of the noise; that one's upper quantile, from residuals with
    random signs (the wild bootstrap, Liu 1988), is the reach of the interval.
    """
    reason = rows.reason_untold
    if reason is not None:
        return CalibrationFigures(rows.task, None, Figure(None, reason=reason), Figure(None, reason=reason))
    score = rows.scores[CANDIDATE]
    return CalibrationFigures(
        rows.task,
        float(rows.label.mean()),
        slope_figure(rows.label, score, rows.student, confidence=policy.confidence),
        _ece(rows, score, policy, seed=seed),
    )


def slope_figure(label: Labels, score: Float64, student: NDArray[np.integer], *, confidence: float) -> Figure:
    """Calibration slope with an interval from a sandwich variance clustered by student."""
    slope = calibration_slope(label, score)
    if math.isnan(slope.value):
        return Figure(None, reason=slope.reason)
    clipped = np.clip(score, 1e-6, 1 - 1e-6)
    logit = np.log(clipped / (1 - clipped))
    # With the slope at its maximum, the intercept alone is at its own: together they are the fit's two coefficients.
    stretched = 1 / (1 + np.exp(-slope.value * logit))
    shift = calibration_intercept(label, stretched).value
    fitted = 1 / (1 + np.exp(-(slope.value * logit + shift)))
    design = np.stack([np.ones_like(logit), logit], axis=1)
    bread = np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    _, position = np.unique(student, return_inverse=True)
    by_student = np.zeros((int(position.max()) + 1, 2))
    np.add.at(by_student, position, design * (label - fitted)[:, None])
    variance = (bread @ (by_student.T @ by_student) @ bread)[1, 1]
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    return Figure(slope.value, slope.value - reach, slope.value + reach)


def _ece(rows: JudgedRows, score: Float64, policy: PromotionPolicy, *, seed: int) -> Figure:
    value = expected_calibration_error(rows.label, score)
    noise = _ece_noise(rows.label - score, mass_bins(score), rows.student, replicates=policy.replicates, seed=seed)
    reach = float(np.quantile(noise, (1 + policy.confidence) / 2))
    return Figure(value, max(0.0, value - reach), value + reach)


def _ece_noise(
    residual: Float64, bins: NDArray[np.int64], student: NDArray[np.integer], *, replicates: int, seed: int
) -> Float64:
    """[R] the ECE that chance alone makes: each student's residuals, freed of their bin's mean, with signs at random."""
    _, position = np.unique(student, return_inverse=True)
    n_students, n_bins = int(position.max()) + 1, int(bins.max()) + 1
    bin_mean = np.bincount(bins, weights=residual) / np.maximum(np.bincount(bins), 1)
    by_chance_DC = np.bincount(
        bins * n_students + position, weights=residual - bin_mean[bins], minlength=n_bins * n_students
    ).reshape(n_bins, n_students)
    rng = np.random.default_rng(seed)
    return np.array(
        [
            np.abs(by_chance_DC @ rng.choice((-1.0, 1.0), size=n_students)).sum() / len(residual)
            for _ in range(replicates)
        ]
    )


def fairness_gaps(
    rows: JudgedRows, groups: Mapping[str, Sequence[str | None]], policy: PromotionPolicy, *, seed: int = 0
) -> tuple[FairnessGap, ...]:
    """Per attribute (`groups`: the group [B] of each row's student) the surest gap in missed leavers and false alarms.

    Each pair of groups has an interval; as many pairs, as much wider are they (Bonferroni), so that many small groups
    do not make a gap out of noise. Flagged are the `flagged_share` of each landmark's rows with the highest scores.
    """
    flagged = _flags(rows.scores[CANDIDATE], share=policy.fairness.flagged_share, landmark=rows.landmark)
    return tuple(
        _surest_gap(rows, np.asarray([value or "" for value in values]), attribute, error, flagged, policy, seed)
        for attribute, values in groups.items()
        for error in (_MISSED, _FALSE)
    )


def _flags(score: Float64, *, share: float, landmark: NDArray[np.str_] | None = None) -> Float64:
    """[B] 1 on the landmark's list, 0 off it; ties at a list's end share the places left."""
    if not len(score):
        return np.zeros(0)
    if landmark is not None:
        flagged = np.zeros(len(score))
        for name in np.unique(landmark):
            rows = landmark == name
            flagged[rows] = _flags(score[rows], share=share)
        return flagged
    places = min(capacity(len(score), share), len(score))
    threshold = np.partition(score, len(score) - places)[len(score) - places]
    above, tied = score > threshold, score == threshold
    return np.where(above, 1.0, np.where(tied, (places - above.sum()) / max(tied.sum(), 1), 0.0))


def _surest_gap(
    rows: JudgedRows,
    group: NDArray[np.str_],
    attribute: str,
    error: ErrorKind,
    flagged: Float64,
    policy: PromotionPolicy,
    seed: int,
) -> FairnessGap:
    asked = rows.label == (1 if error == _MISSED else 0)
    wrong = np.where(asked, 1.0 - flagged if error == _MISSED else flagged, 0.0)
    told = [
        name for name in np.unique(group) if name and _is_large(rows, (group == name) & asked, error, policy.fairness)
    ]
    if len(told) < 2:
        return FairnessGap(attribute, error, None, None, Figure(None, reason=TOO_FEW))
    _, position = np.unique(rows.student, return_inverse=True)
    n_students = int(position.max()) + 1
    of_group = [group == name for name in told]
    wrong_GC = np.stack([np.bincount(position, weights=wrong * member, minlength=n_students) for member in of_group])
    asked_GC = np.stack([np.bincount(position, weights=asked & member, minlength=n_students) for member in of_group])
    with np.errstate(invalid="ignore", divide="ignore"):
        draws_GR = np.concatenate(
            [
                (wrong_GC @ weight_CR) / (asked_GC @ weight_CR)
                for weight_CR in cluster_weights(n_students, replicates=policy.replicates, seed=seed)
            ],
            axis=1,
        )
    rate_G = wrong_GC.sum(axis=1) / asked_GC.sum(axis=1)

    def interval(high: int, low: int, coverage: float) -> Interval:
        found = percentile_interval(draws_GR[high] - draws_GR[low], coverage=coverage)
        return Interval(max(0.0, found.low), found.high)

    pair = surest_gap(rate_G.tolist(), interval, confidence=policy.confidence)
    return FairnessGap(attribute, error, str(told[pair.higher]), str(told[pair.lower]), pair.gap)


def _is_large(rows: JudgedRows, asked: NDArray[np.bool_], error: ErrorKind, policy: FairnessPolicy) -> bool:
    students = len(np.unique(rows.student[asked]))
    return students >= (max(policy.min_students, policy.min_events) if error == _MISSED else policy.min_students)
