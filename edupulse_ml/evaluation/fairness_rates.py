"""Measures fairness by group: point values by fairlearn, intervals by resampling students.

Legend: B rows, C students, G groups, K counts, R replicates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate, mean_prediction, selection_rate
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import roc_auc_score

from edupulse_ml.evaluation import metrics
from edupulse_ml.evaluation.audit_groups import AuditFamily
from edupulse_ml.evaluation.bootstrap import Interval, WeightedRanking, cluster_weights
from edupulse_ml.evaluation.fairness import (
    FAIRNESS_METRICS,
    GAP_METRICS,
    MIN_RATE_STUDENTS,
    NOT_RECORDED,
    GroupFairness,
    GroupGap,
)
from edupulse_ml.evaluation.figures import TOO_FEW, Figure, resampled
from edupulse_ml.evaluation.metrics import Float64, Labels
from edupulse_ml.evaluation.surest_gap import surest_gap

Bool = NDArray[np.bool_]

_CALIBRATION: Final = ("calibration_error", "calibration_intercept", "calibration_slope", "ece")
_OF_LEAVERS: Final = frozenset({"fnr", "share_left", "auc", *_CALIBRATION})
_COUNTS: Final = ("caught", "missed", "false_alarm", "passed", "score")


@dataclass(frozen=True)
class AuditedScores:
    """One model on one task: label, score and whether flagged, all [B]; `student` [B] counts from 0 without gaps.

    `calibrated` False: the task's follow-up is too short for calibration to be read.
    """

    model: str
    task: str
    label: Labels
    score: Float64
    flagged: Bool
    student: NDArray[np.intp]
    calibrated: bool = True


@dataclass(frozen=True)
class Draws:
    """How intervals are made. Ranking within groups is resampled only if asked: it costs most."""

    replicates: int
    seed: int
    rank_groups: bool = True


def measure_family(
    scores: AuditedScores, family: AuditFamily, *, draws: Draws
) -> tuple[tuple[GroupFairness, ...], tuple[GroupGap, ...]]:
    """Every group of the family, and the gaps of each of its attributes."""
    tellable = _tellable(scores, family)
    values = _point_values(scores, family)
    replicates_GR = _replicates(scores, family, draws, rank=tellable["auc"] & draws.rank_groups)
    groups: list[GroupFairness] = []
    students, leavers = tellable["students"], tellable["leavers"]
    for g, (attribute, group) in enumerate(zip(family.attribute, family.group, strict=True)):
        members = family.members[g]
        told = students[g]
        groups.append(
            GroupFairness(
                scores.model,
                scores.task,
                attribute,
                group,
                n_students=_distinct(scores.student[members]) if told else None,
                n_leavers=_distinct(scores.student[members & (scores.label == 1)]) if told and leavers[g] else None,
                figures={
                    metric: (
                        resampled(values[metric][g], replicates_GR[metric][g])
                        if tellable[metric][g]
                        else Figure(None, reason=TOO_FEW)
                    )
                    for metric in FAIRNESS_METRICS
                    if scores.calibrated or metric not in _CALIBRATION
                }
                if told
                else {},
                reason=None if told else TOO_FEW,
            )
        )
    return tuple(groups), _gaps(scores, family, groups, replicates_GR)


def _tellable(scores: AuditedScores, family: AuditFamily) -> dict[str, Bool]:
    """[G] per metric, and for the counts of students and of leavers: told only if nothing small can be worked out."""
    left = scores.label == 1
    described = {"leavers": left, "stayers": ~left, "flagged": scores.flagged, "students": np.ones_like(left)}
    safe = {name: family.to_tell(scores.student, rows) for name, rows in described.items()}
    many = {
        name: np.asarray([_distinct(scores.student[m & rows]) >= MIN_RATE_STUDENTS for m in family.members])
        for name, rows in described.items()
    }
    everyone = safe["students"]
    of_leavers = everyone & safe["leavers"] & many["leavers"]
    of_stayers = everyone & safe["stayers"] & many["stayers"]
    return {
        **dict.fromkeys(_OF_LEAVERS, of_leavers),
        "fpr": of_stayers,
        "ppv": everyone & safe["flagged"] & many["flagged"],
        "selection_rate": everyone,
        "auc": of_leavers & of_stayers,
        "students": everyone,
        "leavers": safe["leavers"],
    }


def _point_values(scores: AuditedScores, family: AuditFamily) -> dict[str, Float64]:
    """[G] per metric, NaN where it does not exist."""
    found = _error_rates(scores, family)
    for metric, measured in _OF_SCORES.items():
        found[metric] = np.asarray([measured(scores.label[m], scores.score[m]) for m in family.members])
    return found


def _error_rates(scores: AuditedScores, family: AuditFamily) -> dict[str, Float64]:
    """[G] by fairlearn, from each group's rows counted by label and flag: it reads row by row, which takes minutes."""
    left, n_groups = scores.label == 1, len(family.group)
    kinds = [(truth, flag) for truth in (0, 1) for flag in (0, 1)]
    count = np.stack(
        [(family.members & (left == truth) & (scores.flagged == flag)).sum(axis=1) for truth, flag in kinds]
    )
    present = count.ravel() > 0
    rows = pd.DataFrame(
        {
            "label": np.repeat([truth for truth, _ in kinds], n_groups),
            "flagged": np.repeat([flag for _, flag in kinds], n_groups),
            "group": np.tile(np.arange(n_groups), len(kinds)),
            "count": count.ravel(),
        }
    )[present]
    frame = MetricFrame(
        metrics=_RATES,
        y_true=rows["label"],
        y_pred=rows["flagged"],
        sensitive_features=rows["group"],
        sample_params={name: {"sample_weight": rows["count"]} for name in _RATES},
    )
    by_group = frame.by_group.reindex(range(n_groups))
    return {name: by_group[name].to_numpy(dtype=np.float64) for name in _RATES}


