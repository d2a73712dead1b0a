"""Ranking, capacity and calibration of one set of scores. Labels are 0 or 1, scores are probabilities, both [B]."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from edupulse_ml.core.errors import InvalidInputError

Float64 = NDArray[np.float64]
Labels = NDArray[np.int8]

TOP_SHARES: Final = (0.05, 0.10)
ECE_BINS: Final = 15

METRICS: Final[tuple[str, ...]] = (
    "auc",
    "average_precision",
    "precision_top5",
    "recall_top5",
    "precision_top10",
    "recall_top10",
    "brier",
    "ece",
    "calibration_slope",
    "calibration_intercept",
)

NO_ROWS: Final = "no rows"
NO_EVENT: Final = "no student left"
ONLY_EVENTS: Final = "every student left"
EQUAL_SCORES: Final = "all scores are equal"
SEPARATED: Final = "the scores separate the classes completely"

_LOGIT_CLIP: Final = 1e-6
_NEWTON_STEPS: Final = 50
_LARGEST_LOGIT: Final = 500.0


@dataclass(frozen=True)
class Measured:
    """A number, or NaN and the reason why there is none."""

    value: float
    reason: str | None = None


@dataclass(frozen=True)
class CalibrationBin:
    """One bin of the calibration curve: `n_rows` scores with their mean and the share that left."""

    mean_score: float
    share_left: float
    n_rows: int


def measure(label: Labels, score: Float64) -> Mapping[str, Measured]:
    """Every metric of `METRICS`.

    Raises:
        InvalidInputError: the arrays differ in length, a label is not 0 or 1, or a score is not a probability.
    """
    _require_scores(label, score)
    ranking_reason = _class_reason(label)
    any_reason = NO_ROWS if len(label) == 0 else None
    slope, intercept = calibration_slope(label, score), calibration_intercept(label, score)
    figures = {
        "auc": _unless(ranking_reason, lambda: float(roc_auc_score(label, score))),
        "average_precision": _unless(_event_reason(label), lambda: float(average_precision_score(label, score))),
        "brier": _unless(any_reason, lambda: float(brier_score_loss(label, score))),
        "ece": _unless(any_reason, lambda: expected_calibration_error(label, score)),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }
    for share in TOP_SHARES:
        name = f"top{round(100 * share)}"
        figures[f"precision_{name}"] = _unless(any_reason, lambda s=share: precision_at(label, score, share=s))
        figures[f"recall_{name}"] = _unless(_event_reason(label), lambda s=share: recall_at(label, score, share=s))
    return {metric: figures[metric] for metric in METRICS}


def capacity(n_rows: float, share: float) -> int:
    """How many places a share of the rows is: rounded up, at least one."""
    return max(1, math.ceil(share * n_rows - 1e-9))


def caught_in_top(label: Labels, score: Float64, *, share: float) -> float:
    """Expected number of events among the `share` of rows with the highest scores, ties drawn at random.

    Never NaN; 0.0 without rows.
    """
    if len(label) == 0:
        return 0.0
    places = min(capacity(len(label), share), len(label))
    threshold = np.partition(score, len(score) - places)[len(score) - places]
    above, tied = score > threshold, score == threshold
    drawn = (places - int(above.sum())) / int(tied.sum())
    return float(label[above].sum() + drawn * label[tied].sum())


def precision_at(label: Labels, score: Float64, *, share: float) -> float:
    """Share of leavers among the rows with the highest scores; NaN without rows."""
    if len(label) == 0:
        return math.nan
    return caught_in_top(label, score, share=share) / capacity(len(label), share)


def recall_at(label: Labels, score: Float64, *, share: float) -> float:
    """Share of all leavers who are among the rows with the highest scores; NaN without an event."""
    events = int(label.sum())
    return caught_in_top(label, score, share=share) / events if events else math.nan


def mass_bins(score: Float64, *, n_bins: int = ECE_BINS) -> NDArray[np.int64]:
    """[B] bin of each score, the bins holding equally many rows; equal scores always share a bin."""
    _, position, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2.0
    return np.minimum((n_bins * middle / max(len(score), 1)).astype(np.int64), n_bins - 1)[position]


def calibration_curve(label: Labels, score: Float64, *, n_bins: int = ECE_BINS) -> tuple[CalibrationBin, ...]:
    """Mean score against the share that left, per equal-mass bin; empty bins are left out."""
    bins = mass_bins(score, n_bins=n_bins)
    count = np.bincount(bins, minlength=n_bins)
    scores = np.bincount(bins, weights=score, minlength=n_bins)
    events = np.bincount(bins, weights=label, minlength=n_bins)
    return tuple(
        CalibrationBin(
            mean_score=float(scores[b] / count[b]), share_left=float(events[b] / count[b]), n_rows=int(count[b])
        )
        for b in np.flatnonzero(count)
    )


def expected_calibration_error(label: Labels, score: Float64, *, n_bins: int = ECE_BINS) -> float:
    """Mean distance between score and share that left over equal-mass bins, weighted by rows; NaN without rows."""
    if len(label) == 0:
        return math.nan
    curve = calibration_curve(label, score, n_bins=n_bins)
    return sum(b.n_rows * abs(b.mean_score - b.share_left) for b in curve) / len(label)


def calibration_slope(label: Labels, score: Float64) -> Measured:
    """Slope of a logistic regression of the label on the score's logit: 1 is right, less is overconfident."""
    reason = _class_reason(label)
    if reason is None and np.ptp(score) == 0:
        reason = EQUAL_SCORES
    if reason is not None:
        return Measured(math.nan, reason)
    logit = _logit(score)
    fitted = _logistic_fit(np.stack([np.ones_like(logit), logit], axis=1), label, offset=np.zeros_like(logit))
    return Measured(math.nan, SEPARATED) if fitted is None else Measured(float(fitted[1]))


