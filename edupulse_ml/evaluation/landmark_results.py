"""One task at one landmark: every model's figures, the champion's differences to its rivals, and the pooled curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from edupulse_ml.evaluation.bootstrap import BOOTSTRAPPED, bootstrap_metrics, percentile_interval
from edupulse_ml.evaluation.figures import MIN_STUDENTS, POOLED, TOO_FEW, Figure
from edupulse_ml.evaluation.metrics import ECE_BINS, NO_EVENT, Float64, Labels, calibration_curve, measure
from edupulse_ml.evaluation.report import CalibrationCurve, GroupResult, PairedDifference, PrecisionRecallCurve

Int32 = NDArray[np.int32]

_CURVE_POINTS = 100


@dataclass(frozen=True)
class Examples:
    """Rows of one task at one landmark whose label is known."""

    task: str
    landmark: str
    label: Labels
    scores: Mapping[str, Float64]
    student: Int32


@dataclass(frozen=True)
class TaskPart:
    """What a report holds of one task at one landmark; curves of `POOLED` only."""

    groups: tuple[GroupResult, ...]
    differences: tuple[PairedDifference, ...] = ()
    calibration: tuple[CalibrationCurve, ...] = ()
    precision_recall: tuple[PrecisionRecallCurve, ...] = ()


def measure_part(examples: Examples, *, champion: str, replicates: int, seed: int) -> TaskPart:
    """Every model on these rows; counts and figures are hidden where fewer than ten students would be described."""
    n_students = len(np.unique(examples.student))
    n_events = int(examples.label.sum())
    if n_students < MIN_STUDENTS or n_events == 0:
        return TaskPart(tuple(_untold(examples, model, n_students) for model in examples.scores))
    draws = bootstrap_metrics(examples.label, examples.scores, examples.student, replicates=replicates, seed=seed)
    groups = tuple(
        GroupResult(
            model=model,
            task=examples.task,
            landmark=examples.landmark,
            n_rows=len(examples.label),
            n_students=n_students,
            n_events=n_events,
            base_rate=n_events / len(examples.label),
            figures=_figures(examples.label, score, draws[model]),
        )
        for model, score in examples.scores.items()
    )
    differences = tuple(
        difference
        for rival in examples.scores
        if rival != champion
        for difference in _differences(examples, groups, draws, champion=champion, rival=rival)
    )
    if examples.landmark != POOLED:
        return TaskPart(groups, differences)
    n_bins = max(1, min(ECE_BINS, len(examples.label) // MIN_STUDENTS))
    return TaskPart(
        groups,
        differences,
        calibration=tuple(
            CalibrationCurve(model, examples.task, calibration_curve(examples.label, score, n_bins=n_bins))
            for model, score in examples.scores.items()
        ),
        precision_recall=tuple(
            _precision_recall(examples.label, score, model, examples.task) for model, score in examples.scores.items()
        ),
    )


def _untold(examples: Examples, model: str, n_students: int) -> GroupResult:
    few = n_students < MIN_STUDENTS
    return GroupResult(
        model=model,
        task=examples.task,
        landmark=examples.landmark,
        n_rows=None if few else len(examples.label),
        n_students=None if few else n_students,
        n_events=None if few else 0,
        base_rate=None if few else 0.0,
        figures={},
        reason=TOO_FEW if few else NO_EVENT,
    )


def _figures(label: Labels, score: Float64, replicates: Mapping[str, Float64]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for metric, measured in measure(label, score).items():
        value = _or_none(measured.value)
        if metric in BOOTSTRAPPED and value is not None:
            interval = percentile_interval(replicates[metric])
            figures[metric] = Figure(value, _or_none(interval.low), _or_none(interval.high))
        else:
            figures[metric] = Figure(value, reason=measured.reason)
    return figures


def _differences(
    examples: Examples,
    groups: Sequence[GroupResult],
    replicates: Mapping[str, Mapping[str, Float64]],
    *,
    champion: str,
    rival: str,
) -> list[PairedDifference]:
    by_model = {group.model: group for group in groups}
    found: list[PairedDifference] = []
    for metric in BOOTSTRAPPED:
        mine, theirs = by_model[champion].figures[metric].value, by_model[rival].figures[metric].value
        interval = percentile_interval(replicates[champion][metric] - replicates[rival][metric])
        if mine is None or theirs is None or math.isnan(interval.low):
            continue
        found.append(
            PairedDifference(
                task=examples.task,
                landmark=examples.landmark,
                metric=metric,
                champion=champion,
                rival=rival,
                difference=mine - theirs,
                low=interval.low,
                high=interval.high,
            )
        )
    return found


def _precision_recall(label: Labels, score: Float64, model: str, task: str) -> PrecisionRecallCurve:
    precision, recall, _ = precision_recall_curve(label, score)
    wanted = np.unique(np.linspace(0, len(recall) - 1, min(_CURVE_POINTS, len(recall))).astype(np.int64))[::-1]
    return PrecisionRecallCurve(
        model, task, tuple(float(v) for v in recall[wanted]), tuple(float(v) for v in precision[wanted])
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