def _replicates(scores: AuditedScores, family: AuditFamily, draws: Draws, *, rank: Bool) -> Mapping[str, Float64]:
    """[G, R] per metric; NaN for those that are not resampled. Flags stay as they are in every draw."""
    n_students, n_groups = int(scores.student.max(initial=-1)) + 1, len(family.group)
    counts = _student_counts(scores, family, n_students)
    rankings = {g: _ranking(scores, family.members[g]) for g in np.flatnonzero(rank)}
    parts: dict[str, list[Float64]] = {metric: [] for metric in FAIRNESS_METRICS}
    for weight_CR in cluster_weights(n_students, replicates=draws.replicates, seed=draws.seed):
        drawn = (counts @ weight_CR).reshape(len(_COUNTS), n_groups, -1).astype(np.float64)
        rates = _rates(dict(zip(_COUNTS, drawn, strict=True)))
        rates["auc"] = np.full(drawn.shape[1:], math.nan)
        for g, ranking in rankings.items():
            rates["auc"][g] = ranking.auc(weight_CR)
        for metric, part in parts.items():
            part.append(rates.get(metric, np.full(drawn.shape[1:], math.nan)))
    return {metric: np.concatenate(part, axis=1) for metric, part in parts.items()}


def _student_counts(scores: AuditedScores, family: AuditFamily, n_students: int) -> csr_matrix:
    """[K * G, C] each student's rows of each kind in each group, and the sum of their scores."""
    left = scores.label == 1
    kinds = (
        left & scores.flagged,
        left & ~scores.flagged,
        ~left & scores.flagged,
        ~left & ~scores.flagged,
    )
    weights = [*(kind.astype(np.float32) for kind in kinds), scores.score.astype(np.float32)]
    group, row = np.nonzero(family.members)
    n_groups = len(family.group)
    return csr_matrix(
        (
            np.concatenate([weight[row] for weight in weights]),
            (
                np.concatenate([kind * n_groups + group for kind in range(len(weights))]),
                np.tile(scores.student[row], len(weights)),
            ),
        ),
        shape=(len(weights) * n_groups, n_students),
    )