def calibration_intercept(label: Labels, score: Float64) -> Measured:
    """Calibration in the large: the shift in logit that makes the mean score right (0 is right, positive: scores are
    too low).
    """
    reason = _class_reason(label)
    if reason is not None:
        return Measured(math.nan, reason)
    logit = _logit(score)
    fitted = _logistic_fit(np.ones((len(logit), 1)), label, offset=logit)
    return Measured(math.nan, SEPARATED) if fitted is None else Measured(float(fitted[0]))


def _logit(score: Float64) -> Float64:
    clipped = np.clip(score, _LOGIT_CLIP, 1.0 - _LOGIT_CLIP)
    return np.log(clipped / (1.0 - clipped))


def _logistic_fit(design: Float64, label: Labels, *, offset: Float64) -> Float64 | None:
    """Maximum likelihood coefficients by Newton's method with step halving; None where there is no maximum."""
    coefficients = np.zeros(design.shape[1])
    loss = _logistic_loss(design @ coefficients + offset, label)
    for _ in range(_NEWTON_STEPS):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ coefficients + offset, -_LARGEST_LOGIT, _LARGEST_LOGIT)))
        gradient = design.T @ (label - probability)
        hessian = design.T @ (design * (probability * (1.0 - probability))[:, None])
        if np.linalg.cond(hessian) > 1e12:
            return None
        step = np.linalg.solve(hessian, gradient)
        while True:
            candidate = coefficients + step
            new_loss = _logistic_loss(design @ candidate + offset, label)
            if new_loss <= loss or np.abs(step).max() < 1e-12:
                break
            step = step / 2.0
        coefficients, loss = candidate, new_loss
        if np.abs(step).max() < 1e-9:
            return coefficients
    return None


def _logistic_loss(logit: Float64, label: Labels) -> float:
    return float((np.logaddexp(0.0, logit) - label * logit).sum())


def _class_reason(label: Labels) -> str | None:
    if len(label) == 0:
        return NO_ROWS
    if not label.any():
        return NO_EVENT
    return ONLY_EVENTS if label.all() else None


def _event_reason(label: Labels) -> str | None:
    reason = _class_reason(label)
    return None if reason == ONLY_EVENTS else reason


def _unless(reason: str | None, compute: Callable[[], float]) -> Measured:
    return Measured(compute()) if reason is None else Measured(math.nan, reason)


def _require_scores(label: Labels, score: Float64) -> None:
    if label.shape != score.shape or label.ndim != 1:
        msg = f"Labels {label.shape} and scores {score.shape} must be two vectors of one length."
        raise InvalidInputError(msg)
    if not np.isin(label, (0, 1)).all():
        msg = "A label is neither 0 nor 1: drop the rows whose label is unknown before measuring."
        raise InvalidInputError(msg)
    if not ((score >= 0.0) & (score <= 1.0)).all():
        msg = "A score is not a probability between 0 and 1: calibrate the model's output before measuring."
        raise InvalidInputError(msg)