def _rates(count: Mapping[str, Float64]) -> dict[str, Float64]:
    left, stayed = count["caught"] + count["missed"], count["false_alarm"] + count["passed"]
    flagged, rows = count["caught"] + count["false_alarm"], left + stayed
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "fnr": count["missed"] / left,
            "fpr": count["false_alarm"] / stayed,
            "ppv": count["caught"] / flagged,
            "selection_rate": flagged / rows,
            "share_left": left / rows,
            "calibration_error": (count["score"] - left) / rows,
        }


def _ranking(scores: AuditedScores, members: Bool) -> WeightedRanking:
    return WeightedRanking.of(scores.label[members], scores.score[members], scores.student[members])


def _gaps(
    scores: AuditedScores, family: AuditFamily, groups: Sequence[GroupFairness], replicates_GR: Mapping[str, Float64]
) -> tuple[GroupGap, ...]:
    return tuple(
        _gap(scores, attribute, metric, _told_values(groups, attribute, metric), replicates_GR[metric])
        for attribute in dict.fromkeys(family.attribute)
        for metric in GAP_METRICS
        if scores.calibrated or metric not in _CALIBRATION
    )


def _told_values(groups: Sequence[GroupFairness], attribute: str, metric: str) -> list[tuple[float, str, int]]:
    """(value, group, position) of the groups that take part in the gap, in the order of their values."""
    found: list[tuple[float, str, int]] = []
    for g, entry in enumerate(groups):
        value = entry.figures.get(metric, Figure(None)).value
        if entry.attribute == attribute and entry.group != NOT_RECORDED and value is not None:
            found.append((value, entry.group, g))
    return sorted(found)


def _gap(
    scores: AuditedScores, attribute: str, metric: str, told: Sequence[tuple[float, str, int]], replicates_GR: Float64
) -> GroupGap:
    if len(told) < 2:
        return GroupGap(scores.model, scores.task, attribute, metric, Figure(None, reason=TOO_FEW))
    values = [value for value, _, _ in told]

    def interval(high: int, low: int, coverage: float) -> Interval | None:
        draws = replicates_GR[told[high][2]] - replicates_GR[told[low][2]]
        draws = draws[~np.isnan(draws)]
        if len(draws) < 2:
            return None
        reach = NormalDist().inv_cdf((1 + coverage) / 2) * float(draws.std(ddof=1))
        difference = values[high] - values[low]
        return Interval(difference - reach, difference + reach)

    pair = surest_gap(values, interval)
    return GroupGap(
        scores.model, scores.task, attribute, metric, pair.gap, higher=told[pair.higher][1], lower=told[pair.lower][1]
    )


def _distinct(student: NDArray[np.intp]) -> int:
    return len(np.unique(student))


def _precision(y_true: Labels, y_pred: Labels, *, sample_weight: Float64) -> float:
    on_list = y_pred == 1
    return float(np.average(y_true[on_list], weights=sample_weight[on_list])) if on_list.any() else math.nan


def _share_left(y_true: Labels, _: Labels, *, sample_weight: Float64) -> float:
    return float(mean_prediction(y_true, y_true, sample_weight=sample_weight))


def _auc(label: Labels, score: Float64) -> float:
    return float(roc_auc_score(label, score)) if 0 < label.sum() < len(label) else math.nan


_RATES: Final[dict[str, Any]] = {
    "fnr": false_negative_rate,
    "fpr": false_positive_rate,
    "ppv": _precision,
    "selection_rate": selection_rate,
    "share_left": _share_left,
}
_OF_SCORES: Final[Mapping[str, Callable[[Labels, Float64], float]]] = {
    "calibration_error": lambda label, score: float(score.mean() - label.mean()),
    "calibration_intercept": lambda label, score: metrics.calibration_intercept(label, score).value,
    "calibration_slope": lambda label, score: metrics.calibration_slope(label, score).value,
    "ece": metrics.expected_calibration_error,
    "auc": _auc,
}
